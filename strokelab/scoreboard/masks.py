"""Mask files as they are scored: read by a stated rule, brought to one grid. Knows files; knows no pairs, no score."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.grid import Grid, resample, turned
from strokelab.metrics.masks import ROUNDING, binary_mask, check_rule
from strokelab.nifti import read_voxels
from strokelab.placement import at_zero, has_no_place, share_covered

LARGEST_CHANGE = 0.05
"""Share of a mask's volume that another grid may take or add without a warning."""


@dataclass(frozen=True)
class MaskRule:
    """Which voxels are lesion, as ``metrics.masks.binary_mask`` has it: without a rule those of the only value but 0.

    Raises:
        ConfigError: both a threshold and labels, or one that makes no sense.
    """

    threshold: float | None = None
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_rule(self.threshold, self.labels)

    def __str__(self) -> str:
        if self.threshold is not None:
            return f"p >= {self.threshold:g}"
        return "" if self.labels is None else f"labels {', '.join(map(str, self.labels))}"


def labels_of(text: str | None) -> tuple[int, ...] | None:
    """Labels from the command line, e.g. ``"1,2"``.

    Raises:
        ConfigError: these are no whole numbers.
    """
    if text is None:
        return None
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(
            "labels", found=repr(text), expected="whole numbers with commas between", remedy="e.g. --labels 1,2"
        ) from error


@dataclass(frozen=True, eq=False)
class ReadMask:
    """One mask with what was noticed when it was read."""

    mask: NDArray[np.bool_]  # (X, Y, Z)
    grid: Grid
    probability: NDArray[np.float32] | None = None  # (X, Y, Z), 0 to 1, where the mask was made from such a map
    notes: tuple[str, ...] = ()
    kept: float = float("nan")  # volume after / before it was brought to another grid; NaN: it lay on its own


def read_mask(files: Sequence[Path], rule: MaskRule) -> ReadMask:
    """The union of a case's mask files.

    Raises:
        DataError: a file cannot be read, holds values that the rule does not cover, or lies on another grid than the
            first.
    """
    first = _read_one(files[0], rule)
    for path in files[1:]:
        other = _read_one(path, rule)
        mask = turned(other.mask, other.grid, first.grid)
        if mask is None:
            raise DataError(
                path,
                found=other.grid.difference(first.grid),
                expected=f"the grid of {files[0]}: {first.grid.describe()}",
                remedy="bring the masks of one case onto one grid first",
            )
        first = ReadMask(first.mask | mask, first.grid, notes=(*first.notes, *other.notes))
    return first


def noted(read: Callable[[], ReadMask]) -> ReadMask:
    """What ``read`` gives, with the warnings it raised about imperfect data as notes of the mask."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        found = read()
    said = tuple(str(one.message) for one in caught if issubclass(one.category, DataWarning))
    return replace(found, notes=(*said, *found.notes))


def bring_to(read: ReadMask, target: Grid, *, where: Path, strict: bool = False) -> ReadMask:
    """A mask on another grid, by nearest neighbour through the affines, with a note; the same object on the same grid.

    Where only the order or direction of the axes differs it is turned, which is exact: no note, and not refused.

    Args:
        read: the mask.
        target: the grid to end on.
        where: the file, for messages.
        strict: refuse instead.

    Raises:
        DataError: the two volumes do not overlap in the world, the mask's lesion lies outside of ``target``, the header
            of the mask lost its place, or ``strict`` and the grids differ.
    """
    if read.grid.matches(target):
        return read
    exact = turned(read.mask, read.grid, target)
    if exact is not None:
        turned_map = None if read.probability is None else turned(read.probability, read.grid, target)
        return replace(read, mask=exact, grid=target, probability=turned_map)
    if not at_zero(target) and has_no_place(read.grid):
        raise DataError(
            where,
            found=f"a header that does not say where the mask lies: {read.grid.describe()}",
            expected=f"the place of the reference: {target.describe()}",
            remedy="give the mask the affine of the image that was segmented: nibabel.save(nibabel.Nifti1Image("
            "mask.dataobj, image.affine, image.header), FILE)"
            + ("" if read.grid.shape == target.shape else "; it has another shape than the reference, too"),
        )
    apart = not read.grid.overlaps(target)
    if strict or apart:
        raise DataError(
            where,
            found=read.grid.describe() if apart else read.grid.difference(target),
            expected=("a volume that overlaps " if apart else "") + f"the reference's grid: {target.describe()}",
            remedy="the header is probably wrong: copy the affine of the image that was segmented"
            if apart
            else "resample the mask, or leave --strict-grid away: nearest neighbour, with a note",
        )
    mask = resample(read.mask, read.grid, target, "nearest")
    before, after = (
        float(np.count_nonzero(m)) * g.voxel_volume_mm3 / 1000 for m, g in ((read.mask, read.grid), (mask, target))
    )
    if before and not after and not share_covered(read.grid, target, read.mask):
        raise DataError(
            where,
            found=f"all of its {before:.2f} ml outside the reference's volume; the mask: {read.grid.describe()}",
            expected=f"a lesion inside the reference's grid: {target.describe()}",
            remedy="the header is probably wrong: copy the affine of the image that was segmented",
        )
    note = f"brought to the reference's grid by nearest neighbour ({before:.2f} ml before, {after:.2f} ml after)"
    kept = after / before if before else 1.0
    probability = None if read.probability is None else resample(read.probability, read.grid, target, "nearest")
    return replace(read, mask=mask, grid=target, probability=probability, notes=(*read.notes, note), kept=kept)


def about_grids(table: pd.DataFrame) -> list[str]:
    """How many masks of a table with the column ``grid_kept`` were brought to another grid, and what it did to them."""
    moved = table[table["grid_kept"].notna()] if "grid_kept" in table else table.iloc[:0]
    if moved.empty:
        return []
    told = [f"{len(moved)} of {len(table)} masks lay on another grid and were brought to their reference's (note)"]
    changes = (moved["grid_kept"].astype(float) - 1).sort_values(key=abs, ascending=False, kind="stable")
    large = changes[changes.abs() > LARGEST_CHANGE]
    if len(large):
        rows = table.loc[large.index[:3]]
        named = [f"{_row_name(row)} {change:+.0%}" for (_, row), change in zip(rows.iterrows(), large, strict=False)]
        more = f" and {len(large) - 3} more" if len(large) > 3 else ""
        told.append(
            f"Warning: the volume of {len(large)} of them changed by more than {LARGEST_CHANGE:.0%} through it: "
            f"{', '.join(named)}{more}; their scores are of other masks than the files hold"
        )
    return told


def _row_name(row: pd.Series) -> str:
    return f"{row['case']} ({row['run']})" if "run" in row else str(row["case"])


def _read_one(path: Path, rule: MaskRule) -> ReadMask:
    voxels, grid = read_voxels(path)
    mask = binary_mask(voxels, str(path), threshold=rule.threshold, labels=rule.labels)
    is_map = rule.threshold is not None and float(voxels.max()) <= 1 + ROUNDING
    return ReadMask(mask, grid, voxels if is_map else None)
