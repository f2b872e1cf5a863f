"""How far apart are two methods, where each was trained several times? Seeds nested within subjects.

``paired.compare`` averages the repeats of a case and resamples subjects: its interval is about other subjects and these
trainings. Here the repeats of a sampled subject are sampled anew as well, so that the interval holds the spread between
trainings, too. Pairs and differences are the same. Knows rows and columns; knows no voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strokelab.statistics.aggregate import has_failed
from strokelab.statistics.bootstrap import MICRO_DICE, POOLED, in_clusters
from strokelab.statistics.repeats import average_repeats
from strokelab.statistics.resampling import (
    Floats,
    Statistic,
    nested_bootstrap,
    percentile_interval,
    pooled_dice,
    together,
)

_COLUMNS = ("metric", "n", "infinite", "undefined", "difference", "low", "high")


def nested_differences(
    table: pd.DataFrame,
    metrics: Sequence[str],
    *,
    first: str,
    second: str,
    column: str = "model",
    repeat: str = "seed",
    cluster: str = "subject",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """First minus second on the cases both have, with two-level bootstrap intervals; one row per metric.

    Subjects are sampled with replacement (those of ``paired.compare``), and for each copy of a subject as many of its
    repeats as it has; all its scans are of the same repeats. Where both methods have the same repeats (seed 0 of the
    one and of the other), these are sampled in pairs, else each method's by themselves.

    Args:
        table: a case table, a row per case and repeat.
        metrics: columns, and ``"micro_dice"`` if wanted.
        first: a value of ``column``.
        second: another one.
        column: what is compared.
        repeat: column that distinguishes the repeats of a case; where it does not, ``run`` does.
        cluster: column of the subject, see ``bootstrap.cluster_names``.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        ``metric``; ``n`` pairs in the mean; pairs that are ``infinite`` or ``undefined`` on a side, which are in no
        mean; ``difference``, over cases, of the means of their repeats (micro-Dice: of the pooled ones); its 95 %
        interval ``low``, ``high``, NaN for a single subject.

    Raises:
        DataError: a case is listed twice in a run, or a column is missing.
    """
    rows = table[table[column].isin([first, second])]
    plain = [metric for metric in metrics if metric != MICRO_DICE]
    cases = average_repeats(rows, [*plain, *(POOLED if MICRO_DICE in metrics else ())], column=column, cluster=cluster)
    cases = cases[cases["good"] > 0]
    sides = [cases[cases.index.get_level_values(0) == name].droplevel(0) for name in (first, second)]
    shared = sides[0].index.intersection(sides[1].index)
    good, subjects = in_clusters(rows[~has_failed(rows) & rows["case"].isin(shared)], cluster)
    if good.empty:
        return pd.DataFrame([{"metric": metric, "n": 0} for metric in metrics], columns=list(_COLUMNS))
    design = _Design.of(good, subjects, (good[column] == first).to_numpy(), repeat)
    lines, statistics = [], []
    for metric in metrics:
        means = np.array([np.ones(len(shared)) if metric == MICRO_DICE else side.loc[shared, metric] for side in sides])
        undefined, infinite = np.isnan(means).any(axis=0), np.isinf(means).any(axis=0)
        kept = good["case"].isin(shared[~undefined & ~infinite]).to_numpy()
        lost = {"infinite": int((infinite & ~undefined).sum()), "undefined": int(undefined.sum())}
        statistics.append(design.difference(good, metric, kept))
        lines.append({"metric": metric, "n": good.loc[kept, "case"].nunique(), **lost, "alone": design.alone(kept)})
    estimate, samples = nested_bootstrap(
        together(statistics), design.groups, design.owners, resamples=resamples, seed=seed
    )
    low, high = percentile_interval(samples)
    result = pd.DataFrame(lines).assign(difference=estimate, low=low, high=high)
    result.loc[result["alone"], ["low", "high"]] = np.nan
    return result[list(_COLUMNS)]


@dataclass(frozen=True, eq=False)
class _Design:
    """Which method, subject and repeat every row belongs to."""

    is_first: NDArray[np.bool_]  # (rows,)
    units: NDArray[np.intp]  # (rows,) number of the repeat within its subject
    groups: NDArray[np.intp]  # (units,) what a unit is sampled from: a subject's repeats, of a method or of both
    owners: NDArray[np.intp]  # (groups,) the subject

    @classmethod
    def of(cls, rows: pd.DataFrame, subjects: NDArray[np.intp], is_first: NDArray[np.bool_], repeat: str) -> _Design:
        labels = _in_pairs(rows, is_first, repeat)
        side = is_first if labels is None else np.zeros(len(rows), dtype=bool)
        named = rows["run"] if "run" in rows else rows.groupby([side, "case"]).cumcount()
        keys = pd.DataFrame({"subject": subjects, "side": side, "label": (named if labels is None else labels)})
        units = keys.groupby(["subject", "side", "label"], sort=True).ngroup().to_numpy().astype(np.intp)
        places = keys.iloc[np.unique(units, return_index=True)[1]]
        groups = places.groupby(["subject", "side"], sort=True).ngroup().to_numpy().astype(np.intp)
        owners = places["subject"].to_numpy()[np.unique(groups, return_index=True)[1]]
        return cls(is_first, units, groups, owners.astype(np.intp))

    def alone(self, kept: NDArray[np.bool_]) -> bool:
        """Whether rows are of one subject, which says nothing about others."""
        return len(np.unique(self.owners[self.groups[self.units[kept]]])) < 2

    def difference(self, rows: pd.DataFrame, metric: str, kept: NDArray[np.bool_]) -> Statistic:
        """First minus second of the rows that are kept, from weights of the units."""
        columns = list(POOLED) if metric == MICRO_DICE else [metric]
        values = rows[columns].to_numpy(dtype=float)
        kept = kept & ~np.isnan(values).any(axis=1)
        sides = [self._of_side(rows["case"], values, kept & side, metric) for side in (self.is_first, ~self.is_first)]
        return lambda weights: sides[0](weights) - sides[1](weights)

    def _of_side(self, cases: pd.Series, values: Floats, mine: NDArray[np.bool_], metric: str) -> Statistic:
        own, units = cases[mine], self.units[mine]
        sizes = np.bincount(self.groups)[self.groups[units]]
        # The weights of a subject's units sum to its copies; a case with fewer repeats than its subject counts as much.
        share = sizes / own.groupby(own).transform("size").to_numpy()
        sums, shares = np.zeros((len(self.groups), values.shape[1])), np.zeros((len(self.groups), 1))
        np.add.at(sums, units, share[:, None] * values[mine])
        np.add.at(shares, units, share[:, None])
        if metric == MICRO_DICE:
            return pooled_dice(sums, np.arange(len(self.groups)))

        def mean(weights: Floats) -> Floats:
            with np.errstate(invalid="ignore"):
                result: Floats = weights @ sums / (weights @ shares)
            return result

        return mean


def _in_pairs(rows: pd.DataFrame, is_first: NDArray[np.bool_], repeat: str) -> pd.Series | None:
    """The repeat of every row where both methods have the same ones, each once per case; else None."""
    if repeat not in rows or rows[repeat].isna().any():
        return None
    labels = rows[repeat].astype(str)
    twice = pd.DataFrame({"side": is_first, "case": rows["case"], "label": labels}).duplicated().any()
    return None if twice or set(labels[is_first]) != set(labels[~is_first]) else labels
