"""Tomita 2020, Tables 2, 4 and 5 with three seeds of ours beside them, and the sweeps that make them.

Of the spec's section 11, worked surface distances (10) stand in ``test_papers_metrics.py`` (04), intervals and quarters
(11) in ``tests/statistics`` (bootstrap, strata), maximal Dice (9) in ``test_papers_metrics.py`` (07) and here.
"""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from strokelab.metrics import score_case
from strokelab.metrics.thresholds import max_dice_exact
from strokelab.report.comparison import paper_comparisons
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.paper_tables import load_tables
from strokelab.report.significance import comparison_table, comparisons, with_nested_intervals
from strokelab.statistics.bootstrap import bootstrap_intervals
from strokelab.statistics.nested import nested_differences

CONF = Path(__file__).resolve().parents[2] / "conf"
SEEDS = (0, 1, 2)
MODELS = ("resunet3d_f", "resunet3d", "resunet3d_e")


def cases_of(model: str, seed: int, n: int = 31) -> pd.DataFrame:
    """Counts of n scans, two of every fifth subject; ``resunet3d`` misses one scan under seed 0."""
    random = np.random.default_rng([MODELS.index(model), seed])
    lesion = 40 * np.arange(1, n + 1)
    tp = np.minimum(lesion, np.round(lesion * random.uniform(0.3 + 0.1 * MODELS.index(model), 0.9, n))).astype(int)
    fp, fn = random.integers(0, 30, n), lesion - tp
    table = pd.DataFrame(
        {
            "case": [f"c{i:02}" for i in range(n)],
            "subject": [f"s{i - (i % 5 == 4):02}" for i in range(n)],
            "site": "1",
            "lesion_ml": lesion / 1000,
            **{"tp": tp, "fp": fp, "fn": fn, "tn": 1000, "voxel_volume_mm3": 1.0},
            "dice": 2 * tp / (2 * tp + fp + fn),
            **{"recall": tp / lesion, "precision": tp / (tp + fp), "hd": random.uniform(2, 40, n)},
            **{"profile": "tomita", "error": ""},
        }
    )
    table["mdsc"], table["assd"] = np.minimum(table["dice"] + 0.02, 1), table["hd"] / 5
    table["hd_penalised"] = table["hd"]
    if (model, seed) == ("resunet3d", 0):
        table.loc[3, ["hd", "assd"]], table.loc[3, "hd_penalised"] = np.inf, 300.0
    return table


def a_run(model: str, seed: int) -> RunMaterial:
    name = f"{model}-seed{seed}"
    cases = cases_of(model, seed).assign(run=name)
    return RunMaterial(name, model, "atlas_v1", cases, seed=seed, split="HoldOut")


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    runs = tuple(a_run(model, seed) for model in MODELS for seed in SEEDS)
    return Evaluation("t", "atlas_v1", runs, profile="tomita", papers=load_tables(CONF, "resunet3d_table*"))


@pytest.fixture(scope="module")
def tables(evaluation):
    return {table.name.removeprefix("paper_resunet3d_"): table for table in paper_comparisons(evaluation)}


def ours(table, row: int) -> dict:
    """A row's cells under ", ours", by the paper's headings, and the last one."""
    cells = dict(zip(table.header, table.rows[row], strict=True))
    return {name.removesuffix(", ours"): cell for name, cell in cells.items() if name.endswith("ours")} | {
        "basis": table.rows[row][-1].text
    }


def numbers(cell) -> list[float]:
    return [cell.number, *(dict(cell.further)[end] for end in ("low", "high"))]


def averaged(evaluation: Evaluation, model: str) -> pd.DataFrame:
    """A row per case, the seeds averaged; infinite where one is."""
    rows = pd.concat([run.cases for run in evaluation.runs if run.model == model])
    return rows.groupby(["case", "subject"], as_index=False).mean(numeric_only=True).assign(error="")


def test_table_2_has_every_column_of_both_rows_with_its_interval(evaluation, tables):
    for row, model in enumerate(("resunet3d", "resunet3d_e")):
        found, mean = ours(tables["table2"], row), averaged(evaluation, model)
        assert found["basis"] == "31 cases, 1 site, 3 runs"
        columns = {"DSC": "dice", "mDSC": "mdsc", "HD (mm)": "hd", "ASSD (mm)": "assd", "TPR": "recall"}
        for heading, metric in (columns | {"Precision": "precision"}).items():
            expected = bootstrap_intervals(mean, [metric]).iloc[0]
            assert numbers(found[heading]) == pytest.approx([expected[key] for key in ("estimate", "low", "high")])
    assert ours(tables["table2"], 0)["HD (mm)"].text.endswith("(1 inf)"), "undefined distances are counted beside it"


