"""``evaluate.py``: run folders and a dataset in; predictions, tables and a report out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig
from rich.markup import escape

from strokelab import runs, terminal
from strokelab.configuration import Settings, bind, build, check_arguments, check_keys, plain
from strokelab.data.split_file import PARTS
from strokelab.errors import ConfigError, StrokelabError, plain_warnings
from strokelab.evaluation.averaging import Averaging, assign
from strokelab.evaluation.boards import check_loggers, leaderboard_of, log_evaluation
from strokelab.evaluation.by_modality import Modalities, modality_outcomes
from strokelab.evaluation.ensembles import ensemble_outcomes
from strokelab.evaluation.entries import Entry, entries_of
from strokelab.evaluation.honesty import doubts
from strokelab.evaluation.material import evaluation_of, materials_of, scored_on
from strokelab.evaluation.outcomes import outcomes_of, own_metrics, save_qc, with_overlays
from strokelab.evaluation.own_means import OwnMeans
from strokelab.evaluation.recipes import composed
from strokelab.evaluation.sweep import Sweep, gather_all, is_sweep, unfinished
from strokelab.files import make_folder
from strokelab.metrics.profiles import find_profile
from strokelab.report.html import write_report
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.terminal import results_table
from strokelab.runs.folder import remove_empty
from strokelab.scoring import Scores, write_scores
from strokelab.statistics.aggregate import tally

__all__ = ["KEYS", "evaluate", "evaluate_or_exit", "evaluated", "is_sweep", "save_qc"]

KEYS = (
    "runs",
    "sweeps",
    "data",
    "datasets",
    "out",
    "part",
    "checkpoint",
    "postprocess",
    "ensemble",
    "profile",
    "metrics",
    "save_predictions",
    "rescore",
    "store",
    "allow",
    "device",
    "register",
    "brain_mask",
    "precision",
    "windows",
    "overlays",
    "logger",
)

console = terminal.console()


def evaluate_or_exit(cfg: DictConfig) -> None:
    """``evaluate`` for the door: a user's mistake ends with its message and status 1."""
    from hydra.core.hydra_config import HydraConfig

    plain_warnings()
    try:
        evaluate(cfg)
    except StrokelabError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        console.print(f"\n[bold red]{type(error).__name__}[/] ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    finally:
        output = Path(HydraConfig.get().runtime.output_dir)
        if output != Path.cwd():  # Hydra made it, and refused settings left it empty
            remove_empty(output, *output.parents[:2])


def evaluate(cfg: DictConfig) -> Path:
    """Evaluate one or more runs and write everything into ``out``.

    Returns:
        The path of ``report.html``.

    Raises:
        StrokelabError: a run folder, a dataset or the output folder is not what it should be.
    """
    return evaluated(plain(cfg))[1]


def evaluated(settings: Settings, *, papers: str = "*") -> tuple[Evaluation, Path]:
    """As ``evaluate``.

    Args:
        settings: of the evaluation.
        papers: which tables of ``conf/paper`` the report holds, a pattern of their names; "" = none.

    Returns:
        What the report shows, and the path of ``report.html``.
    """
    _check(settings)
    out = Path(str(settings["out"])).expanduser().resolve()
    made = [place for place in (out, *out.parents) if not place.exists()]
    make_folder(out)
    try:
        return _evaluate(settings, out, papers)
    finally:
        remove_empty(out, *made)  # where nothing could be evaluated, nothing is left


def _evaluate(settings: Settings, out: Path, papers: str) -> tuple[Evaluation, Path]:
    sweep = gather_all(_listed(settings["sweeps"]))
    for line in unfinished(sweep.members):
        console.print(f"Not in the tables: {line}", markup=False, highlight=False, soft_wrap=True)
    # What can be wrong with a run or a dataset is found before the first of them is predicted.
    asked = _ensemble(settings)
    entries = _entries(sweep, settings, each=isinstance(asked, Modalities))
    sweep = replace(sweep, notes=(*sweep.notes, *doubts(entries, settings["part"])))
    averaging = asked if isinstance(asked, Averaging) else None
    assignment = assign(entries, averaging, _checkpoints_of_each(entries, settings)) if averaging else None
    if isinstance(asked, OwnMeans):
        entries, notes = asked.beside(entries, settings)
        sweep = replace(sweep, notes=(*sweep.notes, *notes))
    if isinstance(asked, Modalities):
        outcomes = modality_outcomes(entries, asked, settings, out)
    else:
        outcomes = [] if averaging and averaging.alone else outcomes_of(entries, settings, out)
    if averaging and assignment:
        outcomes += ensemble_outcomes(assignment, averaging, settings, out)
        sweep = replace(sweep, notes=(*sweep.notes, *assignment.notes))
    outcomes = with_overlays(outcomes, settings)
    scores = Scores(
        pd.concat([outcome.scores.cases for outcome in outcomes], ignore_index=True),
        pd.concat([outcome.scores.probabilities for outcome in outcomes], ignore_index=True),
    )
    write_scores(scores, out / runs.CASES, out / runs.PROBABILITIES)
    materials = materials_of(outcomes, settings)
    evaluation = evaluation_of(materials, outcomes, sweep, settings, papers)
    report = write_report(evaluation, out)
    log_evaluation(
        settings.get("logger") or {},
        out,
        models=evaluation.models,
        datasets=((outcome.entry.cohort.dataset, outcome.entry.cohort.public) for outcome in outcomes),
        leaderboard=leaderboard_of(pd.read_csv(out / "summary.csv")),
        cases=scores.cases,
        command=evaluation.command,
    )
    _announce(materials, sweep, scored_on(settings["profile"]))
    console.print(f"Cases:  {escape(str(out / runs.CASES))}")
    console.print(f"Report: [bold]{escape(str(report))}[/]")
    return evaluation, report


def _entries(sweep: Sweep, settings: Settings, *, each: bool) -> list[Entry]:
    """The runs on the one data set, or on each of several, which are then told apart by its name.

    Args:
        sweep: the finished members count.
        settings: of the evaluation.
        each: runs of one channel are applied to each modality of a data set.
    """
    folders = _listed(settings["runs"])
    if not settings.get("datasets"):
        return entries_of(folders, sweep.finished, settings, each=each)
    found: list[Entry] = []
    for name, node in data_nodes(settings).items():
        for entry in entries_of(folders, sweep.finished, {**settings, "data": node}, each=each):
            label, model, known = f"{entry.label} {name}", f"{entry.model} {name}", entry.published or entry.model
            found.append(replace(entry, label=label, model=model, published=known))
    return found


def data_nodes(settings: Settings) -> dict[str, Settings]:
    """Name -> node of each data set of ``datasets``.

    Raises:
        ConfigError: ``data`` is given, too, or a name is none of ``conf/data``.
    """
    if settings.get("data"):
        raise ConfigError(
            "datasets",
            found=f"data and {', '.join(settings['datasets'])}",
            expected="one data set by data=..., or several by datasets={...}",
            remedy="leave data out",
        )
    roots: dict[str, Any] = settings["datasets"]
    return {
        name: composed("evaluate", f"data={name}")["data"] | ({"root": str(root)} if root else {})
        for name, root in roots.items()
    }


def _ensemble(settings: Settings) -> Averaging | OwnMeans | Modalities | None:
    """The ensemble that was asked for; snapshots without one are those of each run alone."""
    if settings.get("ensemble"):
        asked: Averaging | OwnMeans | Modalities = build(settings["ensemble"])
        return asked
    return OwnMeans({"e": runs.SNAPSHOTS}, alone=True) if settings["checkpoint"] == runs.SNAPSHOTS else None


def _checkpoints_of_each(entries: Sequence[Entry], settings: Settings) -> str:
    """How many checkpoints of each run are averaged, in words."""
    named: list[str | None] = [*(_listed(settings["checkpoint"]) or (None,))]
    counts = sorted({len(runs.each_named(entry.folder, named)) for entry in entries})
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def _announce(materials: Sequence[RunMaterial], sweep: Sweep, grids: str) -> None:
    """The results in the terminal: of a sweep per model, else per run; and on which grids they were scored."""
    cases = pd.concat(
        [material.cases.assign(run=material.model if sweep.members else material.name) for material in materials],
        ignore_index=True,
    )
    models = len({material.model for material in materials})
    counts = f"{len(materials)} run(s)" + (f" of {models} model(s)" if sweep.members else "")
    counted = tally(pd.concat([material.cases.assign(run=material.name) for material in materials], ignore_index=True))
    of_run = None if sweep.members else {material.name: material.model for material in materials}
    console.print(results_table(cases, title=f"{counts}, {counted}, on {grids}", models=of_run))
    if sweep.members:
        missing = len(sweep.members) - len(sweep.finished)
        words = f"{missing} of {len(sweep.members)} members are not in these tables (named above)"
        console.print(words if missing else f"All {len(sweep.members)} members of the sweep are in these tables.")
    for note in sweep.notes:
        console.print(note, markup=False, highlight=False)


def _check(settings: Settings) -> None:
    check_keys(settings, KEYS, "config")
    find_profile(settings["profile"])
    if not _listed(settings["runs"]) and not _listed(settings["sweeps"]):
        raise ConfigError(
            "runs, sweep",
            found="none",
            expected="run folders, or the folder of a sweep",
            remedy="name them: runs=[outputs/a,outputs/b] or sweep=multirun/DATE/TIME-NAME",
        )
    choices: dict[str, tuple[object, ...]] = {
        "part": PARTS,
        "rescore": ("auto", True),
        "save_predictions": (None, True, False),
        "overlays": ("dice", "size", "shared", "classes"),
    }
    for key, allowed in choices.items():
        if settings[key] not in allowed:
            raise ConfigError(
                key,
                found=repr(settings[key]),
                expected=f"one of {list(allowed)}",
                remedy=f"choose one of them, or leave {key} out",
            )
    _check_checkpoint(settings)
    check_arguments({"metrics": settings["metrics"]})
    check_loggers(settings.get("logger") or {})
    check_arguments({"logger": settings.get("logger") or {}})
    own_metrics(settings)
    if settings.get("ensemble"):
        check_arguments({"ensemble": settings["ensemble"]})
    nodes = data_nodes(settings).values() if settings.get("datasets") else [settings.get("data")]
    for node in nodes:
        if node:
            bind({"data": node}, {})
            check_arguments({"data": node})


def _check_checkpoint(settings: Settings) -> None:
    checkpoint, averaged = settings["checkpoint"], bool(settings.get("ensemble"))
    if isinstance(checkpoint, list) and len(set(checkpoint)) < len(checkpoint):
        raise ConfigError(
            "checkpoint",
            found=f"{checkpoint}",
            expected="each checkpoint once",
            remedy="leave the repetition out",
        )
    if isinstance(checkpoint, list) and not (checkpoint and averaged):
        raise ConfigError(
            "checkpoint",
            found=f"{checkpoint}" if averaged else f"{checkpoint} and no ensemble",
            expected="one checkpoint, or several that an ensemble averages",
            remedy="add ensemble=mean, or name one checkpoint",
        )


def _listed(folders: Any) -> list[str]:
    return [str(folder) for folder in folders] if isinstance(folders, list) else [str(folders)] if folders else []
