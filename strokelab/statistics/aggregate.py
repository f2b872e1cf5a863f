"""From a case table to means, over cases and over sites. Knows rows and columns; knows no voxels and no run folder.

A case table has one row per (run, case): the columns ``case``, ``site``, the metrics of ``metrics.score_row`` and
``error``, the text of what went wrong ("" or missing value = nothing); ``run`` and ``modality`` where there are
several. Nothing leaves a mean silently: failed rows, infinite distances and undefined values are counted, failed ones
also named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from strokelab.errors import DataError
from strokelab.metrics.overlap import Counts, dice
from strokelab.metrics.profiles import CASE_METRICS

KEYS = ("run", "case", "modality")
"""What makes a row of the case table unique, as far as the columns exist."""

_COLUMNS = ("n", "mean", "sd", "median", "min", "max", "infinite", "undefined", "failed")


def summarize(table: pd.DataFrame, metrics: Sequence[str] = CASE_METRICS, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Mean, sd and what was left out, one row per group and metric.

    Args:
        table: a case table.
        metrics: columns to summarise; those the table lacks are an error.
        by: columns that make groups, e.g. ``["run"]`` or ``["run", "site"]``; a missing value is a group of its own.

    Returns:
        The columns of ``by``; ``metric``; ``n`` finite values; their ``mean`` (inf when all are infinite, NaN when
        there are none), ``sd`` with n - 1 (NaN for one value), ``min`` and ``max``; ``median`` over finite and infinite
        values; the numbers of ``infinite``, ``undefined`` (NaN without an error) and ``failed`` (with an error) rows.

    Raises:
        DataError: a case is listed twice, or a column is missing.
    """
    check_rows(table, (*by, *metrics))
    groups = table.groupby(list(by), dropna=False, sort=True, observed=True) if by else [((), table)]
    lines = []
    for key, rows in groups:
        labels, failed = dict(zip(by, key, strict=True)), has_failed(rows).to_numpy()
        for metric in metrics:
            values = rows[metric].to_numpy(dtype=float)[~failed]
            lines.append({**labels, "metric": metric, **_describe(values), "failed": int(failed.sum())})
    return pd.DataFrame(lines, columns=[*by, "metric", *_COLUMNS])


