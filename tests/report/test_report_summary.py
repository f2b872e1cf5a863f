import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_material import case_row, case_table, scored_run

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


def test_intervals_stand_beside_the_means(evaluation):
    table = summary_table(evaluation)
    line = line_of(table, level="model", model="unet2d")
    assert 0.25 <= line["low"] < line["mean"] < line["high"] <= 0.75
    assert line["clusters"] == 3
    distances = line_of(table, "hd95", level="model", model="unet2d")
    assert distances["median_low"] <= distances["median"] <= distances["median_high"]
    assert np.isnan(line["median_low"]), "no infinite value, no interval of the median"


def test_levels_for_scanners_and_folds_only_where_they_tell_cases_apart(evaluation):
    run = scored_run("m", [0.1, 0.2, 0.3, 0.4], scanner=["GE", "", "GE", None], fold=[0.0, 1.0, np.nan, 1.0])
    table = summary_table(dataclasses.replace(evaluation, runs=(run,)))
    assert list(table["level"].unique()) == ["model", "run", "site", "scanner", "fold"]
    assert line_of(table, level="scanner", scanner="unknown")["mean"] == pytest.approx(0.3)
    assert line_of(table, level="fold", fold="1")["n"] == 2
    line = line_of(table, level="model")
    assert line[["folds", "fold_mean"]].tolist() == [2, pytest.approx(0.2)], "an unknown fold is none"
    plain = summary_table(dataclasses.replace(evaluation, runs=(scored_run("m", [0.1, 0.2], scanner="GE"),)))
    assert list(plain["level"].unique()) == ["model", "run", "site"]


def test_pooled_dice_is_a_line_of_its_own(evaluation):
    run = scored_run("m", [1 / 3, 5 / 6], tp=[10, 500], fp=[10, 100], fn=[30, 100], tn=0)
    line = line_of(summary_table(dataclasses.replace(evaluation, runs=(run,))), "micro_dice", level="model")
    assert line[["n", "mean"]].tolist() == [2, pytest.approx(1020 / 1260)]


def test_the_file_reads_back_the_same(evaluation, tmp_path):
    table = summary_table(evaluation)
    table.to_csv(tmp_path / "summary.csv", index=False)
    read = pd.read_csv(tmp_path / "summary.csv")
    assert read["mean"].tolist() == pytest.approx(table["mean"].tolist(), rel=1e-15, nan_ok=True)
    assert list(read.columns) == list(table.columns)
