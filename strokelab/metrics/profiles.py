"""What a number is called, its unit, which way is better, and the conventions that leaderboards attach. Data only.

A profile bundles conventions so that our table can stand beside a published one; ``docs/methods`` of each paper names
its profile. Facts about the scorers were found by running them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from strokelab.errors import ConfigError
from strokelab.lesions import Neighbours

VolumeUnit = Literal["ml", "mm^3", "voxels"]


@dataclass(frozen=True)
class Metric:
    """One column: drives table headers, axis labels, arrows and rankings."""

    name: str  # key of ``score_case``, column of the case table
    title: str
    unit: str  # "" = a share without unit; "volume" = the profile's volume unit
    higher_is_better: bool
    limits: tuple[float, float] = (0.0, float("inf"))

    @property
    def signed(self) -> bool:
        """Whether zero is best, not an end of the range: compare absolute values."""
        return self.limits[0] < 0


_METRICS = (
    Metric("dice", "Dice", "", True, (0.0, 1.0)),
    Metric("jaccard", "Jaccard", "", True, (0.0, 1.0)),
    Metric("precision", "Precision", "", True, (0.0, 1.0)),
    Metric("recall", "Recall", "", True, (0.0, 1.0)),
    Metric("hd", "HD", "mm", False),
    Metric("hd95", "HD95", "mm", False),
    Metric("assd", "ASSD", "mm", False),
    Metric("volume_difference", "Volume difference", "volume", False),
    Metric("lesion_count_difference", "Lesion count difference", "lesions", False),
    Metric("lesion_f1", "Lesion F1", "", True, (0.0, 1.0)),
    Metric("lesion_precision", "Lesion precision", "", True, (0.0, 1.0)),
    Metric("lesion_recall", "Lesion recall", "", True, (0.0, 1.0)),
)
CASE_METRICS = tuple(metric.name for metric in _METRICS)
"""The keys of ``score_case``, in order."""

METRICS = {
    metric.name: metric
    for metric in (
        *_METRICS,
        Metric("specificity", "Specificity", "", True, (0.0, 1.0)),
        Metric("signed_volume_difference", "Signed volume difference", "ml", False, (-float("inf"), float("inf"))),
        Metric("relative_volume_difference", "Relative volume difference", "", False),
        Metric("hd_penalised", "HD, empty masks at the grid's diagonal", "mm", False),
        Metric("assd_penalised", "ASSD, empty masks at the grid's diagonal", "mm", False),
        Metric("hd_voxels", "HD", "voxels", False),
        Metric("mdsc", "Maximal Dice", "", True, (0.0, 1.0)),
        Metric("micro_dice", "Micro-Dice", "", True, (0.0, 1.0)),
    )
}
"""Every metric of the case table by name; ``micro_dice`` is one number per group of cases, from pooled counts,
``mdsc`` needs a probability map, ``assd_penalised`` is made from ``assd`` and ``hd_penalised`` where it is shown."""


@dataclass(frozen=True)
class Profile:
    """Conventions of one scoreboard.

    All twelve metrics are computed under every profile; ``reported`` are those that the scoreboard itself shows. Any
    other set of conventions is one call away: ``dataclasses.replace(PROFILES["default"], hd95_pooled=True)``.
    """

    name: str
    reported: tuple[str, ...]
    grid: str  # where the masks must lie, in words
    neighbours: Neighbours = 26
    volume_unit: VolumeUnit = "ml"
    # Distances run between surface voxels, or between surface elements weighted by their area (surface-distance)
    surface: Literal["voxels", "surfels"] = "voxels"
    hd95_pooled: bool = False  # one percentile over both directions (MedPy), not the larger directed one (MONAI)
    assd_pooled: bool = True  # one mean over both directions (MONAI), not the mean of the two directed ones (MedPy)
    empty_value: float = 1.0  # voxel overlap when both masks are empty; NaN leaves such cases out of means
    exact_mdsc: bool = False  # maximal Dice over all thresholds, not over 0.01, 0.02, ..., 0.99
    min_overlap: float = 0.0  # share of a true lesion that must be predicted to count as found; 0 = one voxel
    spacing_mm: float | None = None  # voxels that both masks are brought to, nearest neighbour; None: their own
    min_size: int = 1  # voxels; smaller components are left out of the lesion-wise metrics, on both sides

    def unit(self, metric: str) -> str:
        """Unit of a metric under this profile, "" for shares."""
        unit = METRICS[metric].unit
        return self.volume_unit if unit == "volume" else unit

    def header(self, metric: str) -> str:
        """Table header or axis label with unit and the direction that is better, e.g. ``"HD95 (mm) ↓"``."""
        unit = self.unit(metric)
        arrow = "→ 0" if METRICS[metric].signed else "↑" if METRICS[metric].higher_is_better else "↓"
        return f"{METRICS[metric].title}{f' ({unit})' if unit else ''} {arrow}"


_CHALLENGE = ("dice", "volume_difference", "lesion_count_difference", "lesion_f1")
_OVERLAP_AND_HD = ("dice", "hd", "precision", "recall")

PROFILES = {
    profile.name: profile
    for profile in (
        Profile("default", CASE_METRICS, "native grid of the reference"),
        # npnl/atlas2_grand_challenge: 6 neighbours since 22 June 2022, 26 before
        Profile("atlas", _CHALLENGE, "ATLAS grid, 1 mm", neighbours=6, volume_unit="voxels"),
        # ezequieldlrosa/isles22
        Profile("isles22", _CHALLENGE, "DWI grid"),
        # Chalcroft et al. 2024; their tables average finite HD95 only
        Profile("synthstroke", (*_CHALLENGE, "hd95"), "1 mm, padded to 256^3", volume_unit="mm^3", spacing_mm=1.0),
        # Tomita et al. 2020, surface-distance library; their ASSD is the mean of its two directed means
        Profile(
            "tomita",
            ("dice", "mdsc", "micro_dice", "hd", "assd", "recall", "precision"),
            "native grid, 1 mm",
            surface="surfels",
            assd_pooled=False,
            exact_mdsc=True,
        ),
        # Maier et al. 2017
        Profile("isles2015", _OVERLAP_AND_HD, "native grid"),
        # Yu et al. 2022; "F1" is the same number as Dice and is shown once
        Profile("sgnet", ("dice", "recall"), "native grid"),
        # Clerigues et al. 2019; HD on the full 26-neighbour erosion, in voxels, beside HD in mm
        Profile("sunet", (*_OVERLAP_AND_HD, "hd_voxels"), "native grid"),
    )
}


def find_profile(profile: str | Profile) -> Profile:
    """The profile of a name; a ``Profile`` of the caller's own passes through.

    Raises:
        ConfigError: no profile has that name; the message lists those that exist.
    """
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise ConfigError(
            "profile",
            found=repr(profile),
            expected=f"one of {', '.join(PROFILES)}",
            remedy="set profile=default (strokelab score: --profile default)",
        )
    return PROFILES[profile]
