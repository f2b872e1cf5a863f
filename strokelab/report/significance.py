"""Is one model better than another? The paired comparisons of an evaluation as a table and as sentences to quote.

Knows case tables and their statistics; knows no HTML. A difference is always "first - second", models in their order of
appearance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from strokelab.metrics.profiles import METRICS
from strokelab.report.cells import (
    NOTHING,
    Cell,
    Table,
    between,
    count_cell,
    counted,
    further,
    number_cell,
    p_equation,
    p_value,
    plain_number,
)
from strokelab.report.material import digits, heading
from strokelab.report.summary import CLUSTER, HEADLINE, RESAMPLES, SEED, measured
from strokelab.statistics.nested import nested_differences
from strokelab.statistics.paired import compare, holm, stars
from strokelab.statistics.trainings import training_differences

_POWER = "80 % power"
_FEW_TRAININGS = 10
_OF_TRAININGS = {"low": "low_training", "high": "high_training"}


def comparisons(cases: pd.DataFrame, *, column: str = "model", metrics: Sequence[str] = HEADLINE) -> pd.DataFrame:
    """Every two models on the cases they share, as ``statistics.paired.compare``, first = the one that appears first.

    Models that were given one modality alone are compared with those that were given the same one.

    Args:
        cases: a case table.
        column: what is compared.
        metrics: those that are measured at all are tested; Holm's correction runs over all of them and all pairs.

    Returns:
        One row per pair and metric, in order of appearance; no row for fewer than two models. ``modality`` where there
        are several.
    """
    if {"modality", "dataset"} <= {*cases.columns} and cases["modality"].nunique(dropna=False) > 1:
        groups = cases.groupby(["dataset", "modality"], sort=False, dropna=False)
        parts = [comparisons(rows, column=column, metrics=metrics) for _, rows in groups]
        named = [str(modality) for (_, modality), _ in groups]
        parts = [part.assign(modality=name) for part, name in zip(parts, named, strict=True) if len(part)]
        if not parts:
            return comparisons(cases.drop(columns="modality").iloc[:0], column=column, metrics=metrics)
        together = pd.concat(parts, ignore_index=True)
        corrected = holm(together["p"])
        return together.assign(p_holm=corrected, stars=[stars(p) for p in corrected])
    order = {name: place for place, name in enumerate(dict.fromkeys(cases[column]))}
    wanted = measured(cases, metrics)
    found = compare(cases, wanted, column=column, cluster=CLUSTER, resamples=RESAMPLES, seed=SEED)
    if found.empty:
        return found
    swapped = found["first"].map(order) > found["second"].map(order)
    for one, other in (("first", "second"), ("only_first", "only_second"), ("mean_first", "mean_second")):
        ours, theirs = found[one].copy(), found[other].copy()
        found[one], found[other] = ours.where(~swapped, theirs), theirs.where(~swapped, ours)
    low, high = found["low"].copy(), found["high"].copy()
    found["low"], found["high"] = low.where(~swapped, -high), high.where(~swapped, -low)
    found["difference"] = found["difference"].where(~swapped, -found["difference"])
    places = [found["metric"].map(wanted.index), found["second"].map(order), found["first"].map(order)]
    return found.iloc[np.lexsort([place.to_numpy() for place in places])].reset_index(drop=True)


def with_nested_intervals(found: pd.DataFrame, cases: pd.DataFrame, *, column: str = "model") -> pd.DataFrame:
    """The comparisons with further intervals of the same differences, where models were trained several times.

    ``low_nested`` and ``high_nested``, where a case has several rows in a model: the seeds within a subject are
    resampled, too. ``low_training``, ``high_training`` and ``trainings``, where two models have several runs each:
    trainings are the unit (``statistics.trainings``).

    Args:
        found: of ``comparisons``; as it is where every model is one training.
        cases: those that it was made from.
        column: what was compared.
    """
    if found.empty:
        return found
    repeated = found["repeats"].max() > 1
    several = "run" in cases and (cases.groupby(column)["run"].nunique() > 1).sum() > 1
    parts = []
    for (first, second), rows in found.groupby(["first", "second"], sort=False):
        asked: dict[str, Any] = {"first": str(first), "second": str(second), "column": column, "cluster": CLUSTER}
        asked |= {"resamples": RESAMPLES, "seed": SEED}
        columns = []
        if repeated:
            lines = nested_differences(cases, list(rows["metric"]), **asked)
            columns.append(lines[["low", "high"]].add_suffix("_nested"))
        if several:
            lines = training_differences(cases, list(rows["metric"]), **asked)
            columns.append(lines[["low", "high", "trainings"]].rename(columns=_OF_TRAININGS))
        parts += [pd.concat(columns, axis=1).set_index(rows.index)] if columns else []
    return pd.concat([found, pd.concat(parts)], axis=1) if parts else found


def worth_telling(found: pd.DataFrame, models: Sequence[str], best: Sequence[str]) -> list[pd.Series]:
    """The Dice rows of the two best models, and of every model against the first; of modalities alone, all.

    Args:
        found: of ``comparisons``.
        models: in order of appearance.
        best: those with a scored case, best first.
    """
    rows = {frozenset((row["first"], row["second"])): row for _, row in found[found["metric"] == "dice"].iterrows()}
    if "modality" in found:
        return list(rows.values())
    pairs = [frozenset(best[:2]), *(frozenset((models[0], other)) for other in models[1:])]
    return [rows[pair] for pair in dict.fromkeys(pairs) if pair in rows]


def number_of_tests(found: pd.DataFrame) -> int:
    """How many comparisons Holm's correction ran over."""
    return int(found["p"].notna().sum())


