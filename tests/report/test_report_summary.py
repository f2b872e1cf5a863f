import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_material import ALL_PARTS, case_row, case_table

from strokelab.report.comparison import ours, tables_of_interest, without_site
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


def table_named(evaluation, name):
    (found,) = [table for table in evaluation.papers if table.name == name]
    return found


def our_row(evaluation, name, method, runs, site=None):
    table = table_named(evaluation, name)
    (row,) = [row for row in table.rows if row.method == method and row.site == site]
    return ours(table, row, runs)


def test_ours_beside_the_ablation_is_over_cases_of_the_held_out_site(evaluation):
    found = our_row(evaluation, "sgnet_table3", "Baseline", evaluation.runs, "5")
    assert found.values["dice"] == pytest.approx((0.5, 0.25))
    assert found.values["f1"] == found.values["dice"]
    assert our_row(evaluation, "sgnet_table3", "Baseline", evaluation.runs, "4") is None
    assert our_row(evaluation, "sgnet_table3", "DA", evaluation.runs, "5") is None


def test_seeds_are_averaged_per_case_before_the_spread(evaluation):
    run = evaluation.runs[0]
    twin = dataclasses.replace(run, name="unet-1", seed=1, cases=run.cases.assign(dice=[0.45, 0.5, 0.55]))
    found = our_row(evaluation, "sgnet_table3", "Baseline", [run, twin], "5")
    assert found.values["dice"] == pytest.approx((0.5, 0.15))
    assert found.basis == "3 cases, 2 runs"


def test_table_five_is_over_sites_and_counts_no_training_site(evaluation):
    run = evaluation.runs[0]
    seen = pd.concat([run.cases, case_table(case_row("t", "1", 1.0))])
    other = dataclasses.replace(
        run,
        name="b",
        held_out_site="4",
        sites=("5",),
        cases=case_table(case_row("z", "4", 0.1), case_row("y", "4", 0.3)),
    )
    found = our_row(evaluation, "sgnet_table5", "U-Net", [dataclasses.replace(run, cases=seen), other])
    assert found.values["dice"] == pytest.approx((0.35, np.std([0.5, 0.2], ddof=1)))
    assert "parameters_m" not in found.values


def test_external_table_is_over_models(evaluation):
    def run(name, *dice):
        rows = [case_row(f"{i}", "R038", value) for i, value in enumerate(dice)]
        return dataclasses.replace(evaluation.runs[1], name=name, cases=case_table(*rows))

    runs = [run("a", 0.2, 0.4), run("b", 0.5, 0.7)]
    assert our_row(evaluation, "sgnet_table6", "SG-Net", runs, "38").values["dice"] == pytest.approx((0.45, 0.2121320))


def test_cost_stands_beside_cost(evaluation):
    run = dataclasses.replace(evaluation.runs[1], cost={"parameters_m": 29.636})
    assert our_row(evaluation, "sgnet_table5", "SG-Net", [run]).values["parameters_m"] == (29.636, None)


def test_only_tables_with_a_row_of_ours_are_shown(evaluation):
    shown = {table.name: rows for table, rows in tables_of_interest(evaluation)}
    assert list(shown) == ["sgnet_table3", "sgnet_table5"]
    assert {row.site for row, _ in shown["sgnet_table3"]} == {"5"}
    balanced = dataclasses.replace(evaluation.runs[1], parts=ALL_PARTS | {"site_balanced"})
    assert "sgnet_table7" in {
        table.name
        for table, _ in tables_of_interest(dataclasses.replace(evaluation, runs=(*evaluation.runs, balanced)))
    }
    elsewhere = dataclasses.replace(evaluation, phantom=False, dataset="isles2022")
    assert tables_of_interest(elsewhere) == []


def test_mean_without_the_site_the_settings_were_chosen_on(evaluation):
    assert without_site(evaluation, "unet2d", "5") is None
    run = evaluation.runs[0]
    cases = pd.concat([run.cases, case_table(case_row("z", "4", 0.1))])
    both = dataclasses.replace(evaluation, runs=(dataclasses.replace(run, cases=cases),))
    assert without_site(both, "unet2d", "5")[0] == pytest.approx(0.1)


def test_best_median_worst_never_repeat_a_case():
    rows = [case_row(str(i), "1", dice) for i, dice in enumerate([0.3, 0.9, 0.1, 0.5])]
    rows += [case_row("empty", "1", 1.0, lesion_ml=0.0), case_row("failed", "1", np.nan)]
    assert best_median_worst(case_table(*rows)) == [("best", "1"), ("median", "0"), ("worst", "2")]
    assert best_median_worst(case_table(*rows[:2])) == [("best", "1"), ("worst", "0")]
    assert best_median_worst(case_table(rows[0])) == [("best", "0")]
    assert best_median_worst(case_table(*rows[4:])) == []
    assert best_median_worst(pd.DataFrame({"case": ["a"], "error": ["no mask"]})) == []
