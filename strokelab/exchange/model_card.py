"""The card of a packed model, in Markdown: what it is, on what and how it was trained, how well it scored, its limits.

Every figure is read off the run folders and tables; nothing is claimed that they do not hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from strokelab import __version__
from strokelab.errors import DataError, RunError
from strokelab.exchange.travelling import Member, counts_of
from strokelab.foreign_text import printable
from strokelab.metrics.profiles import METRICS
from strokelab.phantoms.naming import of_phantoms
from strokelab.runs import CASES, PROBABILITIES, TRAINING_SCANS, Ensemble, Run
from strokelab.runs.folder import read_environment, read_json, read_status
from strokelab.runs.recipe import FACTS
from strokelab.scoring.tables import read_scores
from strokelab.statistics.aggregate import has_failed

NO_LICENCE = (
    "none given. Without a licence nothing says that you may use, change or pass on this model: ask its authors."
)
SCORED = ("dice", "precision", "recall", "hd95", "lesion_f1", "volume_difference")


@dataclass(frozen=True)
class CardScores:
    """Scores that a card gives.

    Args:
        cases: one row per scored case.
        source: where they come from, in words.
    """

    cases: pd.DataFrame
    source: str


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of.

    Args:
        trained: the model as it was loaded.
        members: its runs.
        names: of their folders in the packed model.
        licence: "" = none was given.
        scores: None where no case was scored.
        own: classes that are no part of strokelab.
    """

    trained: Run | Ensemble
    members: Sequence[Member]
    names: Sequence[str]
    licence: str
    scores: CardScores | None
    own: Sequence[str] = ()


def scores_of(members: Sequence[Member], digest: str, evaluation: Path | None) -> CardScores | None:
    """The scores of a model: of its runs' own tests, or of an evaluation of the same weights.

    Args:
        members: its runs.
        digest: of the model: a run's weights, or an ensemble.
        evaluation: folder that ``evaluate.py`` wrote; None: the runs' own tables.

    Raises:
        RunError: the evaluation holds no case of these weights.
        DataError: it has no case table.
    """
    if evaluation is not None:
        found = read_scores(evaluation / CASES, evaluation / PROBABILITIES).cases
        for weights in ([digest], [member.digest for member in members]):
            rows = found[found["weights"].isin([one[:16] for one in weights])]
            if len(rows):
                whose = "the model itself" if len(weights) == 1 else "its runs, each on the cases it was evaluated on"
                return CardScores(rows, f"an evaluation of {whose} (`evaluate.py`)")
        raise RunError(
            evaluation / CASES,
            found="no case that was predicted with the weights of this model",
            expected="an evaluation of the same runs and checkpoints",
            remedy="evaluate them, or leave --evaluation out for the scores of the runs' own tests",
        )
    tables = []
    for member in members:
        try:
            table = read_scores(member.folder / CASES, member.folder / PROBABILITIES).cases
        except DataError:  # a run without a test part, or of an earlier version
            continue
        tables.append(table[table["weights"] == member.digest[:16]])
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return CardScores(rows, "the test part of each run's own split") if len(rows) else None


def model_card(facts: CardFacts) -> str:
    """The card as Markdown."""
    parts = [_head(facts), _use(facts), _training(facts), _scores(facts), _limits(facts), _members(facts)]
    return printable("\n\n".join(parts)) + "\n"


def _head(facts: CardFacts) -> str:
    trained = facts.trained
    images = " + ".join(trained.modalities) or "an MRI of any contrast"
    what = "one network" if len(facts.members) == 1 else f"the mean of {len(facts.members)} networks"
    return "\n".join(
        [
            f"# {trained.name}",
            "",
            f"Segments stroke lesions on {images}: {what}, packed by strokelab {__version__}.",
            "",
            f"- **Licence**: {facts.licence or NO_LICENCE}",
            f"- **Input**: {images}, NIfTI, any orientation; neither labels nor a site",
            "- **Output**: a mask 0/1 and the lesion probability on the grid of the input",
            f"- **Post-processing**: {_short(dict(trained.postprocess_node))}",
        ]
    )


def _use(facts: CardFacts) -> str:
    allow = "".join(f" --allow {name.partition('.')[0]}." for name in facts.own[:1])
    return f"""## Use

```text
strokelab predict model.zip SCAN.nii.gz --out DIR{allow}
```

The file holds no program: weights as safetensors, settings as YAML, and the SHA-256 of each in `manifest.json`, which
is checked whenever it is opened. It holds no id of a subject and no path."""


def _training(facts: CardFacts) -> str:
    lines = ["## Training", ""]
    for name, member in zip(facts.names, facts.members, strict=True):
        settings = member.settings
        cohort: Mapping[str, Any] = settings.get("cohort") or {}
        counts = counts_of(member.folder)
        phantom = ", **synthetic phantoms, no patients**" if of_phantoms(cohort) else ""
        lines += [f"**{name}**: dataset {cohort.get('dataset')}{phantom}", ""]
        lines += ["| part | scans | subjects | scans per site |", "| --- | --- | --- | --- |"]
        for part, found in counts.items():
            sites = ", ".join(f"{site} {count}" for site, count in found["sites"].items()) or "not recorded"
            lines.append(f"| {part} | {found['scans']} | {found['subjects']} | {sites if found['scans'] else ''} |")
        if not any(found["scans"] for found in counts.values()):
            lines += ["", "Who was trained on is not recorded."]
        lines += ["", *_scans(member), *_how(member), ""]
    return "\n".join(lines).rstrip()


