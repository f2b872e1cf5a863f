"""The case table and its probabilities as files: read back to the last bit, refused where something is missing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.contract import Case
from strokelab.errors import DataError
from strokelab.metrics.thresholds import THRESHOLDS, dice_at_thresholds, from_rows
from strokelab.runs import load_run
from strokelab.scoring import Scores, read_scores, score_cases, write_scores
from strokelab.scoring.cases import scanner_of
from strokelab.scoring.tables import ORIGIN, RECIPE


def scores(**columns) -> Scores:
    words = {name: "x" for name in (*ORIGIN, *RECIPE)} | {"seed": 0, "error": ""}
    cases = pd.DataFrame({name: [value] for name, value in (words | columns).items()})
    return Scores(cases, pd.DataFrame({"run": ["x"], "case": "x", "bin": 0, "lesion": 3, "healthy": 4, "mass": 0.1}))


def through_files(given: Scores, folder: Path) -> Scores:
    write_scores(given, folder / "c.csv", folder / "p.csv")
    return read_scores(folder / "c.csv", folder / "p.csv")


@settings(max_examples=60, deadline=None)
@given(
    dice=st.floats(0, 1),
    distance=st.one_of(st.just(float("inf")), st.just(float("nan")), st.floats(0, 1e6)),
    voxels=st.integers(0, 2**53),
    word=st.sampled_from(["NA", "null", "007", "1e5", "a,b", 'say "x"', "ä", "nan"]),
)
def test_tables_are_read_back_to_the_last_bit(tmp_path_factory, dice, distance, voxels, word):
    table = scores(dice=dice, hd=distance, tp=voxels, case=word, site=word, subject=word)
    back = through_files(table, tmp_path_factory.mktemp("scores")).cases
    pd.testing.assert_frame_equal(back, table.cases, check_exact=True, check_dtype=False)
    assert back["tp"].dtype == np.int64


def test_what_is_not_known_is_none_and_no_error_is_empty(tmp_path):
    back = through_files(scores(site=None, scanner="", fold=None, error=""), tmp_path).cases
    assert [back[name][0] for name in ("site", "scanner", "fold", "error")] == [None, None, None, ""]


@pytest.mark.parametrize("column", ["weights", "dataset", "error", "case"])
def test_a_missing_column_is_named(tmp_path, column):
    given = scores()
    write_scores(Scores(given.cases.drop(columns=column), given.probabilities), tmp_path / "c.csv", tmp_path / "p.csv")
    with pytest.raises(DataError, match=column):
        read_scores(tmp_path / "c.csv", tmp_path / "p.csv")


@pytest.mark.parametrize("content", ["", "\0", "a,b\n1,2,3\n4", "\xff"])
def test_files_that_are_no_tables_are_named(tmp_path, content):
    write_scores(scores(), tmp_path / "c.csv", tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=r"p\.csv"):
        read_scores(tmp_path / "c.csv", tmp_path / "p.csv")


def test_training_leaves_both_tables(trained_run):
    own = read_scores(trained_run / "cases.csv", trained_run / "probabilities.csv")
    assert list(own.cases.columns[:14]) == [*ORIGIN, *RECIPE]
    row = own.cases.iloc[0]
    assert (row["dataset"], row["fold"], row["seed"], row["checkpoint"]) == ("atlas_v1", "0", 0, "last.ckpt")
    assert "threshold" in row["postprocessing"]
    assert set(own.probabilities["case"]) == set(own.cases["case"])


def test_probabilities_hold_every_voxel_and_give_the_scores_again(trained_run):
    own = read_scores(trained_run / "cases.csv", trained_run / "probabilities.csv")
    half = int(np.flatnonzero(np.isclose(THRESHOLDS, 0.5))[0])
    for row in own.cases.to_dict("records"):
        counts = from_rows(own.probabilities[own.probabilities["case"] == row["case"]])
        assert counts.lesion.sum() == row["tp"] + row["fn"]
        assert counts.healthy.sum() == row["fp"] + row["tn"]
        curve = dice_at_thresholds(counts)
        assert curve[half] == pytest.approx(row["dice"], abs=1e-12)
        assert row["mdsc"] == curve.max() >= row["dice"]
        assert curve[round(row["mdsc_threshold"] * 100) - 1] == row["mdsc"]


def test_scanners_are_what_a_reader_knows():
    case = Case("a", "a", "atlas_v2", None, {})
    assert scanner_of(case) == ""
    assert scanner_of(replace(case, meta={"scanner": "Siemens Trio", "scanner brand": "other"})) == "Siemens Trio"
    assert scanner_of(replace(case, meta={"scanner brand": "Philips", "scanner strength": 3.0})) == "Philips 3"
    assert scanner_of(replace(case, meta={"scanner brand": "GE"})) == "GE"
    assert scanner_of(replace(case, meta={"scanner strength": "1.5T"})) == "1.5T"


def test_phantoms_are_not_said_to_come_from_real_scanners(trained_run, t1_cohort, tmp_path):
    from strokelab.data import read_cases
    from strokelab.preparation.store import PreparedStore

    run = load_run(trained_run)
    cases = read_cases("atlas_v1", t1_cohort)[:1]
    stored = PreparedStore(tmp_path / "store").prepare(cases, run.view.preparation, progress=False)
    real = score_cases(run, cases, stored, progress=False).cases
    phantom = score_cases(run, cases, stored, progress=False, phantom=True).cases
    assert list(real["scanner"]) == ["GE 750 Discovery"]
    assert list(phantom["scanner"]) == [None]
    pd.testing.assert_frame_equal(real.drop(columns="scanner"), phantom.drop(columns="scanner"))


def test_what_saving_raises_is_not_lost_in_the_other_thread(trained_run, t1_cohort, tmp_path):
    from strokelab.data import read_cases
    from strokelab.preparation.store import PreparedStore

    run = load_run(trained_run)
    cases = read_cases("atlas_v1", t1_cohort)[:3]
    stored = PreparedStore(tmp_path / "store").prepare(cases, run.view.preparation, progress=False)

    def full_disk(case, prediction):
        if case is cases[1]:
            raise DataError("out", found="no space", expected="space", remedy="make some")

    table = score_cases(run, cases, stored, keep=full_disk, progress=False).cases
    assert [bool(error) for error in table["error"]] == [False, True, False]

    def broken(case, prediction):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        score_cases(run, cases, stored, keep=broken, progress=False)