def over_sites(table: pd.DataFrame, metrics: Sequence[str] = CASE_METRICS, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Mean over cases beside the macro mean over sites, one row per group and metric; the two differ.

    Args:
        table: a case table with a ``site`` column.
        metrics: columns to summarise.
        by: columns that make groups.

    Returns:
        The columns of ``summarize``, and of the site means: ``sites`` (how many are finite), ``site_mean``, ``site_sd``
        (n - 1, over sites) and ``sites_infinite``. Cases of unknown site are no site.

    Raises:
        DataError: as ``summarize``.
    """
    return _over(table, metrics, by=by, unit="site")


def over_folds(table: pd.DataFrame, metrics: Sequence[str] = CASE_METRICS, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Mean over cases beside the mean over folds, one row per group and metric.

    Args:
        table: a case table with a ``fold`` column.
        metrics: columns to summarise.
        by: columns that make groups.

    Returns:
        As ``over_sites``: ``folds``, ``fold_mean``, ``fold_sd`` (n - 1, over folds) and ``folds_infinite``.

    Raises:
        DataError: as ``summarize``.
    """
    return _over(table, metrics, by=by, unit="fold")


def micro_dice(table: pd.DataFrame, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Dice of pooled voxel counts (microDSC of Tomita et al. 2020), one row per group; failed rows are left out.

    Returns:
        The columns of ``by``, ``n`` cases and ``micro_dice``.

    Raises:
        DataError: as ``summarize``.
    """
    check_rows(table, (*by, "tp", "fp", "fn", "tn"))
    good = table[~has_failed(table)]
    groups = good.groupby(list(by), dropna=False, sort=True, observed=True) if by else [((), good)]
    lines = []
    for key, rows in groups:
        pooled = Counts(*(int(rows[column].astype("int64").sum()) for column in ("tp", "fp", "fn", "tn")))
        labels = dict(zip(by, key, strict=True))
        lines.append({**labels, "n": len(rows), "micro_dice": dice(pooled) if len(rows) else float("nan")})
    return pd.DataFrame(lines, columns=[*by, "n", "micro_dice"])


@dataclass(frozen=True)
class Tally:
    """What the rows of a case table are of. Every command counts with this."""

    cases: int
    subjects: int  # a case of unknown subject is one by itself
    runs: int
    rows: int  # a case that several runs scored stands in several rows

    def __str__(self) -> str:
        words = {"case": self.cases, "subject": self.subjects, "run": self.runs, "row": self.rows}
        cases, subjects, runs, rows = (f"{count} {word}{'s' * (count != 1)}" for word, count in words.items())
        return f"{cases} of {subjects}" + (f", in {rows} of {runs}" if self.rows != self.cases else "")


def tally(table: pd.DataFrame) -> Tally:
    """Cases, subjects, runs and rows of a case table; failed rows count, they were to be scored."""
    case = table["case"].astype(str)
    subject = table["subject"] if "subject" in table.columns else pd.Series(None, index=table.index, dtype=object)
    known = ("subject " + subject.astype(str)).where(subject.notna(), "case " + case)
    runs = table["run"].nunique() if "run" in table.columns else 1
    return Tally(int(case.nunique()), int(known.nunique()), int(runs), len(table))


def has_failed(table: pd.DataFrame) -> pd.Series:
    """Boolean per row: the case has an error text."""
    if "error" not in table.columns:
        return pd.Series(False, index=table.index)
    return table["error"].fillna("").astype(str).str.strip() != ""


def failures(table: pd.DataFrame) -> list[str]:
    """Failed cases in words, one per row, e.g. ``"sub-02 (site 3): no prediction"``; empty when all went well."""
    lines = []
    for _, row in table[has_failed(table)].iterrows():
        site = row.get("site")
        lines.append(f"{row['case']}{'' if pd.isna(site) else f' (site {site})'}: {row['error']}")
    return lines


def check_rows(table: pd.DataFrame, columns: Sequence[str] = ()) -> None:
    """A case table has its columns, and no case twice.

    Raises:
        DataError: naming the missing columns, or the cases that are listed twice.
    """
    missing = [column for column in ("case", *columns) if column not in table.columns]
    if missing:
        raise DataError(
            "case table",
            found=f"no column {', '.join(missing)}",
            expected="the columns of metrics.score_row beside case, site and error",
            remedy="write the table with evaluate.py, or name the metrics it holds",
        )
    keys = [key for key in KEYS if key in table.columns]
    twice = table[table.duplicated(keys, keep="first")]
    if len(twice):
        names = [" / ".join(str(value) for value in row) for row in twice[keys].head(5).to_numpy()]
        raise DataError(
            "case table",
            found=f"{len(twice)} rows listed twice, e.g. {'; '.join(names)}",
            expected=f"one row per {', '.join(keys)}",
            remedy="remove the repeated rows, or tell repeated runs apart in the column run",
        )


def format_mean_sd(line: pd.Series, digits: int = 3, *, sites: bool = False, folds: bool = False) -> str:
    """A cell of a table, from a row of ``summarize``, ``over_sites`` or ``over_folds``.

    Args:
        line: the row.
        digits: decimals.
        sites: take the macro mean over sites instead of the mean over cases.
        folds: take the mean over folds.

    Returns:
        ``"0.571 ± 0.196"``, with what is not in it beside it: ``"31.1 ± 20.4 (7 inf)"``, ``"(2 failed)"``,
        ``"(1 undefined)"``; ``"0.571"`` for a single value, ``"–"`` for none.
    """
    unit = "site" if sites else "fold" if folds else ""
    prefix = f"{unit}_" if unit else ""
    mean, sd = float(line[f"{prefix}mean"]), float(line[f"{prefix}sd"])
    if unit:
        left_out = {"inf": line[f"{unit}s_infinite"]}
    else:
        left_out = {"inf": line["infinite"], "undefined": line["undefined"], "failed": line["failed"]}
    text = "–" if np.isnan(mean) else f"{mean:.{digits}f}" + ("" if np.isnan(sd) else f" ± {sd:.{digits}f}")
    notes = ", ".join(f"{int(count)} {word}" for word, count in left_out.items() if count)
    return f"{text} ({notes})" if notes else text


def _over(table: pd.DataFrame, metrics: Sequence[str], *, by: Sequence[str], unit: str) -> pd.DataFrame:
    cases = summarize(table, metrics, by=by)
    check_rows(table, (unit,))
    units = summarize(table[table[unit].notna()], metrics, by=(*by, unit))
    lines = []
    for _, case_line in cases.iterrows():
        mine = units["metric"] == case_line["metric"]
        for column in by:
            same = units[column] == case_line[column]
            mine &= same | (units[column].isna() & pd.isna(case_line[column]))
        means = units.loc[mine, "mean"].to_numpy(dtype=float)
        finite = means[np.isfinite(means)]
        infinite = int(np.isinf(means).sum())
        mean_sd = _mean_sd(finite, infinite, prefix=f"{unit}_")
        lines.append({f"{unit}s": len(finite), **mean_sd, f"{unit}s_infinite": infinite})
    return pd.concat([cases, pd.DataFrame(lines)], axis=1)


def _describe(values: np.ndarray) -> dict[str, float | int]:
    known = values[~np.isnan(values)]
    finite = known[np.isfinite(known)]
    infinite = len(known) - len(finite)
    return {
        "n": len(finite),
        **_mean_sd(finite, infinite),
        # Between two infinities NumPy interpolates to NaN.
        "median": _median(known),
        "min": float(finite.min()) if len(finite) else float("nan"),
        "max": float(finite.max()) if len(finite) else float("nan"),
        "infinite": infinite,
        "undefined": len(values) - len(known),
    }


def _mean_sd(finite: np.ndarray, infinite: int, prefix: str = "") -> dict[str, float]:
    nothing = float("inf") if infinite else float("nan")
    return {
        f"{prefix}mean": float(finite.mean()) if len(finite) else nothing,
        f"{prefix}sd": float(finite.std(ddof=1)) if len(finite) > 1 else float("nan"),
    }


def _median(values: np.ndarray) -> float:
    if len(values) == 0:
        return float("nan")
    ordered = np.sort(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2)
