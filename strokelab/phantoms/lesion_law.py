"""How large, how many and where strokes are: the cohort's statistics. Knows numbers; knows no voxels.

The figures are those of ATLAS v1.2 (Liew et al., Scientific Data 2018): per-patient median 4.2 cm^3 with quartiles
0.9 and 21.6 cm^3, 10 mm^3 to 284 cm^3, 58 % with one lesion, 48 % left, 44 % right, 8 % brainstem or cerebellum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from strokelab.seeding import stream

Side = Literal["left", "right", "other"]
Place = Literal["cortical", "subcortical", "brainstem", "cerebellum"]

SMALLEST_MM3, LARGEST_MM3 = 10.0, 280_000.0
_OTHER_BELOW_MM3 = 25_000.0  # a cerebellar hemisphere holds no more
_SUBCORTICAL_BELOW_MM3 = 30_000.0


@dataclass(frozen=True)
class Law:
    """The statistics of a cohort: truncated log-normal volume per subject, number of lesions, sides."""

    scale_mm3: float = 4_690.0  # median before the truncation, which lowers this one to 4170
    spread: float = 2.4  # standard deviation of the logarithm
    counts: tuple[float, ...] = (0.58, 0.20, 0.12, 0.06, 0.04)  # share of subjects with 1, 2, ... lesions
    left: float = 0.48
    right: float = 0.44
    other: float = 0.08  # brainstem or cerebellum
    smallest_mm3: float = SMALLEST_MM3  # per subject; a coarse cohort may leave out what its voxels cannot show


CHRONIC = Law()
ISLES_2022 = Law(6_660.0, 1.9, (0.20, 0.16, 0.14, 0.13, 0.13, 0.12, 0.12))  # median and quartiles of that release
LARGE_VESSEL = Law(12_000.0, 1.1, (1.0,), left=0.52, right=0.48, other=0.0)  # cores of subjects chosen for treatment


@dataclass(frozen=True)
class Stroke:
    """One lesion as planned: volume in mm^3, side, and kind of place."""

    volume_mm3: float
    side: Side
    place: Place


def volume_at(quantile: NDArray[np.float64], law: Law = CHRONIC) -> NDArray[np.float64]:
    """Volume (mm^3) at a quantile (0..1) of the log-normal law, truncated at both ends."""
    low, high = _below(law.smallest_mm3, law), _below(LARGEST_MM3, law)
    exponent = law.spread * ndtri(low + (high - low) * quantile)
    return np.asarray(law.scale_mm3 * np.exp(exponent), dtype=np.float64)


def draw_strokes(seed: int, site: str, subjects: int, law: Law = CHRONIC) -> list[tuple[Stroke, ...]]:
    """The strokes of a site's subjects, largest first in each.

    Sizes and sides are stratified within the site: a site of eight subjects has one in each eighth of the size law, so
    that small cohorts differ in their scanners and not by luck in their lesions.
    """
    draw = stream(seed, "strokes", site)
    volumes = volume_at(_strata(draw, subjects), law)
    sides = _sides(draw, volumes, law)
    return [_divide(draw, float(volume), side, law) for volume, side in zip(volumes, sides, strict=True)]


def with_a_second(cohort: list[tuple[Stroke, ...]]) -> list[tuple[Stroke, ...]]:
    """The cohort with at least one subject of several strokes: the one with the largest single one if none has."""
    if any(len(strokes) > 1 for strokes in cohort):
        return cohort
    index = max(range(len(cohort)), key=lambda i: cohort[i][0].volume_mm3)
    only = cohort[index][0]
    parts = (replace(only, volume_mm3=0.7 * only.volume_mm3), replace(only, volume_mm3=0.3 * only.volume_mm3))
    return [*cohort[:index], parts, *cohort[index + 1 :]]


def _below(volume: float, law: Law) -> float:
    """Share of the untruncated law below a volume (mm^3)."""
    return float(ndtr(np.log(volume / law.scale_mm3) / law.spread))


def _strata(draw: np.random.Generator, count: int) -> NDArray[np.float64]:
    return (draw.permutation(count) + draw.random(count)) / max(count, 1)


def _sides(draw: np.random.Generator, volumes: NDArray[np.float64], law: Law) -> list[Side]:
    """Sides by the cohort's shares; only strokes that fit there lie in brainstem or cerebellum."""
    low, high = _below(law.smallest_mm3, law), _below(LARGEST_MM3, law)
    other = law.other * (high - low) / (_below(_OTHER_BELOW_MM3, law) - low)
    elsewhere = (_strata(draw, len(volumes)) < other) & (volumes < _OTHER_BELOW_MM3)
    left = _strata(draw, len(volumes)) < law.left / (law.left + law.right)
    return ["other" if o else "left" if at_left else "right" for o, at_left in zip(elsewhere, left, strict=True)]


def _divide(draw: np.random.Generator, volume: float, side: Side, law: Law) -> tuple[Stroke, ...]:
    count = 1 + int(draw.choice(len(law.counts), p=law.counts))
    count = max(1, min(count, int(volume / (2 * SMALLEST_MM3))))
    shares = np.sort(draw.dirichlet([2.5, *([0.8] * (count - 1))]))[::-1] if count > 1 else np.ones(1)
    parts = np.maximum(shares * volume, SMALLEST_MM3)
    strokes = []
    for index, part in enumerate(parts * volume / parts.sum()):
        across = index > 0 and side != "other" and draw.random() < 0.25
        here: Side = side if not across else "right" if side == "left" else "left"
        strokes.append(Stroke(float(part), here, _place(draw, float(part), here)))
    return tuple(sorted(strokes, key=lambda stroke: -stroke.volume_mm3))


def _place(draw: np.random.Generator, volume: float, side: Side) -> Place:
    chance = draw.random()
    if side == "other":
        return "brainstem" if chance < 0.45 and volume < 3_000 else "cerebellum"
    deep = 0.6 if volume < 3_000 else 0.4 if volume < _SUBCORTICAL_BELOW_MM3 else 0.0
    return "subcortical" if chance < deep else "cortical"