def _scans(member: Member) -> list[str]:
    """How the training's scans looked."""
    if not (member.folder / TRAINING_SCANS).is_file():
        return []
    content = read_json(member.folder / TRAINING_SCANS)
    spacing, field = content.get("spacing_mm") or {}, content.get("field_of_view_mm") or {}
    rows = [("voxels", spacing, "mm"), ("field of view", field, "mm")]
    lines = []
    for name, spread, unit in rows:
        low, high = (" x ".join(f"{value:.3g}" for value in spread.get(key) or ()) for key in ("low", "high"))
        lines.append(f"- {name} of the training's scans: {low if low == high else f'{low} to {high}'} {unit}")
    orientations = ", ".join(map(str, content.get("orientations") or {}))
    return [*lines, f"- their orientation: {orientations}; their space: {content.get('space')}"]


def _how(member: Member) -> list[str]:
    """How it was trained, fact by fact as recipes are compared."""
    settings, status, environment = member.settings, read_status(member.folder), read_environment(member.folder)
    lines = []
    for fact in ("length", "loss", "optimiser", "network", "normalisation"):
        words = [word for key in FACTS[fact] if (word := _fact(settings, key))]
        lines += [f"- {fact}: {'; '.join(words)}"] if words else []
    protocol, seed = settings.get("protocol"), settings.get("seed")
    minutes = status.get("minutes")
    took = f", {minutes:g} minutes" if isinstance(minutes, (int, float)) else ""
    lines.append(
        f"- protocol {protocol}, seed {seed}, checkpoint `{member.checkpoint.stem}`; training {status['state']}{took}"
    )
    packages = environment.get("packages") or {}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if name in ("torch", "lightning"))
    return [*lines, f"- trained with strokelab {environment.get('strokelab')} ({versions or 'versions not recorded'})"]


def _fact(settings: Mapping[str, Any], path: str) -> str:
    node: Any = settings
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    if node in (None, {}, []) or path.startswith("callbacks."):
        return ""
    return f"{path.rpartition('.')[2]} {_short(node)}"


def _short(node: Any) -> str:
    """A setting in a few words: the class, and its plain values."""
    if not isinstance(node, Mapping):
        return str(node)
    name = str(node.get("_target_", "")).rpartition(".")[2]
    values = [
        f"{key} {_short(value)}" for key, value in node.items() if not str(key).startswith("_") and value is not None
    ]
    return f"{name} ({', '.join(values)})" if name and values else name or ", ".join(values)


def _scores(facts: CardFacts) -> str:
    if facts.scores is None:
        return "## Scores\n\nNone: no scored case of these weights was at hand when the model was packed."
    rows = facts.scores.cases
    failed = int(has_failed(rows).sum())
    rows = rows[~has_failed(rows)]
    datasets = ", ".join(sorted({str(name) for name in rows["dataset"]}))
    phantom = any(of_phantoms(member.settings.get("cohort") or {}) for member in facts.members)
    note = " Phantoms are synthetic: these figures say nothing about patients." if phantom else ""
    lines = [
        "## Scores",
        "",
        f"On {facts.scores.source}: {len(rows)} cases of {datasets}{f', {failed} failed' if failed else ''}.{note}",
        "",
        "| metric | mean | SD | median |",
        "| --- | --- | --- | --- |",
    ]
    for name in SCORED:
        values = rows[name][rows[name].map(math.isfinite)]
        unit = {"volume": "ml"}.get(METRICS[name].unit, METRICS[name].unit)
        label = f"{METRICS[name].title}{f', {unit}' if unit else ''}"
        left = len(rows) - len(values)
        label += f" ({left} undefined or infinite left out)" if left else ""
        lines.append(f"| {label} | {values.mean():.3f} | {values.std():.3f} | {values.median():.3f} |")
    lesions = rows["lesion_ml"]
    lines += [
        "",
        f"Lesions of these cases: {lesions.min():.2f} to {lesions.max():.2f} ml, median {lesions.median():.2f} ml.",
    ]
    return "\n".join(lines)


def _limits(facts: CardFacts) -> str:
    images = ", ".join(facts.trained.modalities)
    lines = [
        "## Limits",
        "",
        "- Research only; no medical device. Masks must be looked at before anything depends on them.",
        *([f"- Images of other contrasts than {images} are an error."] if images else []),
        "- Scans unlike the training's in voxels, field of view or orientation are brought to them where the method "
        "allows it, which `dataset_description.json` says of each prediction; scores on such scans were not measured "
        "unless the table above says so.",
        "- Subjects are not named here: scores on the dataset that it was trained on may include subjects it has seen.",
    ]
    if facts.own:
        lines.append(
            f"- It builds classes that are no part of strokelab: {', '.join(facts.own)}; `--allow` vouches for them."
        )
    return "\n".join(lines)


def _members(facts: CardFacts) -> str:
    lines = ["## Weights", "", "| run | checkpoint | SHA-256 of the weights |", "| --- | --- | --- |"]
    for name, member in zip(facts.names, facts.members, strict=True):
        lines.append(f"| {name} | {member.checkpoint.stem} | `{member.digest}` |")
    return "\n".join(lines)