def sentence(row: pd.Series, corrected_for: int) -> str:
    """One comparison as a sentence that can be quoted.

    Args:
        row: of ``comparisons``.
        corrected_for: how many comparisons Holm's correction ran over.

    Returns:
        E.g. "sgnet is ahead of unet2d by 0.089 Dice (95 % CI 0.041 to 0.137; Wilcoxon p = 0.0002 over 108 cases;
        p = 0.0012 after Holm's correction for 6 comparisons)."; where it is not significant, how large a
        difference could have been seen.
    """
    first, second, n = str(row["first"]), str(row["second"]), int(row["n"])
    title = METRICS[str(row["metric"])].title
    if n == 0 or math.isnan(row["difference"]):
        return f"{first} and {second} have no scored case in common and cannot be compared."
    if row["nonzero"] == 0:
        return f"{first} and {second} have the same {title} on each of {counted(n, 'case')}."
    places = digits(str(row["metric"]))
    difference, low, high = (float(row[name]) for name in ("difference", "low", "high"))
    better = difference if METRICS[str(row["metric"])].higher_is_better else -difference
    if better < 0:
        first, second, low, high = second, first, -high, -low
    size = plain_number(abs(difference), places)
    if difference == 0:
        text = f"{first} and {second} have the same mean {title}"
    elif float(f"{abs(difference):.{places}f}") == 0:
        text = f"{first} and {second} differ by less than {10.0**-places:.{places}f} {title}"
    else:
        text = f"{first} is ahead of {second} by {size} {title}"
    if n == 1:
        return f"{text} on the only case they share; one case is too few to compare models."
    return (
        f"{text} ({_evidence(row, low, high, places, corrected_for)}){_reading(row, low, high, places, corrected_for)}"
    )


def comparison_table(found: pd.DataFrame, profile: str) -> Table:
    """Every pair of models and every tested metric: difference, interval, p and what could have been detected."""
    rows = []
    kinds = [kind for kind in ("nested", "training") if f"low_{kind}" in found]
    for _, row in found.iterrows():
        metric = str(row["metric"])
        places = digits(metric, profile)
        low, high = float(row["low"]), float(row["high"])
        ends = between(low, high, places)
        difference = plain_number(float(row["difference"]), places)
        rows.append(
            (
                Cell(f"{row['first']} − {row['second']}", heading=True),
                Cell(heading(metric, profile)),
                count_cell(int(row["n"])),
                Cell(_left_out(row), words=True),
                number_cell(float(row["mean_first"]), places),
                number_cell(float(row["mean_second"]), places),
                Cell(
                    f"{difference} ({ends})" if ends else difference,
                    _number(row["difference"]),
                    further=further(low=low, high=high),
                ),
                *(_further_cell(row, kind, places) for kind in kinds),
                Cell(p_value(float(row["p"])), _number(row["p"])),
                Cell(p_value(float(row["p_holm"])), _number(row["p_holm"])),
                Cell(f"{row['stars'] or NOTHING}{'†' if row['few'] and row['n'] else ''}"),
                number_cell(float(row["detectable"]), places),
            )
        )
    what = ("First − second", "Metric", "Cases", "Not among them", "Mean, first", "Mean, second")
    titles = {"nested": "95 % CI, seeds resampled", "training": "95 % CI, trainings resampled"}
    others = [titles[kind] for kind in kinds]
    header = (*what, "Difference (95 % CI)", *others, "Wilcoxon p", "p, Holm", "Significance", "Detectable difference")
    return Table(
        "Paired comparison of the models, on the cases both have",
        header,
        tuple(rows),
        notes=_notes(found),
        name="comparisons",
    )


