"""How well two masks agree when neither is the truth: measures that are the same either way. Draws nothing.

Lesions are compared both ways, since one lesion may touch several: the share of the lesions of each side that the
other touches, and of both sides together (``lesion_agreement``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from strokelab.errors import DataError, StrokelabError
from strokelab.metrics.case import score_row
from strokelab.metrics.lesionwise import LesionCounts, lesion_f1, lesion_recall
from strokelab.scoreboard.masks import MaskRule, bring_to
from strokelab.scoreboard.score import Reference, read_reference
from strokelab.scoreboard.twins import Twin
from strokelab.scoreboard.workers import over_cases
from strokelab.statistics.aggregate import has_failed
from strokelab.statistics.agreement import Agreement, limits_of_agreement
from strokelab.statistics.bootstrap import bootstrap_intervals
from strokelab.statistics.intraclass import Intraclass, absolute_agreement

MEASURES = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "hd": "HD (mm)",
    "hd95": "HD95 (mm)",
    "assd": "ASSD (mm)",
    "lesion_agreement": "Lesions touched, of both",
    "first_touched": "Lesions touched, of the first",
    "second_touched": "Lesions touched, of the second",
    "lesion_f1_first": "Lesion F1, first as truth",
    "lesion_f1_second": "Lesion F1, second as truth",
}
"""Columns of ``agreement.csv`` that are averaged, with titles."""

Row = dict[str, Any]


@dataclass(frozen=True)
class VolumeAgreement:
    """Lesion volumes of the two sides."""

    differences: Agreement  # second - first, ml
    ratios: Agreement  # natural logarithms of second / first, where both are above 0
    icc: Intraclass  # of the volumes in ml
    empty: int  # pairs that are in no ratio: one volume is 0, or both are


def agree(
    pairs: Sequence[Twin],
    rule: MaskRule,
    *,
    strict_grid: bool = False,
    workers: int | None = None,
    console: Console | None = None,
) -> pd.DataFrame:
    """One row per pair, in their order.

    Args:
        pairs: what is to be compared.
        rule: how files become masks, on both sides.
        strict_grid: refuse masks on two grids instead of bringing the second onto the first's (nearest neighbour).
        workers: processes; None: one per core. The numbers do not depend on it.
        console: where a progress bar is shown; None: nowhere.

    Returns:
        case, subject, site; dice, jaccard, hd, hd95, assd (mm); first_ml, second_ml, signed_volume_difference (second
        - first, ml); first_lesions, second_lesions (26 neighbours); first_touched, second_touched (share of a side's
        lesions with at least one voxel of the other mask; 1 when neither side has any, 0 when only the other has);
        lesion_f1_first and lesion_f1_second (F1 as ISLES'22 has it, with that side as the reference); lesion_agreement
        (touched lesions of both sides as a share of all); shared, only_first, only_second (voxels); grid_kept (volume
        of the second after / before it was brought to the first's grid; empty where it lay there); note; error.

    Raises:
        DataError: a worker was killed.
    """
    work = partial(agreement_of, rule=rule, strict_grid=strict_grid)
    jobs = {pair.case: pair for pair in pairs}
    rows = dict(over_cases(work, jobs, workers=workers, console=console, title="Comparing"))
    # A failed row alone has no measures.
    columns = dict.fromkeys(("case", "subject", "site", *MEASURES, "first_ml", "second_ml"))
    table = pd.DataFrame([rows[pair.case] for pair in pairs])
    last = ("note", "error", "first", "second")
    columns |= dict.fromkeys(name for name in table.columns if name not in last)
    return table.reindex(columns=[*columns, *last])


def agreement_of(pair: Twin, rule: MaskRule, *, strict_grid: bool = False) -> Row:
    """The row of one pair; what is wrong with it stands in ``error``."""
    row: Row = {"case": pair.case, "subject": pair.subject, "site": pair.site, "note": "", "error": ""}
    row |= {side: _paths(mask) for side, mask in (("first", pair.first), ("second", pair.second))}
    try:
        if pair.first is None or pair.second is None:
            raise _one_sided(pair)
        first, second = read_reference(pair.first, rule), read_reference(pair.second, rule)
        where = pair.second.paths[0]
        second = bring_to(second, first.grid, where=where, strict=strict_grid or pair.one_grid)
        grid = first.grid
        scores = score_row(second.mask, first.mask, grid.spacing, voxel_volume_mm3=grid.voxel_volume_mm3)
    except (StrokelabError, OSError, MemoryError) as error:
        return row | {"error": " ".join(str(error).split()) or type(error).__name__}
    notes = [f"first: {note}" for note in first.notes] + [f"second: {note}" for note in second.notes]
    return row | _measures(scores) | {"grid_kept": second.kept, "note": "; ".join(notes)}


def of_volumes(table: pd.DataFrame) -> VolumeAgreement:
    """Bland-Altman limits of volume differences and ratios, and the ICC, over the pairs that could be compared."""
    good = table[~has_failed(table)]
    first, second = (good[column].to_numpy(dtype=float) for column in ("first_ml", "second_ml"))
    both = (first > 0) & (second > 0)
    return VolumeAgreement(
        differences=limits_of_agreement(second, first),
        ratios=limits_of_agreement(np.log(second[both]), np.log(first[both])),
        icc=absolute_agreement(np.column_stack([first, second])),
        empty=int((~both).sum()),
    )


def summary_of(table: pd.DataFrame, volumes: VolumeAgreement) -> pd.DataFrame:
    """The file ``summary.csv``: measure, statistic, n, estimate, low, high (95 %), infinite, failed.

    Means and medians have bootstrap intervals by subject, volumes those of Bland and Altman's t and of the ICC.
    """
    lines = bootstrap_intervals(table, list(MEASURES))
    failed = int(has_failed(table).sum())
    d, r, icc = volumes.differences, volumes.ratios, volumes.icc
    of_volume: list[tuple[str, str, int, float, tuple[float, float]]] = [
        ("volume difference (ml)", "bias", d.n, d.bias, d.bias_interval),
        ("volume difference (ml)", "lower limit", d.n, d.lower, d.lower_interval),
        ("volume difference (ml)", "upper limit", d.n, d.upper, d.upper_interval),
        ("volume ratio", "bias", r.n, *_exp(r.bias, r.bias_interval)),
        ("volume ratio", "lower limit", r.n, *_exp(r.lower, r.lower_interval)),
        ("volume ratio", "upper limit", r.n, *_exp(r.upper, r.upper_interval)),
        ("volume (ml)", "ICC(A,1)", icc.n, icc.icc, (icc.low, icc.high)),
        ("volume difference (ml)", "slope on the mean", d.n, d.slope, (np.nan, np.nan)),
        ("volume difference (ml)", "p of the slope", d.n, d.slope_p, (np.nan, np.nan)),
    ]
    names = ("metric", "statistic", "n", "estimate", "low", "high", "failed")
    more = pd.DataFrame([(m, s, n, x, low, high, failed) for m, s, n, x, (low, high) in of_volume], columns=names)
    return pd.concat([lines, more], ignore_index=True).rename(columns={"metric": "measure", "clusters": "subjects"})


def _measures(scores: Row) -> Row:
    first, second = int(scores["truth_lesions_26"]), int(scores["prediction_lesions_26"])
    hit, alone = int(scores["lesion_tp_26"]), int(scores["lesion_fp_26"])
    forth = LesionCounts(first, second, hit, first - hit, alone)
    back = LesionCounts(second, first, second - alone, alone, first - hit)
    total = first + second
    return {
        **{name: scores[name] for name in ("dice", "jaccard", "hd", "hd95", "assd")},
        "lesion_agreement": (forth.tp + back.tp) / total if total else 1.0,
        "first_touched": lesion_recall(forth),
        "second_touched": lesion_recall(back),
        "lesion_f1_first": lesion_f1(forth),
        "lesion_f1_second": lesion_f1(back),
        "first_ml": scores["truth_ml"],
        "second_ml": scores["prediction_ml"],
        "signed_volume_difference": scores["prediction_ml"] - scores["truth_ml"],
        "first_lesions": first,
        "second_lesions": second,
        "shared": scores["tp"],
        "only_first": scores["fn"],
        "only_second": scores["fp"],
        "voxel_volume_mm3": scores["voxel_volume_mm3"],
    }


def _exp(value: float, interval: tuple[float, float]) -> tuple[float, tuple[float, float]]:
    low, high = np.exp(interval)
    return float(np.exp(value)), (float(low), float(high))


def _paths(mask: Reference | None) -> str:
    return "" if mask is None else ";".join(map(str, mask.paths))


def _one_sided(pair: Twin) -> DataError:
    side = "second" if pair.first is None else "first"
    return DataError(
        f"case {pair.case}",
        found=f"a mask on the {side} side only",
        expected="two masks",
        remedy="add the other mask (an empty one where nothing was found), or take this one away",
    )
