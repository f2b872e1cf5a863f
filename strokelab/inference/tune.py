"""Threshold and smallest component, searched for on cases whose lesions are known (SUNet, Clerigues et al. 2019).

Every pair of a grid is scored on every case: components are labelled once per threshold, each smallest size is a lookup
in their sizes, and masks that are equal are measured once. Knows arrays; knows no run, no case and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strokelab.errors import ConfigError
from strokelab.grid import Resample, Step
from strokelab.lesions import Neighbours, label_lesions, lesion_sizes
from strokelab.metrics import overlap
from strokelab.metrics.combined import combined_score
from strokelab.metrics.nearest import Spacing, one_way
from strokelab.metrics.overlap import Counts, Mask
from strokelab.metrics.profiles import PROFILES
from strokelab.metrics.surface import surface
from strokelab.preparation.restore import restore, restore_mask

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SIZES = (1, 10, 50, 100, 200, 300, 500, 1000)
"""Those of SUNet's code; its paper begins at 10."""
HD_MAX = 200.0
"""Voxels; see ``metrics.combined``."""
MEASURES = ("dice", "precision", "recall", "hd_voxels", "hd_mm")

Unit = Literal["voxels", "mm3"]
_COLUMNS: dict[str, str] = {"voxels": "min_voxels", "mm3": "min_size_mm3"}
_MOST = 100  # thresholds, and sizes: a run folder of other origin may ask for any number
_PROFILE = PROFILES["sunet"]


@dataclass(frozen=True)
class Search:
    """The grid of pairs and how a pair is scored.

    Args:
        thresholds: a voxel is lesion above, not at, a threshold.
        sizes: of the smallest component that stays; one of exactly this size stays.
        neighbours: 6 (faces), 18 (and edges) or 26 (and corners) make voxels one component.
        hd_max: see ``metrics.combined.combined_score``.
        unit: of ``sizes``: voxels of the grid on which masks are made, or mm^3, which mean the same on every grid.

    Raises:
        ConfigError: no or too many values, or values out of range.
    """

    thresholds: tuple[float, ...] = THRESHOLDS
    sizes: tuple[float, ...] = SIZES
    neighbours: Neighbours = 6
    hd_max: float = HD_MAX
    unit: Unit = "voxels"

    def __post_init__(self) -> None:
        for name, most in (("thresholds", 1.0), ("sizes", np.inf)):
            values = getattr(self, name)
            numbers = isinstance(values, Sequence) and all(
                isinstance(value, int | float) and 0 <= value <= most for value in values
            )
            if not numbers or not 0 < len(values) <= _MOST:
                raise _wrong(name, values, f"1 to {_MOST} numbers from 0" + (" to 1" if most == 1 else ""))
            kind = float if name == "thresholds" else _plain
            object.__setattr__(self, name, tuple(sorted({kind(value) for value in values})))
        if self.neighbours not in (6, 18, 26):
            raise _wrong("neighbours", self.neighbours, "6, 18 or 26")
        if self.unit not in tuple(_COLUMNS):  # also what cannot be hashed
            raise _wrong("unit", self.unit, f"one of {', '.join(_COLUMNS)}")
        if not isinstance(self.hd_max, int | float) or not 0 < self.hd_max < np.inf:
            raise _wrong("hd_max", self.hd_max, "a distance above 0, voxels")

    @property
    def size(self) -> str:
        """The column of the smallest size: ``min_voxels`` or ``min_size_mm3``."""
        return _COLUMNS[self.unit]

    def limits(self, voxel_mm3: float) -> list[float]:
        """The sizes in voxels of a grid with voxels of this volume (mm^3); rounding costs no component its place."""
        return [size if self.unit == "voxels" else size / voxel_mm3 * (1 - 1e-9) for size in self.sizes]

    @property
    def columns(self) -> tuple[str, ...]:
        """Of a row of ``try_pairs``."""
        return ("threshold", self.size, *MEASURES)


