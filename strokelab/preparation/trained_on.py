"""What a model was trained on: spacing, grid, field of view, orientation, space and contrasts of its training scans.

A preparation whose ``spacing`` is None, or that crops by voxel numbers, means something only on scans like these;
``preparation.adaptation`` brings others to them. Knows grids and prepared cases; knows no run folder.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from strokelab.grid import CropPad, Grid, Step
from strokelab.preparation.extent import Extent
from strokelab.preparation.recipe import MOST_VOXELS, Preparation
from strokelab.preparation.template import BRAIN_CENTRE_MM, in_mni_space, is_mni_view

SPACING_TOLERANCE = 0.05  # share by which voxels may differ from those of the training
VOXEL_TOLERANCE = 0.1  # share of a voxel by which corners of one grid may lie apart
APART_MM = 30.0  # brains whose middles lie nearer lie in one frame


class Trained(Protocol):
    """What is looked at of a prepared case (``preparation.store.StoredCase`` is one)."""

    @property
    def native(self) -> Grid:
        """Its own grid."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """From there to the prepared one."""

    def brain_extent(self) -> Extent:
        """On the prepared grid."""


@dataclass(frozen=True)
class Spread:
    """Lowest, median and highest values over cases, per axis."""

    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, rows: Any) -> Spread:
        """Of (N, axes)."""
        values = np.round(np.asarray(rows, dtype=np.float64), 4)
        low, median, high = values.min(axis=0), np.median(values, axis=0), values.max(axis=0)
        return cls(tuple(low.tolist()), tuple(median.tolist()), tuple(high.tolist()))

    @classmethod
    def from_json(cls, content: Any, axes: int) -> Spread:
        """The inverse of ``vars``; KeyError, TypeError or ValueError where it is no such thing."""
        rows = [[float(value) for value in content[name]] for name in ("low", "median", "high")]
        if any(len(row) != axes for row in rows) or not np.isfinite(rows).all() or (np.diff(rows, axis=0) < 0).any():
            raise ValueError("low, median and high of every axis, in this order")
        low, median, high = (tuple(row) for row in rows)
        return cls(low, median, high)

    def holds(self, values: Sequence[float], tolerance: float = SPACING_TOLERANCE) -> bool:
        """Whether values lie between lowest and highest, up to a share of them."""
        found = np.asarray(values)
        low, high = np.asarray(self.low) * (1 - tolerance), np.asarray(self.high) * (1 + tolerance)
        return bool(((found >= low) & (found <= high)).all())


@dataclass(frozen=True)
class TrainedOn:
    """The scans of a training; axes as the preparation orients them (R, A, S).

    Args:
        cases: how many.
        contrasts: the images of each.
        spacing_mm: of their own voxels.
        field_of_view_mm: of the scans.
        brain_mm: sides of the box around the brain, as far as the crop leaves it.
        brain_centre_mm: middle of that box, in the world.
        brain_ml: its volume.
        orientations: axes of the files -> cases.
        frame: the grid on which the crop is taken, where it is one for all.
    """

    cases: int
    contrasts: tuple[str, ...]
    spacing_mm: Spread
    field_of_view_mm: Spread
    brain_mm: Spread
    brain_centre_mm: Spread
    brain_ml: Spread
    orientations: Mapping[str, int]
    frame: Grid | None

    @classmethod
    def of(cls, cases: Sequence[Trained], preparation: Preparation) -> TrainedOn:
        """Of prepared training cases, at least one: from their headers and brain masks as they were stored."""
        grids = [case.steps[0].target for case in cases]
        ends = [case.steps[-1].target for case in cases]
        brains = [case.brain_extent() for case in cases]
        return cls(
            cases=len(cases),
            contrasts=preparation.modalities,
            spacing_mm=Spread.of([grid.spacing for grid in grids]),
            field_of_view_mm=Spread.of([np.multiply(grid.spacing, grid.shape) for grid in grids]),
            brain_mm=Spread.of([brain.size_mm(grid) for brain, grid in zip(brains, ends, strict=True)]),
            brain_centre_mm=Spread.of([brain.centre_mm(grid) for brain, grid in zip(brains, ends, strict=True)]),
            brain_ml=Spread.of([[brain.ml] for brain in brains]),
            orientations=dict(sorted(Counter(case.native.orientation for case in cases).items())),
            frame=_common([frame_of(case.steps) for case in cases]) if has_frame(preparation) else None,
        )

    @property
    def space(self) -> Literal["common grid", "same frame", "native"]:
        """How the scans lie in the world: voxel by voxel alike, brains at one place, or each at its own."""
        if self.frame is not None:
            return "common grid"
        apart = np.asarray(self.brain_centre_mm.high) - np.asarray(self.brain_centre_mm.low)
        return "same frame" if (apart <= APART_MM).all() else "native"

    @property
    def in_mni(self) -> bool:
        """Whether all scans lay in MNI space: on a grid of it, or with its field of view and its brain's place."""
        if self.frame is not None:
            return in_mni_space(self.frame)
        low, high = np.asarray(self.field_of_view_mm.low), np.asarray(self.field_of_view_mm.high)
        apart = np.asarray([self.brain_centre_mm.low, self.brain_centre_mm.high]) - BRAIN_CENTRE_MM
        alike_mm = max(self.spacing_mm.high)
        return is_mni_view(low, alike_mm) and bool(
            (high - low <= alike_mm).all() and (np.abs(apart) <= APART_MM / 2).all()
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data that ``from_json`` reads back."""
        content = {name: vars(value) if isinstance(value, Spread) else value for name, value in vars(self).items()}
        frame = None if self.frame is None else self.frame.to_json()
        return content | {"contrasts": list(self.contrasts), "frame": frame, "space": self.space}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrainedOn:
        """The inverse of ``to_json``, with distrust.

        Raises:
            KeyError, TypeError, ValueError: it is no such thing.
        """
        frame = None if content["frame"] is None else Grid.from_json(content["frame"])
        if frame is not None and not (
            min(frame.shape) > 0 and math.prod(frame.shape) <= MOST_VOXELS and abs(np.linalg.det(frame.matrix)) > 1e-9
        ):
            raise ValueError("a frame that is no grid of a scan")
        spreads = {name: Spread.from_json(content[name], 3) for name in _SPREADS}
        if min(spreads["spacing_mm"].low + spreads["brain_mm"].low) <= 0:
            raise ValueError("lengths that are not positive")
        return cls(
            cases=int(content["cases"]),
            contrasts=tuple(str(name) for name in content["contrasts"]),
            brain_ml=Spread.from_json(content["brain_ml"], 1),
            orientations={str(codes): int(count) for codes, count in content["orientations"].items()},
            frame=frame,
            **spreads,
        )


_SPREADS = ("spacing_mm", "field_of_view_mm", "brain_mm", "brain_centre_mm")


def frame_of(steps: Sequence[Step]) -> Grid:
    """The grid on which the crop of a preparation without ``box`` was taken."""
    return steps[-1].source if isinstance(steps[-1], CropPad) else steps[-1].target


def has_frame(preparation: Preparation) -> bool:
    """Whether the crop is taken from a grid of whole volumes with known axes."""
    return preparation.box is None and preparation.orientation == "RAS"


def alike(one: Grid, other: Grid) -> bool:
    """Whether two grids are one, up to a small share of a voxel."""
    return one.matches(other, VOXEL_TOLERANCE * min(other.spacing))


def _common(grids: Sequence[Grid]) -> Grid | None:
    return grids[0] if all(alike(grid, grids[0]) for grid in grids) else None
