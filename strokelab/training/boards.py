"""What the loggers beside ``metrics.csv`` learn of a run: what it is, what its test part gave, and that it ended.

Knows loggers by what they offer (``describe``, ``log_cases``, ``log_overlays``, ``close``), not by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray

from strokelab import runs
from strokelab.callbacks.run_facts import RunFacts
from strokelab.callbacks.wandb_media import Slice
from strokelab.configuration import Settings
from strokelab.contract import Case
from strokelab.data.splits import Split
from strokelab.report.case_overlay import overlay_of
from strokelab.report.choice import cases_to_show
from strokelab.report.material import Overlay
from strokelab.report.overlays import PLANES, through_largest_lesion, window
from strokelab.scoring import Scores

SWEEP_FILES = ("sweep.json", "multirun.yaml")
SHOWN = ("best", "median", "worst")


def facts_of(settings: Settings, folder: Path, split: Split, *, resumed_step: int | None = None) -> RunFacts:
    """What boards are told of a training whose start is written into its folder.

    Args:
        settings: resolved, with the cohort described.
        folder: of the run.
        split: who trains, validates and tests.
        resumed_step: global step of the checkpoint it goes on from.
    """
    cohort, rule = settings["cohort"], settings.get("split") or {}
    phantom = bool(cohort.get("phantom"))
    trained, tested = ({_site(split, case_id) for case_id in part} for part in (split.train, split.test))
    fold = rule.get("fold")
    return RunFacts(
        folder=folder,
        family=str(settings["name"]),
        dataset=("phantom_" if phantom else "") + str(cohort["dataset"]),
        phantom=phantom,
        split=_snake(str(rule.get("_target_", "")).rpartition(".")[2]),
        fold="" if fold is None else str(fold),
        held_out=next(iter(tested)) if len(tested) == 1 and not tested & trained else "",
        seed=int(settings["seed"]),
        sweep=sweep_of(folder),
        settings=settings,
        environment=runs.read_environment(folder),
        resumed_step=resumed_step,
    )


def sweep_of(folder: Path) -> str:
    """Name of the sweep a run folder is a member of, after the day that the folder above names; "" = none."""
    for place in list(folder.parents)[:3]:
        if any((place / name).is_file() for name in SWEEP_FILES):
            day = place.parent.name
            return f"{day}-{place.name}" if day[:1].isdigit() and not place.name.startswith(day) else place.name
    return ""


def describe(loggers: Sequence[Logger], facts: RunFacts) -> None:
    """Tell every logger that asks what the run is."""
    for logger in loggers:
        if hasattr(logger, "describe"):
            logger.describe(facts)


@contextmanager
def closed(loggers: Sequence[Logger]) -> Iterator[None]:
    """Close every logger that can be, however the work inside ends, with the exit status it ends with."""
    status = 1
    try:
        yield
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
    finally:
        for logger in loggers:
            if hasattr(logger, "close"):
                logger.close(status)


def log_results(
    loggers: Sequence[Logger],
    scores: Scores,
    *,
    cases: Mapping[str, Case],
    predict: Callable[[str], NDArray[np.uint8]],
) -> None:
    """Give the test part to every logger that takes it: the case table, and the best, median and worst case.

    Args:
        loggers: of the trainer.
        scores: of the test part.
        cases: by their ids.
        predict: case id -> mask (X, Y, Z) on the grid of its reference image; called only where pictures are taken.
    """
    for logger in loggers:
        if hasattr(logger, "log_cases"):
            logger.log_cases(scores)
    takers = [logger for logger in loggers if getattr(logger, "takes_overlays", False)]
    if not takers:
        return
    chosen = [(label, case_id) for label, _, case_id in cases_to_show(scores.cases) if label in SHOWN]
    slices = [slice_of(overlay_of(label, cases[case_id], predict(case_id))) for label, case_id in chosen]
    for logger in takers:
        logger.log_overlays(slices)  # type: ignore[attr-defined]


def slice_of(overlay: Overlay) -> Slice:
    """The axial slice of a case in which its largest lesion is largest, in radiological convention."""
    axial = PLANES[0]
    lesion = overlay.reference if overlay.reference.any() else overlay.prediction
    index = through_largest_lesion(lesion)[axial.normal]
    low, high = window(overlay.image)
    grey = np.clip((np.nan_to_num(axial.cut(overlay.image, index)) - low) / (high - low), 0, 1) * 255
    return Slice(
        label=overlay.label,
        case=overlay.case,
        dice=overlay.dice,
        image=grey.astype(np.uint8),
        reference=axial.cut(overlay.reference, index),
        prediction=axial.cut(overlay.prediction, index),
    )


def _site(split: Split, case_id: str) -> str:
    return split.about.get(case_id, ("", ""))[1]


def _snake(name: str) -> str:
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.strip("_").replace("k_fold", "kfold").replace("hold_out", "holdout")