def test_a_second_column_takes_the_grids_diagonal_for_an_infinite_distance(evaluation, tables):
    runs = [run.cases for run in evaluation.runs if run.model == "resunet3d"]
    for name, row in (("table2", 0), ("table5", 1)):
        found = ours(tables[name], row)
        for metric, heading in (("hd", "HD"), ("assd", "ASSD")):
            cell = found[f"{heading} (mm), infinite ones as the grid's diagonal"]
            assert cell.number == pytest.approx(np.mean([cases[metric].replace(np.inf, 300.0) for cases in runs]))
            assert not cell.text.endswith("inf)")
        assert not [heading for heading in tables[name].header if heading.endswith("diagonal, paper")]


def test_table_4_has_quarters_of_8_8_8_and_7_smallest_first(evaluation, tables):
    rows = [ours(tables["table4"], row) for row in (0, 3, 6, 9)]  # two models more have rows of their own
    assert [found["basis"].split(",")[0] for found in rows] == ["8 cases", "8 cases", "8 cases", "7 cases"]
    mean = averaged(evaluation, "resunet3d").sort_values("lesion_ml")["dice"].to_numpy()
    bounds = (0, 8, 16, 24, 31)
    expected = [mean[low:high].mean() for low, high in pairwise(bounds)]
    assert [found["DSC"].number for found in rows] == pytest.approx(expected)


def test_table_5_has_our_difference_with_seeds_nested(evaluation, tables):
    table = tables["table5"]
    methods = [row[0].text for row in table.rows]
    assert methods[:3] == ["3D-ResU-Net-F", "3D-ResU-Net", "Difference"]
    found = ours(table, 2)
    lines = nested_differences(
        evaluation.cases, ["micro_dice", "dice", "hd"], first="resunet3d", second="resunet3d_f"
    ).set_index("metric")
    for heading, metric in {"microDSC": "micro_dice", "DSC": "dice", "HD (mm)": "hd"}.items():
        line = lines.loc[metric]
        assert numbers(found[heading]) == pytest.approx([line[key] for key in ("difference", "low", "high")])
        assert line["low"] < line["difference"] < line["high"]
    assert found["DSC"].number == pytest.approx(ours(table, 1)["DSC"].number - ours(table, 0)["DSC"].number)
    assert found["microDSC"].number == pytest.approx(
        ours(table, 1)["microDSC"].number - ours(table, 0)["microDSC"].number
    )
    assert found["HD (mm)"].text.endswith("(1 inf)")
    assert found["basis"] == "31 cases in pairs, 6 runs"


def test_one_side_alone_has_no_difference(evaluation):
    only = dataclasses.replace(evaluation, runs=tuple(run for run in evaluation.runs if run.model == "resunet3d"))
    table = next(table for table in paper_comparisons(only) if table.name.endswith("table5"))
    assert [row[-1].text for row in table.rows] == ["–", "31 cases, 1 site, 3 runs", "–"]


@pytest.mark.parametrize("name", ["table2", "table4", "table5"])
def test_the_split_is_said_to_differ_and_the_distance_is_defined(tables, name):
    notes = tables[name].notes
    (differs,) = (text for text in notes if text.startswith("Differs"))
    assert "split: theirs" in differs
    assert "not public" in differs
    assert "surface-distance" in notes[0]


def test_snapshots_against_the_last_weights_stand_in_the_comparisons_with_seeds_resampled(evaluation):
    cases = evaluation.cases
    found = with_nested_intervals(comparisons(cases, metrics=["dice"]), cases)
    for row in found.to_dict("records"):
        (line,) = nested_differences(cases, ["dice"], first=row["first"], second=row["second"]).to_dict("records")
        assert (row["low_nested"], row["high_nested"]) == (line["low"], line["high"])
        assert row["difference"] == pytest.approx(line["difference"])
    table = comparison_table(found, "tomita")
    assert "95 % CI, seeds resampled" in table.header
    once = cases[cases["seed"] == 0]
    alone = comparisons(once, metrics=["dice"])
    pd.testing.assert_frame_equal(with_nested_intervals(alone, once), alone)
    assert "95 % CI, seeds resampled" not in comparison_table(alone, "tomita").header


def params(name: str) -> dict[str, str]:
    content = yaml.safe_load((CONF / f"sweep/{name}.yaml").read_text())
    return content["hydra"]["sweeper"]["params"] if "hydra" in content else params(content["defaults"][0])


def test_the_sweeps_of_the_tables_are_the_same_three_trainings():
    for table in ("table2", "table4", "table5"):
        assert params(f"resunet3d_{table}") == {"experiment": "resunet3d_atlas", "seed": "0,1,2"}


@pytest.mark.parametrize("seed", range(4))
def test_09_maximal_dice_is_the_best_of_all_thresholds_tried(seed):
    random = np.random.default_rng(seed)
    probability, truth = random.random((8, 8, 8)).round(seed + 1), random.random((8, 8, 8)) < 0.2
    tried = [score_case(probability, truth, 1.0, threshold=t)["dice"] for t in np.unique(probability[probability > 0])]
    best = max_dice_exact(probability, truth)[0]
    assert best == pytest.approx(max(tried))
    assert best >= score_case(probability > 0.5, truth, 1.0)["dice"]
    assert max_dice_exact(truth.astype(float), truth)[0] == 1.0