@dataclass(frozen=True)
class Pair:
    """The pair that a search found, and on what."""

    threshold: float
    size: float  # voxels or mm^3, as ``Search.unit`` says
    score: float
    cases: int
    undefined: int  # cases without a Hausdorff distance at this pair: one of the masks is empty


@dataclass(frozen=True, eq=False)
class Found:
    """A search and what came of it.

    Args:
        search: what was asked for.
        table: ``case`` and the columns of ``try_pairs``: a row per case and pair.
        pair: the best one.
        tested: whether a case that is tested with the pair is among those that it was found on.
    """

    search: Search
    table: pd.DataFrame
    pair: Pair
    tested: bool


def try_pairs(
    probability: NDArray[Any],
    reference: Mask,
    spacing_mm: Spacing,
    search: Search,
    *,
    voxel_mm3: float = 1.0,
    steps: Sequence[Step] = (),
) -> list[dict[str, float]]:
    """One case at every pair.

    Args:
        probability: lesion probability (X, Y, Z) on the grid where masks are made.
        reference: boolean (X, Y, Z) on the case's own grid.
        spacing_mm: of the case's own grid.
        search: the pairs.
        voxel_mm3: volume of a voxel where masks are made; asked for where sizes are mm^3.
        steps: from the case's own grid to that of the probability; () where they are one.

    Returns:
        Per pair, thresholds outside: ``Search.columns``. Overlaps and distances are those of the metric profile
        ``sunet``: ``hd_voxels`` between surfaces of 26 neighbours, ``hd_mm`` of 6. A distance is NaN where a mask is
        empty.
    """
    truth = _Truth(np.asarray(reference, dtype=bool), spacing_mm)
    exact = not any(isinstance(step, Resample) for step in steps)
    rows = []
    for threshold in search.thresholds:
        labels, count = label_lesions(np.asarray(probability) > threshold, search.neighbours)
        volumes = lesion_sizes(labels, count)
        kept = [volumes >= limit for limit in search.limits(voxel_mm3)]
        distinct = [True, *((one != other).any() for one, other in pairwise(kept))]
        chosen = [keep for keep, new in zip(kept, distinct, strict=True) if new]
        if exact:
            found = _measured(restore(labels, steps, "nearest"), chosen, truth)
        else:  # components may be cut or joined on the way: each mask is brought home by itself
            masks = (restore_mask(np.concatenate([[False], keep])[labels], steps) for keep in chosen)
            found = (next(_measured(mask, [np.array([True])], truth)) for mask in masks)
        values: dict[str, float] = {}
        for size, new in zip(search.sizes, distinct, strict=True):
            values = next(found) if new else values
            rows.append({"threshold": threshold, search.size: size, **values})
    return rows


def pair_scores(table: pd.DataFrame, search: Search) -> pd.DataFrame:
    """Every pair over all cases.

    Args:
        table: rows of ``try_pairs`` of several cases.
        search: the pairs.

    Returns:
        A row per pair: threshold, the size, ``cases``, ``undefined`` (without a distance), the means of ``MEASURES``
        over the cases that have them, and ``score``, the combined one of mean Dice and mean HD in voxels.
    """
    grouped = table.groupby(["threshold", search.size], sort=True)
    means = grouped[list(MEASURES)].mean()
    means.insert(0, "cases", grouped.size())
    means.insert(1, "undefined", grouped["hd_voxels"].agg(lambda values: int(values.isna().sum())))
    far = means["hd_voxels"].fillna(np.inf)
    means["score"] = [
        combined_score(float(dice), float(hd), search.hd_max) for dice, hd in zip(means["dice"], far, strict=True)
    ]
    return means.reset_index()


def best_pair(table: pd.DataFrame, search: Search) -> Pair:
    """The pair of the highest score; among equals the smaller size, then the threshold nearest to one half.

    Args:
        table: rows of ``try_pairs`` of one case or more.
        search: the pairs.
    """
    scores = pair_scores(table, search)
    distance = (scores["threshold"] - 0.5).abs().round(9)
    order = np.lexsort([scores["threshold"], distance, scores[search.size], -scores["score"]])
    best = scores.iloc[order[0]]
    size = _plain(best[search.size])
    return Pair(float(best["threshold"]), size, float(best["score"]), int(best["cases"]), int(best["undefined"]))


