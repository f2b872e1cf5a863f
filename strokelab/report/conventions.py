"""A case table in the conventions of another scoreboard, from its counts. Knows rows and profiles; knows no paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from strokelab.metrics import lesionwise, overlap
from strokelab.metrics.lesionwise import LesionCounts
from strokelab.metrics.overlap import Counts
from strokelab.metrics.profiles import CASE_METRICS, METRICS, Profile, VolumeUnit, find_profile

_COUNTS = ("tp", "fp", "fn", "tn")
_LESION_COUNTS = ("truth_lesions", "prediction_lesions", "lesion_tp", "lesion_fn", "lesion_fp")
_MM3_PER = {"ml": 1000.0, "mm^3": 1.0}
_OVERLAP: Mapping[str, Callable[[Counts, float], float]] = {
    "dice": overlap.dice,
    "jaccard": overlap.jaccard,
    "precision": overlap.precision,
    "recall": overlap.recall,
    "specificity": overlap.specificity,
}
_LESION: Mapping[str, Callable[[LesionCounts], float]] = {
    "lesion_count_difference": lesionwise.lesion_count_difference,
    "lesion_f1": lesionwise.lesion_f1,
    "lesion_precision": lesionwise.lesion_precision,
    "lesion_recall": lesionwise.lesion_recall,
}
_SURFACE = {"voxels": "between surface voxels", "surfels": "between surface elements"}
_WEIGHTED = {"voxels": "", "surfels": " weighted by area"}
_DISTANCE: Mapping[str, Callable[[Profile], str]] = {
    "hd": lambda profile: _SURFACE[profile.surface],
    "hd95": lambda profile: (
        f"{_SURFACE[profile.surface]}{_WEIGHTED[profile.surface]}, "
        + ("one percentile over both directions" if profile.hd95_pooled else "the larger of two directed percentiles")
    ),
    "assd": lambda profile: (
        f"{_SURFACE[profile.surface]}{_WEIGHTED[profile.surface]}, "
        + ("one mean over both directions" if profile.assd_pooled else "the mean of two directed means")
    ),
}
"""A distance metric's definition under a profile, in words."""
_ROUNDING = 1e-3


