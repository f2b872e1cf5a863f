import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_material import case_row, case_table

from strokelab.report.material import best_median_worst
from strokelab.report.summary import line_of, summary_table


def test_macro_mean_gives_every_site_one_voice_and_unknown_is_no_site(evaluation):
    rows = [case_row("a", "1", 0.2), case_row("b", "1", 0.4), case_row("c", "1", 0.6), case_row("d", "2", 1.0)]
    run = dataclasses.replace(evaluation.runs[0], cases=case_table(*rows, case_row("e", None, 0.3)))
    line = line_of(summary_table(dataclasses.replace(evaluation, runs=(run,))), level="model")
    assert line["mean"] == pytest.approx(0.5)
    assert (line["sites"], line["site_mean"]) == (2, pytest.approx(0.7))
    assert line["site_sd"] == pytest.approx(np.std([0.4, 1.0], ddof=1))


def test_summary_has_a_row_per_level_and_metric(evaluation):
    table = summary_table(evaluation)
    assert line_of(table, level="model", model="unet2d")["mean"] == pytest.approx(0.5)
    line = line_of(table, level="run", run="sgnet-0")
    assert line[["mean", "n", "failed"]].tolist() == pytest.approx([0.65, 2, 1])
    assert line_of(table, "hd95", level="site", model="unet2d", site="5")["infinite"] == 1
    assert len(table) == 2 * 3 * 12


def test_best_median_worst_never_repeat_a_case():
    rows = [case_row(str(i), "1", dice) for i, dice in enumerate([0.3, 0.9, 0.1, 0.5])]
    rows += [case_row("empty", "1", 1.0, lesion_ml=0.0), case_row("failed", "1", np.nan)]
    assert best_median_worst(case_table(*rows)) == [("best", "1"), ("median", "0"), ("worst", "2")]
    assert best_median_worst(case_table(*rows[:2])) == [("best", "1"), ("worst", "0")]
    assert best_median_worst(case_table(rows[0])) == [("best", "0")]
    assert best_median_worst(case_table(*rows[4:])) == []
    assert best_median_worst(pd.DataFrame({"case": ["a"], "error": ["no mask"]})) == []
