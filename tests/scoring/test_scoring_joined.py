"""Tables of processes that shared the cases: the bytes of the table of one."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.scoring import Scores, joined, write_scores
from strokelab.scoring.tables import typed

CASES = st.lists(st.sampled_from(["fine", "empty", "failed", "unlabelled"]), max_size=7)


def scores_of(cases):
    """As ``score_cases`` makes them of (id, fate)."""
    rows, counted = [], []
    for name, fate in cases:
        row = {"run": "sgnet", "case": name, "site": None, "seed": 0, "profile": "default"}
        if fate == "failed":
            rows.append(row | {"error": "no such file"})
        elif fate != "unlabelled":
            number = len(name) / 3
            rows.append(row | {"dice": np.nan if fate == "empty" else number, "tp": len(name), "error": ""})
            counted.append(pd.DataFrame({"run": "sgnet", "case": name, "bin": [1, 2], "mass": [number, 1.0]}))
    probabilities = pd.concat(counted, ignore_index=True) if counted else pd.DataFrame(columns=["run", "case", "bin"])
    return Scores(typed(pd.DataFrame(rows)), typed(probabilities))


@given(fates=CASES, processes=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_as_if_one_process_had_scored_all(fates, processes, tmp_path_factory):
    cases = [("case" + "x" * index, fate) for index, fate in enumerate(fates)]
    alone = scores_of(cases)
    shares = [scores_of(cases[rank::processes]) for rank in range(processes)]
    together = joined(shares, [name for name, _ in cases])
    folder = tmp_path_factory.mktemp("tables")
    for name, scores in (("alone", alone), ("together", together)):
        write_scores(scores, folder / f"{name}.csv", folder / f"{name}-probabilities.csv")
    for table in ("", "-probabilities"):
        assert (folder / f"together{table}.csv").read_bytes() == (folder / f"alone{table}.csv").read_bytes()
