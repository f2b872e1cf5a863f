"""Groups of cases by lesion size, and tables of any groups (size, site, scanner). Knows rows and columns.

A case belongs to one group in all its rows; cases without lesion stand apart, cases of unknown size too.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from strokelab.errors import ConfigError, DataError
from strokelab.statistics.aggregate import check_rows, has_failed
from strokelab.statistics.bootstrap import bootstrap_intervals

EMPTY = "no lesion"
UNKNOWN = "unknown size"
EDGES_ML = (0.0, 1.0, 5.0, 20.0, 50.0, float("inf"))

VOLUME = "truth_ml"


def by_size_quartile(table: pd.DataFrame, groups: int = 4, *, volume: str = VOLUME) -> pd.Series:
    """Quarters of the cases by lesion volume, smallest first: ``"0-25 %"``, ``"25-50 %"``, and so on.

    Cases are sorted by (volume, case id) and cut into groups whose sizes differ by at most one, the larger groups
    first (31 cases: 8, 8, 8, 7).

    Args:
        table: a case table.
        groups: how many.
        volume: column of the true volume.

    Returns:
        The group of every row, an ordered categorical with the index of ``table``; ``EMPTY`` for cases without lesion,
        ``UNKNOWN`` for cases that have a volume in no row.

    Raises:
        DataError: the table lacks a column, or lists a case twice.
        ConfigError: there is not one group.
    """
    if groups < 1:
        raise ConfigError("groups", found=str(groups), expected="1 or more", remedy="use 4 for quarters")
    volumes = _volumes(table, volume)
    lesions = volumes[volumes > 0].reset_index().sort_values(["volume", "case"], kind="stable")["case"]
    shares = [100 * i / groups for i in range(groups + 1)]
    labels = [f"{low:.0f}-{high:.0f} %" for low, high in pairwise(shares)]
    # array_split makes the first groups the larger ones.
    parts = np.array_split(lesions.to_numpy(), groups)
    group: dict[Hashable, str] = {case: label for label, part in zip(labels, parts, strict=True) for case in part}
    return _label(table, volumes, group=group, labels=labels)


def by_size_bin(
    table: pd.DataFrame, edges: Sequence[float] = EDGES_ML, *, names: Sequence[str] = (), volume: str = VOLUME
) -> pd.Series:
    """Lesion volume between fixed edges, each bin with its lower edge: ``"1-5 ml"`` holds 1 ml and not 5 ml.

    Args:
        table: a case table.
        edges: rising from 0 to inf, ml.
        names: one per bin, e.g. ``("small", "medium", "large")``; default: the edges.
        volume: column of the true volume, ml.

    Returns:
        As ``by_size_quartile``; the last bin is called ``"≥ 50 ml"``.

    Raises:
        DataError: the table lacks a column, or lists a case twice.
        ConfigError: the edges leave volumes out, do not rise, or there is not one name per bin.
    """
    rising = all(low < high for low, high in pairwise(edges))
    if len(edges) < 2 or edges[0] != 0 or edges[-1] != float("inf") or not rising:
        raise ConfigError(
            "edges of the size bins",
            found=", ".join(f"{edge:g}" for edge in edges),
            expected="numbers that rise from 0 to inf, so that every lesion has its bin",
            remedy="use 0, 1, 5, 20, 50, inf",
        )
    inner = [f"{low:g}-{high:g} ml" for low, high in pairwise(edges[:-1])]
    labels = list(names) or [*inner, f"≥ {edges[-2]:g} ml"]
    if len(labels) != len(edges) - 1:
        raise ConfigError(
            "names of the size bins",
            found=f"{len(labels)} names for {len(edges) - 1} bins",
            expected="one name per bin",
            remedy="name every bin, or none",
        )
    volumes = _volumes(table, volume)
    lesions = volumes[volumes > 0]
    bins = np.searchsorted(np.asarray(edges), lesions.to_numpy(), side="right") - 1
    group: dict[Hashable, str] = {case: labels[i] for case, i in zip(lesions.index, bins, strict=True)}
    return _label(table, volumes, group=group, labels=labels)


def size_order(labels: pd.Series) -> list[str]:
    """The groups that occur, in the order of a table: no lesion, smallest to largest, unknown."""
    return [str(label) for label in labels.cat.remove_unused_categories().cat.categories]


def describe_groups(
    table: pd.DataFrame, *, column: str = "size", by: Sequence[str] = (), volume: str = VOLUME
) -> pd.DataFrame:
    """Who is in each group, one row per group.

    Returns:
        The columns of ``by``, ``column`` (a missing value is a group of its own); ``cases``, ``rows`` (more with
        several runs) and ``failed`` of them; ``ml_min``, ``ml_median`` and ``ml_max`` of the cases' true volumes.

    Raises:
        DataError: the table lacks a column, or lists a case twice.
    """
    check_rows(table, (*by, column))
    volumes = _volumes(table, volume)
    lines = []
    keys = [*by, column]
    for key, rows in table.groupby(keys, dropna=False, sort=True, observed=True):
        cases = rows["case"].unique()
        known = volumes.loc[cases].dropna().to_numpy()
        ml = {"ml_min": known.min(), "ml_median": np.median(known), "ml_max": known.max()} if len(known) else {}
        counts = {"cases": len(cases), "rows": len(rows), "failed": int(has_failed(rows).sum())}
        lines.append({**dict(zip(keys, key, strict=True)), **counts, **ml})
    return pd.DataFrame(lines, columns=[*keys, "cases", "rows", "failed", "ml_min", "ml_median", "ml_max"])


def stratified(
    table: pd.DataFrame,
    metrics: Sequence[str],
    *,
    column: str = "size",
    by: Sequence[str] = (),
    volume: str = VOLUME,
    cluster: str = "subject",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Metrics with intervals by group, one row per group, metric and statistic.

    Args:
        table: a case table with ``column``, e.g. ``table.assign(size=by_size_quartile(table))``.
        metrics: as for ``bootstrap_intervals``.
        column: what makes the groups: ``size``, ``site``, ``scanner``.
        by: what stands above it, e.g. ``["model"]``.
        volume: column of the true volume, ml.
        cluster: as for ``bootstrap_intervals``.
        resamples: as for ``bootstrap_intervals``.
        seed: as for ``bootstrap_intervals``.
        level: as for ``bootstrap_intervals``.

    Returns:
        The columns of ``bootstrap_intervals``, and those of ``describe_groups`` without ``failed``.

    Raises:
        DataError: the table lacks a column, or lists a case twice.
        ConfigError: as for ``bootstrap_intervals``.
    """
    keys = [*by, column]
    groups = describe_groups(table, column=column, by=by, volume=volume).drop(columns="failed")
    intervals = bootstrap_intervals(
        table, metrics, by=keys, cluster=cluster, resamples=resamples, seed=seed, level=level
    )
    # Both tables hold the same groups in the same order; a merge would trip over missing labels of different kinds.
    per_group = len(intervals) // max(len(groups), 1)
    described = groups.drop(columns=keys).loc[groups.index.repeat(per_group)].reset_index(drop=True)
    return pd.concat([intervals, described], axis=1)


def _volumes(table: pd.DataFrame, volume: str) -> pd.Series:
    """True volume of each case, indexed by case; the mean where runs saw it on different grids, NaN where none did."""
    check_rows(table, (volume,))
    values = table[volume].to_numpy(dtype=float)
    if (values < 0).any():
        raise DataError(
            f"case table, column {volume}",
            found=f"{np.nanmin(values):g}",
            expected="volumes of 0 and more",
            remedy="write the table again with evaluate.py",
        )
    ordered = pd.DataFrame({"case": table["case"], "volume": values}).sort_values(["case", "volume"])
    return ordered.groupby("case")["volume"].mean()


def _label(
    table: pd.DataFrame, volumes: pd.Series, *, group: Mapping[Hashable, str], labels: Sequence[str]
) -> pd.Series:
    names = {case: EMPTY if volume == 0 else group.get(case, UNKNOWN) for case, volume in volumes.items()}
    kind = pd.CategoricalDtype([EMPTY, *labels, UNKNOWN], ordered=True)
    return table["case"].map(names).astype(kind).rename("size")
