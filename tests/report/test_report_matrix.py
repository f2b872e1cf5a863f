"""The page of a matrix from a table written by hand: means, intervals, reasons, files."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from strokelab.report.heatmap import heatmap
from strokelab.report.matrix import write_matrix
from strokelab.report.train_by_test import ENSEMBLE, CellFacts, Matrix, cell_lines, main_line


def rows(model, dataset, dice, *, modality="T1w", main=True, run="", site="A"):
    return [
        {"model": model, "run": run or model, "dataset": dataset, "modality": modality, "main": main, "site": site}
        | {"case": f"c{i}", "subject": f"s{i}", "seed": 0, "fold": None, "dice": value, "hd95": 10 * value, "error": ""}
        for i, value in enumerate(dice)
    ]


@pytest.fixture(scope="module")
def board():
    cases = [
        *rows("unet", "a", [0.2, 0.4, 0.6], run="unet-0"),
        *rows("unet", "a", [0.4, 0.6, 0.8], run="unet-1"),
        *rows("unet", "b", [0.1, 0.3], modality="DWI", main=False),
        *rows("unet", "b", [0.3, 0.5], modality=ENSEMBLE),
        *rows("sgnet", "a", [0.5, 0.7, 0.9]),
    ]
    told = {"model": "sgnet", "trained_on": "b"}
    tested = (
        *(CellFacts(f"unet-{n}", "unet", "a", "a", own=True, cases=3, seen=7, seen_subjects=5) for n in (0, 1)),
        CellFacts("unet-0", "unet", "b", "a", cases=2),
        CellFacts("sgnet", dataset="a", cases=3, **told),
        CellFacts("sgnet", dataset="b", own=True, reason="all 2 cases were seen in training", **told),
    )
    return Matrix(tested, pd.DataFrame(cases), {"a": "3 cases", "b": "2 cases"}, phantom=True)


def test_a_cell_is_the_mean_over_cases_of_the_means_of_their_repeats(board):
    lines = cell_lines(board)
    line = main_line(lines, "unet", "a")
    assert (line["n"], line["runs"]) == (3, 2)
    assert line["estimate"] == pytest.approx(0.5)
    assert line["low"] == pytest.approx(0.3)
    assert line["high"] == pytest.approx(0.7)
    assert main_line(lines, "unet", "b")["modality"] == ENSEMBLE
    assert main_line(lines, "sgnet", "b") is None


def test_equal_ids_of_two_datasets_are_different_cases(board):
    lines = cell_lines(board).query("metric == 'dice' and main and model == 'unet'")
    assert dict(zip(lines["dataset"], lines["estimate"], strict=True)) == pytest.approx({"a": 0.5, "b": 0.4})


def test_failed_and_infinite_values_are_counted(board):
    cases = board.cases.copy()
    cases.loc[cases["model"].eq("sgnet") & cases["case"].eq("c0"), "error"] = "no scan"
    cases.loc[cases["model"].eq("sgnet") & cases["case"].eq("c1"), "hd95"] = np.inf
    lines = cell_lines(Matrix(board.tested, cases, board.datasets))
    dice, distance = (main_line(lines, "sgnet", "a", metric) for metric in ("dice", "hd95"))
    assert (dice["n"], dice["failed"], dice["estimate"]) == (2, 1, pytest.approx(0.8))
    assert (distance["n"], distance["infinite"], distance["failed"]) == (1, 1, 1)


def test_the_page_and_its_files(board, tmp_path):
    page = write_matrix(board, tmp_path).read_text()
    for words in ("Best mean Dice on a: sgnet", "all 2 cases were seen in training", "Phantom data"):
        assert words in page
    table = pd.read_csv(tmp_path / "tables/matrix.csv").set_index("Model")
    assert table.loc["unet", "a [number]"] == pytest.approx(0.5)
    assert table.loc["unet", "b"] == "0.400 (0.300 to 0.500), n = 2, ensemble"
    assert table.loc["sgnet", "b"] == "all 2 cases were seen in training"
    tested = pd.read_csv(tmp_path / "tables/tested.csv")
    assert tested.iloc[0].to_list()[3:5] == [3, "7 cases of 5 subjects"]
    sites = pd.read_csv(tmp_path / "tables/by_site.csv")
    assert list(sites["Site"]) == ["a A", "b A"]
    pairs = pd.read_csv(tmp_path / "tables/comparisons_a.csv")
    assert list(pairs["First - second"].unique()) == ["unet - sgnet"]
    assert not (tmp_path / "tables/comparisons_b.csv").exists(), "one model alone"
    assert {"matrix.png", "matrix.pdf"} == {path.name for path in (tmp_path / "figures").iterdir()}
    assert pd.read_csv(tmp_path / "matrix.csv").query("metric == 'dice'")["estimate"].max() == pytest.approx(0.7)


def test_what_tells_runs_called_by_their_folders_apart_is_said_once(board, tmp_path):
    tested = tuple(replace(one, differs="max_epochs=77, gamma=2") for one in board.tested if one.model == "sgnet")
    page = write_matrix(replace(board, tested=(*board.tested[:3], *tested)), tmp_path).read_text()
    assert page.count("sgnet: max_epochs=77, gamma=2") == 1
    assert "text-overflow: ellipsis" not in page, "a table that can be sorted cuts the name that tells runs apart"


def test_a_matrix_without_a_single_number_still_says_why(tmp_path):
    tested = (CellFacts("r", "m", "a", "b", reason="no DWI: the dataset has T1w"),)
    page = write_matrix(Matrix(tested, pd.DataFrame(), {"a": "3 cases"}), tmp_path).read_text()
    assert "1 cell of 1 without a number" in page
    assert "no DWI: the dataset has T1w" in page


def test_cases_that_all_failed_are_named_as_such(board, tmp_path):
    cases = board.cases.drop(columns=["dice", "hd95"]).assign(error="no prediction")
    page = write_matrix(Matrix(board.tested, cases, board.datasets), tmp_path).read_text()
    assert "3 cases that failed" in page


def test_cells_without_a_number_are_hatched():
    figure = heatmap(np.array([[0.25, np.nan]]), ["m"], ["a", "b"], label="Dice")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.250"]
    assert [patch.get_hatch() for patch in axes.patches] == ["///"]
