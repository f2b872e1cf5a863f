"""Runs that predict in one window: what lies outside, in table and notes; the region as a word; ensembles."""

import numpy as np
import pandas as pd
import pytest
from sibling_runs import volume_sibling

from strokelab.data import read_cases
from strokelab.errors import ConfigError
from strokelab.evaluation.new_scans import Applying
from strokelab.nifti import read_grid, read_lesion
from strokelab.preparation.store import PreparedStore
from strokelab.report.outside import outside_notes
from strokelab.report.terminal import results_table
from strokelab.runs import load_ensemble, load_run
from strokelab.scoring import score_cases
from strokelab.scoring.tables import read_scores, write_scores

WINDOWS = {"_target_": "strokelab.inference.centre_window.CentreWindow", "window": [8, 8, 8], "region": "centre"}


@pytest.fixture(scope="module")
def members(trained_unet, tmp_path_factory):
    """Two untrained runs of a 3D network with a centre window, and one whose window is another."""
    place = tmp_path_factory.mktemp("centre")
    windows = [WINDOWS, WINDOWS, {**WINDOWS, "window": [24, 4, 4]}]
    return [volume_sibling(trained_unet, place / f"m{n}", seed=n, windows=one) for n, one in enumerate(windows)]


@pytest.fixture(scope="module")
def cases(t1_cohort):
    return read_cases("atlas_v1", t1_cohort)[:3]


@pytest.fixture(scope="module")
def stored(cases, members, tmp_path_factory):
    store = PreparedStore(tmp_path_factory.mktemp("store"))
    return [*store.prepare(cases, load_run(members[0]).view.preparation, progress=False)]


def shares(cases, covered):
    found = []
    for case in cases:
        lesion = read_lesion(case.lesions, read_grid(case.reference_image), case.reference_image) != 0
        found.append((lesion & ~covered[case.case_id]).sum() / lesion.sum())
    return found


def test_each_row_has_the_share_of_its_lesion_outside_and_the_tables_keep_it(members, cases, stored, tmp_path):
    kept = {}
    scores = score_cases(
        load_run(members[0]), cases, stored, progress=False, keep=lambda case, made: kept.update({case.case_id: made})
    )
    covered = {name: made.covered for name, made in kept.items()}
    for made in kept.values():
        assert not made.probability[~made.covered].any()
        assert made.probability[made.covered].all()
    assert scores.cases["lesion_outside"].tolist() == shares(cases, covered)
    assert 0 < scores.cases["lesion_outside"].max() <= 1
    write_scores(scores, tmp_path / "cases.csv", tmp_path / "probabilities.csv")
    again = read_scores(tmp_path / "cases.csv", tmp_path / "probabilities.csv")
    pd.testing.assert_frame_equal(again.cases, scores.cases)
    rows = scores.cases
    total = (rows["lesion_outside"] * (rows["tp"] + rows["fn"])).sum() / (rows["tp"] + rows["fn"]).sum()
    (note,) = outside_notes(rows, "run")
    assert f"{100 * total:.1f} %" in note
    assert note in str(results_table(rows, "t").caption)


def test_runs_that_look_everywhere_have_no_such_column(members, trained_unet, cases, stored):
    for run in (load_run(trained_unet), load_run(members[0], windows="full")):
        rows = score_cases(run, cases[:1], stored[:1], progress=False).cases
        assert "lesion_outside" not in rows
        assert outside_notes(rows, "run") == []


def test_the_mean_of_members_looks_where_one_of_them_does(members, cases, stored):
    alone = [load_run(folder).predict_prepared(stored[0].load()).covered for folder in members]
    same, mixed = load_ensemble(members[:2]), load_ensemble(members)
    np.testing.assert_array_equal(same.predict_prepared(stored[0].load()).covered, alone[0])
    np.testing.assert_array_equal(mixed.predict_prepared(stored[0].load()).covered, alone[0] | alone[2])


def test_a_word_is_the_region_of_the_windows(members, stored):
    full = load_run(members[0], windows={"region": "full"})
    assert load_run(members[0], windows="full").view.windows == full.view.windows
    assert load_run(members[0], windows="full").provenance["inference"] == "32, region=full"
    assert load_run(members[0], windows="centre").provenance["inference"] == "32"
    both = load_ensemble(members[:2], windows="full")
    assert {member.inference for member in both.members} == {"32, region=full"}
    assert both.predict_prepared(stored[0].load()).covered is None
    assert len(load_ensemble(members[:1], windows=["full", "centre"]).members) == 2
    for given in (["full"], ["region=full"]):
        assert Applying(windows=given).load([members[0]]).view.windows == full.view.windows


def test_a_region_that_windows_do_not_have(members, trained_unet):
    with pytest.raises(ConfigError) as caught:
        load_run(trained_unet, windows="full")
    assert caught.value.where == "windows=full"
    with pytest.raises(ConfigError, match=r"view\.windows\.region"):
        load_run(members[0], windows="half")