def in_terms_of(
    cases: pd.DataFrame, wanted: str | Profile, *, assumed: str = "default"
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Compute again what another profile defines differently, as far as the counts of the case table allow.

    Args:
        cases: a case table; its column ``profile`` says how it was scored.
        wanted: the profile to bring it to.
        assumed: how it was scored where that column is missing.

    Returns:
        The table, and for every metric that was not simply scored that way what was done about it. A metric that cannot
        be brought over keeps its values, with a remark that says how it differs; if it makes no sense at all (another
        unit), it is NaN.

    Raises:
        ConfigError: a profile does not exist.
    """
    rules = find_profile(wanted)
    named = sorted({str(name) for name in cases["profile"].dropna()}) if "profile" in cases.columns else []
    scored = [find_profile(name) for name in named] or [find_profile(assumed)]
    remarks: dict[str, str] = {}
    for step in (_volume, _lesions, _overlaps):
        cases, done = step(cases, scored, rules)
        remarks |= done
    remarks |= _distances(cases, scored, rules)
    if grids := _grids(cases, scored, rules):
        remarks = {
            **dict.fromkeys(CASE_METRICS, grids),
            **{name: f"{grids}; {words}" for name, words in remarks.items()},
        }
    return cases, remarks


def _volume(cases: pd.DataFrame, scored: Sequence[Profile], rules: Profile) -> tuple[pd.DataFrame, dict[str, str]]:
    units = _differing(scored, rules, "volume_unit")
    if not units:
        return cases, {}
    name, unit = "volume_difference", rules.volume_unit
    if _has(cases, ("fp", "fn", "voxel_volume_mm3")):
        voxels = (cases["fp"] - cases["fn"]).abs()
        return cases.assign(**{name: _in_unit(voxels, cases["voxel_volume_mm3"], unit)}), {
            name: f"in {unit}, from the voxel counts (scored in {', '.join(units)})"
        }
    if unit in _MM3_PER and _has(cases, ("lesion_ml", "prediction_ml")):
        ml = (cases["prediction_ml"] - cases["lesion_ml"]).abs()
        return cases.assign(**{name: ml * 1000 / _MM3_PER[unit]}), {
            name: f"in {unit}, from the two volumes (scored in {', '.join(units)})"
        }
    return cases.assign(**{name: float("nan")}), {
        name: f"left out: scored in {', '.join(units)}, not in {unit}, and the case table holds no voxel counts"
    }


def _in_unit(voxels: pd.Series, voxel_mm3: pd.Series, unit: VolumeUnit) -> pd.Series:
    return voxels if unit == "voxels" else voxels * voxel_mm3 / _MM3_PER[unit]


def _lesions(cases: pd.DataFrame, scored: Sequence[Profile], rules: Profile) -> tuple[pd.DataFrame, dict[str, str]]:
    others = " or ".join(_differing(scored, rules, "neighbours"))
    n = rules.neighbours
    columns = [f"{what}_{n}" for what in _LESION_COUNTS]
    if not others:
        return cases, {}
    if not _has(cases, columns):
        remark = f"components have {others} neighbours, not {n}, and the case table holds no counts for {n}"
        return cases, dict.fromkeys(_LESION, remark)
    remark = f"with {n} neighbours, from the component counts (scored with {others})"

    def compute(row: list[int]) -> list[float]:
        counts = LesionCounts(*row)
        return [float(f(counts)) for f in _LESION.values()]

    return _from_counts(cases, columns, list(_LESION), compute), dict.fromkeys(_LESION, remark)


def _overlaps(cases: pd.DataFrame, scored: Sequence[Profile], rules: Profile) -> tuple[pd.DataFrame, dict[str, str]]:
    others = " or ".join(_differing(scored, rules, "empty_value"))
    empty = rules.empty_value
    if not others:
        return cases, {}
    if not _has(cases, _COUNTS):
        return cases, dict.fromkeys(_OVERLAP, f"a case with two empty masks counts {others}, not {empty:g}")
    remark = f"a case with two empty masks counts {empty:g} (scored as {others})"

    def compute(row: list[int]) -> list[float]:
        counts = Counts(*row)
        return [f(counts, empty) for f in _OVERLAP.values()]

    return _from_counts(cases, _COUNTS, list(_OVERLAP), compute), dict.fromkeys(_OVERLAP, remark)


def _from_counts(
    cases: pd.DataFrame, columns: Sequence[str], metrics: Sequence[str], compute: Callable[[list[int]], list[float]]
) -> pd.DataFrame:
    """Metrics row by row; rows without counts are failed ones and have no value under any profile."""
    known = cases[cases[list(columns)].notna().all(axis=1)]
    counts = known[list(columns)].astype("int64").to_numpy().tolist()
    values = pd.DataFrame([compute(row) for row in counts], index=known.index, columns=list(metrics))
    return cases.assign(**{name: values[name].reindex(cases.index) for name in metrics})


def _grids(cases: pd.DataFrame, scored: Sequence[Profile], rules: Profile) -> str:
    """How the voxels differ on which masks were compared; "" where they are of 1 mm anyway, or were the same."""
    others = _differing(scored, rules, "spacing_mm")
    if _has(cases, ["voxel_volume_mm3"]) and all(one.spacing_mm is None for one in scored):  # the reference's own
        away = cases["voxel_volume_mm3"].dropna() - (rules.spacing_mm or 0.0) ** 3
        others = others if float(away.abs().max()) > _ROUNDING else []
    if not others:
        return ""
    used = " or ".join("the reference's voxels" if mm == "None" else f"voxels of {mm} mm" for mm in others)
    wanted = "the reference's voxels" if rules.spacing_mm is None else f"voxels of {rules.spacing_mm:g} mm"
    return f"scored on {used}, theirs on {wanted}; that needs the masks: evaluate with profile={rules.name}"


def _distances(cases: pd.DataFrame, scored: Sequence[Profile], rules: Profile) -> dict[str, str]:
    """Distances cannot be had from counts: only said to differ, or to be missing."""
    remarks = {}
    again = f"needs the masks: evaluate with profile={rules.name}"
    for metric, definition in _DISTANCE.items():
        used, theirs = list(dict.fromkeys(map(definition, scored))), definition(rules)
        if used != [theirs]:
            remarks[metric] = f"ours is {' or '.join(used)}, theirs {theirs}; that {again}"
    if "hd_voxels" not in cases.columns or cases["hd_voxels"].isna().all():
        remarks["hd_voxels"] = f"{METRICS['hd_voxels'].title} in voxels {again}"
    return remarks


def _differing(scored: Sequence[Profile], rules: Profile, attribute: str) -> list[str]:
    """The values of an attribute that are not the wanted one, as text (NaN equals NaN then)."""
    wanted = str(getattr(rules, attribute))
    return [value for value in dict.fromkeys(str(getattr(p, attribute)) for p in scored) if value != wanted]


def _has(cases: pd.DataFrame, columns: Sequence[str]) -> bool:
    return set(columns) <= set(cases.columns) and bool(cases[list(columns)].notna().any(axis=None))
