"""Grey values per site, before and after standardisation. Knows arrays and site names; knows no model and no figure.

Source of the picture: SG-Net (Yu et al. 2022, arXiv 2205.04329, Fig. 5), one axial slice of every scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SLICE_FRACTION = 93 / 188  # index 93 of 189 axial slices at 1 mm
_LEVELS = (np.arange(2000) + 0.5) / 2000  # of the quantile functions the distances are computed from


@dataclass(frozen=True)
class SitePixels:
    """The slice of one scan: (Y, X) or any other common shape, model units."""

    site: str
    before: NDArray[Any]  # what the standardiser gets
    after: NDArray[Any]  # what it returns
    brain: NDArray[Any]  # non-zero inside
    scale: tuple[float, ...] = ()  # gamma of each channel, where it is known
    shift: tuple[float, ...] = ()  # beta


@dataclass(frozen=True)
class Factors:
    """What a standardizer does to the scans of one site: scale and shift of one channel, over scans."""

    site: str
    channel: int
    scans: int
    scale: tuple[float, float]  # mean and sample SD over scans; the SD of one scan is NaN
    shift: tuple[float, float]


@dataclass(frozen=True)
class SiteHistograms:
    """One panel: a density per site over common bins, and how far the sites lie apart."""

    edges: Floats  # (N + 1,)
    density: Mapping[str, Floats]  # site -> (N,), integrates to the share of pixels within the edges
    distance: float  # mean pairwise Wasserstein-1 distance, in the units of the edges; NaN with one site
    relative_distance: float  # the same in units of the pooled standard deviation; NaN with one site


@dataclass(frozen=True)
class GreyValues:
    """Four panels: all pixels and brain pixels only, before and after."""

    before_all: SiteHistograms
    after_all: SiteHistograms
    before_brain: SiteHistograms
    after_brain: SiteHistograms
    scans: int
    examples: tuple[SitePixels, ...] = ()  # the first scan of each site
    factors: tuple[Factors, ...] = ()


def slice_index(slices: int) -> int:
    """The axial slice that lies where index 93 of 189 lies at 1 mm, for a volume of ``slices`` slices.

    Raises:
        ValueError: there is no slice.
    """
    if slices < 1:
        raise ValueError(f"{slices} slices")
    return round(SLICE_FRACTION * (slices - 1))


def grey_values(scans: Iterable[SitePixels], *, bins: int = 100) -> GreyValues:
    """Histograms and distances of many scans' slices; scans of one site are pooled.

    Args:
        scans: consumed once; only the pixel values of one slice per scan are held.
        bins: per panel.

    Raises:
        ValueError: no scan, or none with brain pixels.
    """
    values: dict[tuple[str, str], dict[str, list[Floats]]] = {
        (moment, where): {} for moment in ("before", "after") for where in ("all", "brain")
    }
    count = 0
    examples: dict[str, SitePixels] = {}
    factors: dict[str, list[tuple[tuple[float, ...], tuple[float, ...]]]] = {}
    for scan in scans:
        count += 1
        examples.setdefault(scan.site, scan)
        factors.setdefault(scan.site, []).append((scan.scale, scan.shift))
        inside = np.asarray(scan.brain) != 0
        for moment, pixels in (("before", scan.before), ("after", scan.after)):
            array = np.asarray(pixels, dtype=np.float64)
            values[moment, "all"].setdefault(scan.site, []).append(array.ravel())
            values[moment, "brain"].setdefault(scan.site, []).append(array[inside])
    panels = {key: histograms(_pooled(sites), bins=bins) for key, sites in values.items()}
    return GreyValues(
        before_all=panels["before", "all"],
        after_all=panels["after", "all"],
        before_brain=panels["before", "brain"],
        after_brain=panels["after", "brain"],
        scans=count,
        examples=tuple(examples.values()),
        factors=tuple(one for site, found in factors.items() for one in _factors(site, found)),
    )


def _factors(site: str, found: Sequence[tuple[tuple[float, ...], tuple[float, ...]]]) -> list[Factors]:
    """Of the scans of a site, each with the scales and shifts of its channels."""
    scales, shifts = (np.array([one[i] for one in found], dtype=np.float64) for i in (0, 1))  # (scans, channels)

    def described(values: Floats) -> tuple[float, float]:
        return float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else float("nan")

    return [
        Factors(site, channel, len(found), described(scales[:, channel]), described(shifts[:, channel]))
        for channel in range(scales.shape[1])
    ]


def histograms(values: Mapping[str, NDArray[Any]], *, bins: int = 100) -> SiteHistograms:
    """A density per site over common bins that span 99.8 % of all pixels, sites in natural order given.

    Args:
        values: site -> grey values (N,); sites without a value are left out.
        bins: of equal width.

    Raises:
        ValueError: no value at all.
    """
    sites = {site: np.asarray(v, dtype=np.float64).ravel() for site, v in values.items() if np.size(v)}
    if not sites:
        raise ValueError("no pixel to draw a histogram of")
    pooled = np.concatenate(list(sites.values()))
    low, high = (float(v) for v in np.quantile(pooled, [0.001, 0.999]))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    width = edges[1] - edges[0]
    density = {site: np.histogram(v, edges)[0] / (v.size * width) for site, v in sites.items()}
    distance = mean_pairwise_distance(sites)
    spread = float(pooled.std())
    return SiteHistograms(edges, density, distance, distance / spread if spread > 0 else float("nan"))


def mean_pairwise_distance(values: Mapping[str, NDArray[Any]]) -> float:
    """Mean Wasserstein-1 distance over all pairs of sites, in the units of the values; NaN with fewer than two.

    In one dimension the distance is the area between two quantile functions, so every site is sorted once and
    compared at 2,000 levels, whatever the number of pixels.
    """
    quantiles = [np.quantile(np.asarray(v, dtype=np.float64), _LEVELS, method="inverted_cdf") for v in values.values()]
    distances = [float(np.abs(a - b).mean()) for a, b in combinations(quantiles, 2)]
    return float(np.mean(distances)) if distances else float("nan")


def _pooled(sites: Mapping[str, list[Floats]]) -> dict[str, Floats]:
    return {site: np.concatenate(parts) for site, parts in sites.items()}
