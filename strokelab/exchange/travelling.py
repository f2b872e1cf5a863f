"""What of a run folder travels in a packed model: enough to predict and to say how it was trained, and no more.

Ids of subjects and scans, paths, host names and commands stay where the run was trained.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from strokelab.command_words import setting
from strokelab.configuration import Settings
from strokelab.data import SEVERAL
from strokelab.data.split_file import PARTS, Split
from strokelab.errors import ConfigError
from strokelab.phantoms.naming import of_phantoms
from strokelab.runs.folder import CONFIG, read_environment, read_split, read_status
from strokelab.runs.recipe import FACTS

_WHOLE = ("model", "view", "postprocess")
_WORDS = ("name", "protocol", "seed", "checkpoint")
_STAYS = frozenset({"data.exclude", "init_weights"})
_OF_SPLIT = ("_target_", "fold", "folds", "seed", "val_fraction", "part")
_PLACE = re.compile(r"[/~]|[A-Za-z]:[\\/]|file:")


@dataclass(frozen=True)
class Member:
    """One run of a packed model: where it lies, and with which weights."""

    folder: Path
    checkpoint: Path
    settings: Settings
    digest: str  # of its weights


def private_words(split: Split) -> frozenset[str]:
    """Ids of the scans and subjects of a run."""
    ids = {case_id for part in PARTS for case_id in getattr(split, part)}
    return frozenset({*ids, *(subject for subject, _ in split.about.values())} - {""})


def settings_that_travel(settings: Settings, private: frozenset[str], where: Path) -> Settings:
    """The settings of a run that rebuild its model, and those that say what its training was.

    Args:
        settings: of the run.
        private: ids of its scans and subjects; a site that bears such a name stays, too.
        where: the run folder, for messages.

    Raises:
        ConfigError: the model, its view or its post-processing needs a path of this machine, or names a subject.
    """
    for part in _WHOLE:
        _check_free(settings[part], part, private, where)
    kept: dict[str, Any] = {part: settings[part] for part in _WHOLE}
    kept |= {key: settings[key] for key in _WORDS if key in settings}
    kept["run_dir"] = ""
    paths = [key for keys in FACTS.values() for key in keys if key not in _STAYS and key.partition(".")[0] not in kept]
    _keep(settings, kept, [*paths, "trainer.precision"], private)
    if source := (settings.get("init_weights") or {}).get("source"):
        kept["init_weights"] = {"source": source}
    split = settings.get("split") or {}
    kept["split"] = _freed({key: split[key] for key in _OF_SPLIT if key in split}, private)
    return kept | {"stages": _stages(settings, private), "logger": {}, "cohort": _cohort(settings["cohort"], private)}


def counts_of(folder: Path) -> dict[str, Any]:
    """How many scans, subjects and sites each part of a run's split has; of a run that was packed, had.

    Raises:
        RunError: the run has no split.
    """
    packed = read_environment(folder).get("packed")
    if isinstance(packed, dict) and isinstance(packed.get("cases"), dict):
        return dict(packed["cases"])
    split = read_split(folder)
    found: dict[str, Any] = {}
    for part in PARTS:
        cases = getattr(split, part)
        about = [split.about.get(case_id, ("", "")) for case_id in cases]
        subjects = {subject or case_id for case_id, (subject, _) in zip(cases, about, strict=True)}
        sites = Counter(site for _, site in about if site)
        found[part] = {"scans": len(cases), "subjects": len(subjects), "sites": dict(sorted(sites.items()))}
    return found


def environment_that_travels(folder: Path) -> dict[str, Any]:
    """What ``environment.json`` of a packed run says: versions, and how many scans its parts had."""
    own = read_environment(folder)
    kept: dict[str, Any] = {key: own[key] for key in ("strokelab", "commit", "python", "packages") if key in own}
    imported = own.get("imported")
    if isinstance(imported, dict):
        kept["imported"] = {key: value for key, value in imported.items() if key != "checkpoint" and not _place(value)}
    return kept | {"packed": {"cases": counts_of(folder)}}


def status_that_travels(folder: Path) -> dict[str, Any]:
    """How the training stood."""
    own = read_status(folder)
    return {key: own[key] for key in ("state", "time", "minutes", "steps") if key in own}


def tuning_without_ids(table: Path) -> str:
    """The table of a search for threshold and smallest component, its cases numbered in their order."""
    found = pd.read_csv(table, dtype=str, keep_default_na=False)
    numbers = {case: f"case {n}" for n, case in enumerate(dict.fromkeys(found["case"]), start=1)}
    return found.assign(case=found["case"].map(numbers)).to_csv(index=False)


def _keep(settings: Mapping[str, Any], kept: dict[str, Any], paths: Sequence[str], private: frozenset[str]) -> None:
    """Copy values by their dotted paths, those that say where or who left out."""
    for path in paths:
        node: Any = settings
        *above, last = path.split(".")
        for key in above:
            node = node.get(key) if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or last not in node:
            continue
        inner = kept
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = _freed(node[last], private)


def _stages(settings: Settings, private: frozenset[str]) -> dict[str, Any]:
    """Of each stage what its training was; the names of all of them."""
    found: dict[str, Any] = {}
    every = [key for keys in FACTS.values() for key in keys if key not in _STAYS and key != "stages"]
    for name, node in (settings.get("stages") or {}).items():
        if isinstance(node, Mapping):
            found[name] = {}
            _keep(node, found[name], every, private)
    return found


def _cohort(cohort: Mapping[str, Any], private: frozenset[str]) -> dict[str, Any]:
    """What was trained on, without where it lies and how it is read there."""
    kept = {key: cohort[key] for key in ("dataset", "label_modality", "cases", "training_scans") if key in cohort}
    pseudo = cohort.get("pseudo_labels")
    if isinstance(pseudo, Mapping) and "honest" in pseudo:
        kept["pseudo_labels"] = {"honest": pseudo["honest"]}
    options: dict[str, Any] = {}
    if cohort.get("dataset") == SEVERAL:
        nodes = (cohort.get("options") or {}).get("datasets") or {}
        options = {
            "datasets": {name: {"dataset": str((node or {}).get("dataset") or name)} for name, node in nodes.items()}
        }
    freed: dict[str, Any] = _freed(kept, private)
    return freed | {"root": "", "options": options, "phantom": bool(of_phantoms(cohort))}


def _freed(value: Any, private: frozenset[str]) -> Any:
    """Plain data without places and ids: list items and entries go, single values become None."""
    if isinstance(value, Mapping):
        return {
            key: _freed(inner, private)
            for key, inner in value.items()
            if not _told(key, private) and not _told(inner, private)
        }
    if isinstance(value, (list, tuple)):
        return [_freed(inner, private) for inner in value if not _told(inner, private)]
    return None if _told(value, private) else value


def _check_free(value: Any, path: str, private: frozenset[str], where: Path) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_free(inner, f"{path}.{key}", private, where)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_free(inner, path, private, where)
    elif _told(value, private):
        raise ConfigError(
            where / CONFIG,
            found=f"{setting(path, value)}: {'a place on this machine' if _place(value) else 'the id of a subject'}",
            expected="settings of model, view and post-processing that mean the same on every machine",
            remedy="train a run without this setting and pack that one",
        )


def _told(value: Any, private: frozenset[str]) -> bool:
    """Whether a value says where or who."""
    return isinstance(value, str) and (value in private or _place(value))


def _place(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return bool(_PLACE.match(value)) or ("/" in value and Path(value).exists())