def _further_cell(row: pd.Series, kind: str, places: int) -> Cell:
    low, high = float(row[f"low_{kind}"]), float(row[f"high_{kind}"])
    return Cell(between(low, high, places) or NOTHING, further=further(low=low, high=high))


def _evidence(row: pd.Series, low: float, high: float, places: int, corrected_for: int) -> str:
    shared = "shared " if row["only_first"] or row["only_second"] or row["failed"] else ""
    ends = between(low, high, places)
    corrected = (
        f"; {p_equation(float(row['p_holm']))} after Holm's correction for {corrected_for} comparisons"
        if corrected_for > 1
        else ""
    )
    interval = f"95 % CI {ends}; " if ends else ""
    return f"{interval}Wilcoxon {p_equation(float(row['p']))} over {int(row['n'])} {shared}cases{corrected}"


def _reading(row: pd.Series, low: float, high: float, places: int, corrected_for: int) -> str:
    """What the numbers do and do not say, behind the brackets."""
    if row["stars"] != "ns":
        if low <= 0 <= high:
            return "; the test ranks the differences, the interval is of their mean, and here the two disagree."
        return "."
    detectable = float(row["detectable"])
    if row["few"]:
        return f": not significant, and with {int(row['nonzero'])} cases that differ the test could not have been."
    if not math.isfinite(detectable):
        return ": not significant."
    return (
        f": not significant; with {int(row['n'])} cases a difference of {plain_number(detectable, places)} could have "
        f"been detected ({_POWER}{', uncorrected' if corrected_for > 1 else ''}), a smaller one may well exist."
    )


def _left_out(row: pd.Series) -> str:
    reasons = {
        f"only in {row['first']}": row["only_first"],
        f"only in {row['second']}": row["only_second"],
        "failed": row["failed"],
        "undefined": row["undefined"],
        "infinite (in the test only)": row["infinite"],
    }
    return ", ".join(f"{int(number)} {reason}" for reason, number in reasons.items() if number) or NOTHING


def _notes(found: pd.DataFrame) -> tuple[str, ...]:
    notes = [
        "Difference: mean over the pairs of first − second with its 95 % bootstrap interval "
        f"({RESAMPLES} resamples, seed {SEED}, scans of one subject sampled together). "
        "p: two-sided Wilcoxon signed-rank test of the same cases.",
        f"Holm's correction runs over the {counted(number_of_tests(found), 'test')} of this table; stars are of "
        "the corrected p: ns p > 0.05, * ≤ 0.05, ** ≤ 0.01, *** ≤ 0.001, **** ≤ 0.0001.",
        f"Detectable difference: the smallest true mean difference this many cases would have shown with {_POWER} at "
        "p = 0.05, uncorrected, given the spread seen. “Not significant” does not mean “equal”: anything smaller than "
        "this would probably have been missed.",
    ]
    if (repeats := int(found["repeats"].max())) > 1:
        notes.append(f"Up to {repeats} rows of a case (seeds, runs) within a model are averaged before pairing.")
    if "low_nested" in found:
        notes.append(
            "Seeds resampled: subjects are resampled as for the difference and, within each, its seeds (two-level "
            "bootstrap; seeds that both models have in pairs), so that this interval is also about training again."
        )
    if "low_training" in found:
        notes += _two_questions(found)
    if (found["few"] & (found["n"] > 0)).any():
        notes.append("† Fewer than 6 cases differ: whatever the differences are, p cannot fall below 0.05.")
    if found["infinite"].any():
        notes.append(
            "Infinite distances take part in the test as the largest ranks; the mean difference is without them."
        )
    return tuple(notes)


def _two_questions(found: pd.DataFrame) -> list[str]:
    """What the intervals over trainings answer that the test of the cases does not."""
    counts = found.loc[found["low_training"].notna(), "trainings"]
    words = (
        "Two questions: the Wilcoxon test and the interval beside the difference ask whether these trained networks "
        "differ on further subjects; “trainings resampled” asks whether models trained again would differ. There folds "
        "are resampled whole with their subjects (cluster bootstrap), and seeds on the same cases beside the subjects"
    )
    if counts.empty:
        return [f"{words}; a model of a single training has no such interval."]
    least = int(counts.min())
    few = f"; with fewer than {_FEW_TRAININGS} trainings it tends to be too narrow" if least < _FEW_TRAININGS else ""
    return [f"{words} ({least} trainings of a model{few})."]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
