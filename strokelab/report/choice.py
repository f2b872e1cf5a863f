"""Which cases a report shows. Knows a case table, no image."""

from __future__ import annotations

import pandas as pd

WORST = 3
EACH = 3  # of the largest and of the smallest lesions


def cases_to_show(cases: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Best, median and the three worst rows of a case table by Dice: (label, run, case), none twice.

    Only scored cases that hold a lesion: the Dice of others is 0 or 1 by convention and shows nothing. Ties go by case
    and run; the median is the lower one; where there are few rows there are fewer labels.
    """
    if not {"dice", "lesion_ml"} <= set(cases.columns):
        return []  # every case failed
    usable = cases[cases["dice"].notna() & (cases["lesion_ml"] > 0)].sort_values(["dice", "case", "run"])
    rows = [(str(run), str(case)) for run, case in zip(usable["run"], usable["case"], strict=True)]
    if not rows:
        return []
    ranks = {"best": len(rows) - 1, "worst": 0, "median": (len(rows) - 1) // 2}  # of two cases none is in the middle
    ranks |= {f"worst {place + 1}": place for place in range(1, min(WORST, len(rows)))}
    first: dict[int, str] = {}
    for label, rank in ranks.items():
        first.setdefault(rank, label)
    order = ["best", "median", "worst"]
    shown = sorted(first.items(), key=lambda pair: (order.index(pair[1].split()[0]), pair[1]))
    return [(label, *rows[rank]) for rank, label in shown]


def cases_by_size(cases: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The cases of the largest and of the smallest lesions, largest first: (label, run, case), none twice.

    Only scored cases that hold a lesion; of several runs of a case the first by name. Half of few cases are large.
    """
    if not {"dice", "lesion_ml"} <= set(cases.columns):
        return []
    usable = cases[cases["dice"].notna() & (cases["lesion_ml"] > 0)].sort_values(["run", "case"])
    falling = usable.drop_duplicates("case").sort_values(["lesion_ml", "case"], ascending=[False, True])
    rows = [(str(run), str(case)) for run, case in zip(falling["run"], falling["case"], strict=True)]
    large = min(EACH, (len(rows) + 1) // 2)
    small = min(EACH, len(rows) - large)
    shown = [("large", row) for row in rows[:large]] + [("small", row) for row in rows[len(rows) - small :]]
    return [(label, *row) for label, row in shown]
