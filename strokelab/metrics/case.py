"""One case, one row: all metrics of a prediction against its reference. Knows no cohort, no run and no model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from strokelab.lesions import Neighbours
from strokelab.metrics import lesionwise, overlap, surface
from strokelab.metrics.lesionwise import LesionCounts, count_lesion_hits
from strokelab.metrics.overlap import Counts
from strokelab.metrics.pair import Pair, read_pair
from strokelab.metrics.profiles import Profile, find_profile
from strokelab.metrics.surfels import surfel_distances


def score_case(
    prediction: Any,
    reference: Any,
    spacing_mm: float | Sequence[float] | None = None,
    profile: str | Profile = "default",
    *,
    threshold: float | None = None,
    labels: Sequence[int] | None = None,
    reference_labels: Sequence[int] | None = None,
) -> dict[str, float]:
    """The twelve metrics of one case.

    Args:
        prediction: mask (X, Y, Z): NumPy array or torch tensor of any dtype, NIfTI path, image of
            nibabel, (array, affine), or a ``Prediction``. It holds
            0 and one other value (1, 255, True ...); probabilities and label maps need one of the last three arguments.
        reference: the same; the two need not have the same form.
        spacing_mm: voxel spacing along X, Y, Z in mm, or one number; None takes that of the reference's file or
            image, else of the prediction's. Of two arrays without it, what is in mm or ml is NaN, with a warning.
        profile: conventions: ``default``, ``atlas``, ``isles22``, ``synthstroke``, ``tomita``, ``isles2015``,
            ``sgnet``, ``sunet``, or a ``Profile``.
        threshold: of probability maps, at least this is lesion.
        labels: of label maps, these values are lesion and all others background.
        reference_labels: the reference's labels, where they differ; (1,) beside a plain 0/1 mask.

    Returns:
        dice, jaccard, precision, recall (0 to 1); hd, hd95, assd (mm); volume_difference (absolute; ml, or the
        profile's unit); lesion_count_difference; lesion_f1, lesion_precision, lesion_recall (0 to 1).
        Both masks empty is a perfect score; with one empty, overlaps are 0 and distances infinite.

    Raises:
        DataError: a mask cannot be read or is none (several values, negative, complex or not finite), or the two do
            not fit together.
        ConfigError: the profile does not exist, or threshold and labels contradict each other.
    """
    rules = find_profile(profile)
    pair = read_pair(
        prediction,
        reference,
        spacing_mm,
        threshold=threshold,
        labels=labels,
        reference_labels=reference_labels,
        without_spacing=True,
        cubes_mm=rules.spacing_mm,
    )
    return _metrics(pair, _counts(pair), _lesions(pair, rules, rules.neighbours), rules)


def score_row(
    prediction: Any,
    reference: Any,
    spacing_mm: float | Sequence[float] | None,
    profile: str | Profile = "default",
    *,
    voxel_volume_mm3: float | None = None,
    strict_grid: bool = False,
    threshold: float | None = None,
    labels: Sequence[int] | None = None,
    reference_labels: Sequence[int] | None = None,
) -> dict[str, float | str]:
    """The row of a case table: what ``score_case`` returns and all that is needed to compute it again without images.

    Args:
        prediction: as for ``score_case``.
        reference: as for ``score_case``.
        spacing_mm: as for ``score_case``.
        profile: as for ``score_case``.
        voxel_volume_mm3: volume of a voxel, |det| of the affine; default: the file's, else the spacing's product.
        strict_grid: refuse files on different grids instead of bringing the prediction onto the reference's.
        threshold: as for ``score_case``.
        labels: as for ``score_case``.
        reference_labels: as for ``score_case``.

    Returns:
        The twelve metrics; specificity, signed_volume_difference (prediction - reference, ml),
        relative_volume_difference (NaN for an empty reference), hd_penalised (the grid's diagonal instead of infinity)
        and, where the profile reports it, hd_voxels; the voxel counts tp, fp, fn, tn; voxel_volume_mm3; truth_ml,
        prediction_ml; for N = 6 and 26 neighbours truth_lesions_N, prediction_lesions_N, lesion_tp_N, lesion_fn_N,
        lesion_fp_N; profile.

    Raises:
        DataError: as ``score_case``.
        ConfigError: as ``score_case``.
    """
    rules = find_profile(profile)
    pair = read_pair(
        prediction,
        reference,
        spacing_mm,
        voxel_volume_mm3=voxel_volume_mm3,
        strict_grid=strict_grid,
        threshold=threshold,
        labels=labels,
        reference_labels=reference_labels,
        cubes_mm=rules.spacing_mm,
    )
    counts = _counts(pair)
    wanted: set[Neighbours] = {6, 26, rules.neighbours}
    lesions = {neighbours: _lesions(pair, rules, neighbours) for neighbours in sorted(wanted)}
    row: dict[str, float | str] = dict(_metrics(pair, counts, lesions[rules.neighbours], rules))
    row["specificity"] = overlap.specificity(counts, rules.empty_value)
    row["signed_volume_difference"] = overlap.volume_difference(counts) * pair.voxel_mm3 / 1000
    row["relative_volume_difference"] = overlap.relative_volume_difference(counts)
    row["hd_penalised"] = min(float(row["hd"]), pair.diagonal_mm)
    if "hd_voxels" in rules.reported:
        full = surface.surface_distances(pair.prediction, pair.reference, (1.0, 1.0, 1.0), neighbours=26)
        row["hd_voxels"] = surface.hausdorff(full)
    row |= {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, "tn": counts.tn, "voxel_volume_mm3": pair.voxel_mm3}
    row["truth_ml"] = counts.reference * pair.voxel_mm3 / 1000
    row["prediction_ml"] = counts.prediction * pair.voxel_mm3 / 1000
    for n in (6, 26):
        found = lesions[n]
        row |= {f"truth_lesions_{n}": found.reference, f"prediction_lesions_{n}": found.prediction}
        row |= {f"lesion_tp_{n}": found.tp, f"lesion_fn_{n}": found.fn, f"lesion_fp_{n}": found.fp}
    row["profile"] = rules.name
    return row


def _counts(pair: Pair) -> Counts:
    x, y, z = pair.shape
    return overlap.count(pair.prediction, pair.reference, size=x * y * z)


def _lesions(pair: Pair, rules: Profile, neighbours: Neighbours) -> LesionCounts:
    return count_lesion_hits(
        pair.prediction,
        pair.reference,
        neighbours,
        min_overlap=rules.min_overlap,
        min_size=rules.min_size,
    )


def _metrics(pair: Pair, counts: Counts, lesions: LesionCounts, rules: Profile) -> dict[str, float]:
    """The twelve metrics in the order of ``profiles.CASE_METRICS``."""
    between = surfel_distances if rules.surface == "surfels" else surface.surface_distances
    known = not math.isnan(pair.spacing_mm[0])
    # Without a spacing the distances are those of cubes of 1 mm, times a millimetre that is not known.
    distances = between(pair.prediction, pair.reference, pair.spacing_mm if known else (1.0, 1.0, 1.0))
    mm = 1.0 if known else math.nan
    unit = {"ml": pair.voxel_mm3 / 1000, "mm^3": pair.voxel_mm3, "voxels": 1.0}[rules.volume_unit]
    return {
        "dice": overlap.dice(counts, rules.empty_value),
        "jaccard": overlap.jaccard(counts, rules.empty_value),
        "precision": overlap.precision(counts, rules.empty_value),
        "recall": overlap.recall(counts, rules.empty_value),
        "hd": surface.hausdorff(distances) * mm,
        "hd95": surface.hausdorff_95(distances, pooled=rules.hd95_pooled) * mm,
        "assd": surface.average_distance(distances, pooled=rules.assd_pooled) * mm,
        "volume_difference": abs(overlap.volume_difference(counts)) * unit,
        "lesion_count_difference": float(lesionwise.lesion_count_difference(lesions)),
        "lesion_f1": lesionwise.lesion_f1(lesions),
        "lesion_precision": lesionwise.lesion_precision(lesions),
        "lesion_recall": lesionwise.lesion_recall(lesions),
    }
