"""The weighted rank of a challenge, from any leaderboard in a csv. Knows teams, sets of cases and metrics; no case.

The final ranking of the ATLAS challenge (Huo 2022, Table 3): teams are ranked by every metric on every set, ranks are
averaged over the metrics of a set, then over the sets, the hidden set four times as heavy as the public one.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from strokelab.errors import DataError
from strokelab.metrics.profiles import METRICS

WEIGHTS: Mapping[str, float] = {"public": 1.0, "hidden": 4.0}
TEAM, SET = "team", "set"
_ARROWS = {"↑": True, "↓": False}
_NAMED = 5  # missing cells that a message names
_ALSO = {"l-f1": "lesion_f1", "slc": "lesion_count_difference", "vd": "volume_difference", "95hd": "hd95"}  # MAPPING's


@dataclass(frozen=True)
class Leaderboard:
    """A leaderboard as read.

    Args:
        values: one row per team and set: ``team``, ``set`` and the metrics.
        higher: metric (its heading) -> whether more is better.
    """

    values: pd.DataFrame
    higher: Mapping[str, bool]


def read_leaderboard(path: Path) -> Leaderboard:
    """A csv with the columns ``team``, ``set`` (public, hidden) and one per metric, a row per team and set.

    A metric is called as in our tables or by its title there, or its heading ends with ↑ or ↓, which says what is
    better. ``inf`` is a value: the worst distance there is.

    Raises:
        DataError: no such table; a metric of which nothing says what is better; a team twice in a set; cells that are
            missing or no numbers, each named.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.DictReader(stream)
            rows = [
                (lines.line_num, {str(k).strip(): (v or "").strip() for k, v in line.items() if k}) for line in lines
            ]
            header = [str(name).strip() for name in lines.fieldnames or ()]
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise _no_table(path, f"{type(error).__name__}: {error}") from error
    if not {TEAM, SET} <= {*header} or not rows or len(header) < 3:
        raise _no_table(path, f"{len(rows)} rows with the columns {', '.join(header) or 'none'}")
    metrics = [name for name in header if name not in (TEAM, SET)]
    higher = {name: _direction(path, name) for name in metrics}
    _check_sets(path, rows)
    _check_cells(path, rows, metrics)
    values = [{TEAM: row[TEAM], SET: row[SET], **{name: float(row[name]) for name in metrics}} for _, row in rows]
    return Leaderboard(pd.DataFrame(values), higher)


def weighted_ranks(board: Leaderboard, weights: Mapping[str, float] = WEIGHTS) -> pd.DataFrame:
    """Score and place of every team: 1 is best, ties share the mean rank.

    A team that is missing from a set is ranked on the others and has no score (it did not finish); it does take part in
    the ranks of the sets that it is in.

    Args:
        board: of ``read_leaderboard``.
        weights: set -> its weight; a set that has none is left out.

    Returns:
        Sorted by place: ``team``, ``rank_<set>`` (mean over the metrics), ``score`` (weighted mean over the sets) and
        ``place``; both NaN for a team that is missing from a set.
    """
    teams = list(dict.fromkeys(board.values[TEAM]))
    found = pd.DataFrame({TEAM: teams})
    sets = [name for name in weights if (board.values[SET] == name).any()]
    for name in sets:
        rows = board.values[board.values[SET] == name].set_index(TEAM)
        costs = np.stack(
            [(-1 if up else 1) * rows[metric].to_numpy(dtype=float) for metric, up in board.higher.items()]
        )
        ranks = stats.rankdata(np.round(costs, 10), axis=1).mean(axis=0)
        found[f"rank_{name}"] = found[TEAM].map(dict(zip(rows.index, ranks, strict=True)))
    total = sum(weights[name] for name in sets)
    found["score"] = sum(weights[name] * found[f"rank_{name}"] for name in sets) / total
    found["place"] = found["score"].round(10).rank(method="min")
    return found.sort_values(["place", TEAM], kind="stable", na_position="last", ignore_index=True)


def _direction(path: Path, heading: str) -> bool:
    """Whether more of a metric is better."""
    for arrow, better in _ARROWS.items():
        if heading.endswith(arrow):
            return better
    plain = heading.lower()
    known = METRICS.get(plain) or METRICS.get(_ALSO.get(plain, ""))
    known = known or next((metric for metric in METRICS.values() if metric.title.lower() == plain), None)
    if known is None:
        raise DataError(
            path,
            found=f"the column {heading!r}",
            expected=f"team, set, and metrics: {', '.join(METRICS)}",
            remedy=f"rename it to '{heading} ↑' where more is better, else to '{heading} ↓'",
        )
    return known.higher_is_better


def _check_sets(path: Path, rows: list[tuple[int, dict[str, str]]]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for number, row in rows:
        if row[SET] not in WEIGHTS or not row[TEAM]:
            raise DataError(
                path,
                found=f"line {number}: team {row[TEAM]!r}, set {row[SET]!r}",
                expected=f"a team's name, and one of the sets {', '.join(WEIGHTS)}",
                remedy="correct the line",
            )
        first = seen.setdefault((row[TEAM], row[SET]), number)
        if first != number:
            raise DataError(
                path,
                found=f"{row[TEAM]} in lines {first} and {number} of the set {row[SET]}",
                expected="one line for each team and set",
                remedy="leave one of the two out",
            )


def _check_cells(path: Path, rows: list[tuple[int, dict[str, str]]], metrics: list[str]) -> None:
    """Every cell is a number; nothing is filled in or left out in silence."""
    wrong = [
        f"line {number}: {name} of {row[TEAM]} ({row[SET]}) is {repr(row[name]) if row.get(name) else 'missing'}"
        for number, row in rows
        for name in metrics
        if not _is_number(row.get(name, ""))
    ]
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise DataError(
            path,
            found="; ".join(wrong[:_NAMED]) + more,
            expected="a number in every cell; inf for a distance that does not exist",
            remedy="fill them in, or leave the team's line of that set out: it is then ranked on the other sets alone",
        )


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def _no_table(path: Path, found: str) -> DataError:
    return DataError(
        path,
        found=found,
        expected="a csv with the columns team, set and one per metric, e.g. team,set,dice,lesion_f1",
        remedy="name its first two columns team and set; a set is public or hidden",
    )