def at_pair(table: pd.DataFrame, search: Search, pair: Pair) -> pd.DataFrame:
    """The rows of a table at one pair: a lookup, nothing is predicted."""
    return table[(table["threshold"] == pair.threshold) & (table[search.size] == pair.size)]


class _Truth:
    """A reference (X, Y, Z), cut to a box around its lesions and those of predictions, with its two surfaces."""

    def __init__(self, reference: Mask, spacing_mm: Spacing) -> None:
        self.spacing = spacing_mm
        self.whole = reference
        self.voxels = int(np.count_nonzero(reference))
        self._box: tuple[slice, ...] | None = None
        self._surfaces: tuple[Mask, Mask] = (reference, reference)

    def around(self, labels: NDArray[Any]) -> tuple[tuple[slice, ...], tuple[Mask, Mask]]:
        """The box of the first, largest prediction and the reference; the reference's surfaces in it."""
        if self._box is None:
            self._box = _box((labels > 0) | self.whole)
            inside = self.whole[self._box]
            self._surfaces = surface(inside, 26), surface(inside, 6)
        return self._box, self._surfaces


def _box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box (X, Y, Z) around a mask; one voxel of an empty one."""
    ends = []
    for axis in range(3):
        places = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        ends.append(slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 1))
    return tuple(ends)


def _measured(labels: NDArray[Any], chosen: Sequence[NDArray[np.bool_]], truth: _Truth) -> Iterator[dict[str, float]]:
    """The mask of every choice among components 1..n (X, Y, Z), measured.

    A voxel inside a component has only voxels of the same component around it: the surface of several is that of each.
    """
    box, references = truth.around(labels)
    labels, reference = labels[box], truth.whole[box]
    count = len(chosen[0])
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    hits = np.bincount(labels[reference], minlength=count + 1)[1:]
    surfaces = [
        _Surface(surface(labels > 0, 26), labels, references[0], (1.0, 1.0, 1.0)),
        _Surface(surface(labels > 0, 6), labels, references[1], truth.spacing),
    ]
    for keep in chosen:
        hit, predicted = int(hits[keep].sum()), int(sizes[keep].sum())
        missed = truth.voxels - hit
        counts = Counts(hit, predicted - hit, missed, truth.whole.size - predicted - missed)
        empty = _PROFILE.empty_value
        values = overlap.dice(counts, empty), overlap.precision(counts, empty), overlap.recall(counts, empty)
        distances = (own.hausdorff(keep) if counts.prediction and counts.reference else np.nan for own in surfaces)
        yield dict(zip(MEASURES, (*values, *distances), strict=True))


class _Surface:
    """The surface voxels of all components and their distances to the reference's surface."""

    def __init__(self, own: Mask, labels: NDArray[Any], reference: Mask, spacing: Spacing) -> None:
        self._places = np.flatnonzero(own)
        self._labels = labels.ravel()[self._places]
        self._own, self._reference, self._spacing = own, reference, spacing
        self._farthest: NDArray[np.float64] | None = None

    def hausdorff(self, keep: NDArray[np.bool_]) -> float:
        """The larger of the two directed maxima between the reference and the components that are kept."""
        if self._farthest is None:  # of each component
            self._farthest = np.zeros(len(keep) + 1)
            np.maximum.at(self._farthest, self._labels, one_way(self._own, self._reference, self._spacing))
        kept = np.zeros_like(self._own)
        kept.ravel()[self._places[np.concatenate([[False], keep])[self._labels]]] = True
        back = one_way(self._reference, kept, self._spacing)
        return float(max(self._farthest[1:][keep].max(), back.max()))


def _plain(value: float) -> float:
    """A whole number as an integer, as sizes are written."""
    return int(value) if float(value).is_integer() else float(value)


def _wrong(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"postprocess.{name}", found=str(value), expected=expected, remedy=f"leave postprocess.{name} out for SUNet's"
    )
