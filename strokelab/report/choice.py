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


def cases_of_all(cases: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Cases to show all models on: (label, run, case), a row for each model; none twice for a model.

    Of the cases that every model scored: best, median and the three worst by the mean of their Dice over the models,
    and ``joined``, the one whose lesions the models join most (by the mean number of lesions that the predictions have
    too few). Of several runs of a case the first by name stands for its model.

    Args:
        cases: a case table with the column ``model``.
    """
    if not {"dice", "lesion_ml"} <= set(cases.columns):
        return []
    usable = cases[cases["dice"].notna() & (cases["lesion_ml"] > 0)].sort_values(["run", "case"])
    usable = usable.drop_duplicates(["model", "case"])
    models = usable.groupby("case")["model"].nunique()
    shared = usable[usable["case"].map(models) == usable["model"].nunique()]
    means = shared.groupby("case", as_index=False)["dice"].mean().assign(lesion_ml=1.0, run="")
    chosen = {case: label for label, _, case in cases_to_show(means)}
    counts = ["truth_lesions_26", "prediction_lesions_26"]
    if {*counts} <= {*shared.columns}:
        fewer = (shared[counts[0]] - shared[counts[1]]).groupby(shared["case"]).mean().drop(list(chosen))
        fewer = fewer[fewer >= 1].sort_index()
        chosen |= {str(fewer.idxmax()): "joined"} if len(fewer) else {}
    rows = shared[shared["case"].isin(list(chosen))]
    return [(chosen[case], run, case) for run, case in zip(rows["run"], rows["case"].astype(str), strict=True)]
