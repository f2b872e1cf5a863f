"""``training_scans.json``: what a run was trained on, written at its start, and how a scan is held against it.

Runs of versions that wrote no such file are known by the headers of their training cases, where these are at hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from strokelab.errors import DataWarning, RunError, StrokelabError
from strokelab.files import write_json
from strokelab.preparation.extent import Extent, extent_of
from strokelab.preparation.recipe import Preparation, plan_steps
from strokelab.preparation.template import in_mni_box, template_brain
from strokelab.preparation.trained_on import Spread, TrainedOn, alike, frame_of
from strokelab.runs.folder import SPLIT, TRAINING_SCANS, read_json, read_split

if TYPE_CHECKING:
    from strokelab.configuration import Settings
    from strokelab.data.datamodule import Part
    from strokelab.grid import Grid, Step
    from strokelab.preparation.store import StoredCase


def write_training_scans(
    folder: Path, volumes: Callable[[Part], Sequence[StoredCase]], preparation: Preparation
) -> TrainedOn | None:
    """Say in a run folder what it is trained on, and warn of cases to be tested that are not like it.

    Args:
        folder: of the run.
        volumes: the prepared cases of a part of its split.
        preparation: of the run.

    Returns:
        The record; None where nothing is trained on.

    Raises:
        DataError: the folder cannot be written to.
    """
    cases = volumes("train")
    if not cases:
        return None
    trained = TrainedOn.of(cases, preparation)
    write_json(folder / TRAINING_SCANS, trained.to_json())
    if preparation.spacing is None and preparation.register is None:
        _say_others(volumes, trained)
    return trained


def read_training_scans(
    folder: Path, settings: Settings, preparation: Preparation, *, needed: bool = True
) -> TrainedOn | None:
    """What a run was trained on; None where nothing of it is known, which is said in a ``DataWarning``.

    Args:
        folder: of the run.
        settings: of its training.
        preparation: of its training.
        needed: scans must be like those of the training; where they need not, nothing is looked for but the record.

    Raises:
        RunError: the record is damaged.
    """
    path = folder / TRAINING_SCANS
    if path.is_file():
        try:
            return TrainedOn.from_json(read_json(path))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise RunError(
                path,
                found=f"no record of training scans ({type(error).__name__}: {error})",
                expected="the file that train.py wrote",
                remedy="copy the run again",
            ) from error
    if not needed:
        return None
    try:
        return _by_headers(folder, settings["cohort"], preparation)
    except (StrokelabError, OSError, KeyError, TypeError, ValueError):
        warnings.warn(
            f"{folder}: a run of a version that kept no record of its training scans, and these are not at hand: scans "
            "are taken as they are, and must have the voxels and the field of view of the training's",
            DataWarning,
            stacklevel=3,
        )
        return None


def check_contrasts(found: Sequence[str], wanted: Sequence[str], *, where: str | Path, data: str) -> None:
    """Raise where images lack what a run was trained on.

    Raises:
        RunError: naming both.
    """
    if set(wanted) <= set(found):
        return
    trained, there = ", ".join(wanted), ", ".join(found) or "no image"
    raise RunError(
        where,
        found=f"{data}: {there}",
        expected=f"{trained}, which this run was trained on",
        remedy=f"name scans that have {trained}, or a run that was trained on {there}",
    )


def depends(preparation: Preparation, halves: bool) -> bool:
    """Whether a preparation means something only on scans like those of the training."""
    return preparation.spacing is None or preparation.crop is not None or halves


def united(records: Sequence[TrainedOn | None], preparation: Preparation) -> TrainedOn | None:
    """What members that see scans alike were trained on, together; None where it is unknown of one, or no matter."""
    known = [record for record in records if record is not None]
    if not known or (len(known) < len(records) and depends(preparation, halves=False)):
        return None
    return replace(
        known[0],
        cases=sum(record.cases for record in known),
        spacing_mm=_widest([record.spacing_mm for record in known]),
        field_of_view_mm=_widest([record.field_of_view_mm for record in known]),
        brain_mm=_widest([record.brain_mm for record in known]),
        brain_centre_mm=_widest([record.brain_centre_mm for record in known]),
        brain_ml=_widest([record.brain_ml for record in known]),
        frame=None if any(record.frame is None for record in known) else known[0].frame,
    )


def on_one_grid(records: Sequence[TrainedOn], preparation: Preparation) -> bool:
    """Whether all were trained on one grid, as far as it counts, or on voxels of about one size."""
    for record in records[1:]:
        frames = (record.frame, records[0].frame)
        apart = frames[0] is not None and frames[1] is not None and not alike(frames[0], frames[1])
        if apart and (preparation.crop or preparation.spacing is None):
            return False
        sizes = np.divide(record.spacing_mm.median, records[0].spacing_mm.median)
        if preparation.spacing is None and (np.abs(sizes - 1) > 0.25).any():
            return False
    return True


def _widest(spreads: Sequence[Spread]) -> Spread:
    if len({*spreads}) == 1:
        return spreads[0]
    every = Spread.of([row for one in spreads for row in (one.low, one.high)])
    return Spread(every.low, Spread.of([one.median for one in spreads]).median, every.high)


def _say_others(volumes: Callable[[Part], Sequence[StoredCase]], trained: TrainedOn) -> None:
    """Warn of cases that are validated or tested and have voxels of other size than those trained on."""
    own = trained.spacing_mm
    parts: tuple[Part, ...] = ("val", "test")
    for part in parts:
        others = [case for case in volumes(part) if not own.holds(case.steps[0].target.spacing)]
        if others:
            sizes = (others[0].steps[0].target.spacing, own.low, own.high)
            found, low, high = ("x".join(f"{side:.3g}" for side in size) for size in sizes)
            warnings.warn(
                f"{len(others)} {part} case(s), first {others[0].case_id}, have voxels of {found} mm, the training "
                f"cases of {low} to {high} mm, and are taken as they are; view.preparation.spacing makes all alike",
                DataWarning,
                stacklevel=3,
            )


class _Header:
    """A training case of which only the header is looked at; its brain is the template's, where it lies there."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.steps = steps
        self.native: Grid = steps[0].source

    def brain_extent(self) -> Extent:
        frame, end = frame_of(self.steps), self.steps[-1].target
        if in_mni_box(frame):
            return extent_of(template_brain(frame), frame, end)
        x, y, z = end.shape
        return Extent((-0.5, -0.5, -0.5), (x - 0.5, y - 0.5, z - 0.5), ml=0.0)


def _by_headers(folder: Path, cohort: Mapping[str, Any], preparation: Preparation) -> TrainedOn:
    """The record of a run of an earlier version, from the headers of its training cases."""
    from strokelab.data import read_cases
    from strokelab.nifti import read_grid

    options = cohort.get("options") or {}
    cases = {case.case_id: case for case in read_cases(cohort["dataset"], Path(cohort["root"]), **options)}
    train = [cases[name] for name in read_split(folder).train if name in cases]
    if not train:
        raise RunError(folder / SPLIT, found="no training case", expected="some", remedy="copy the run again")
    grids = dict.fromkeys(read_grid(case.reference_image) for case in train)
    steps = [plan_steps(grid, replace(preparation, box=None)) for grid in grids]
    found = TrainedOn.of([_Header(one) for one in steps], preparation)
    # Where no brain is known, there is no telling where in the world a scan must lie.
    return found if found.frame is None or in_mni_box(found.frame) else replace(found, frame=None)
