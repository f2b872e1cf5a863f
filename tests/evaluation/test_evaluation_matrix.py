"""``strokelab matrix``: every run on every dataset; what was predicted before is not predicted again."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from evaluation_settings import write_member, write_multirun
from sibling_runs import any_contrast_sibling, sibling

from strokelab.errors import ConfigError, DataError
from strokelab.evaluation import matrix as rooms
from strokelab.evaluation.candidates import candidates_of
from strokelab.evaluation.datasets import Dataset, datasets_of
from strokelab.evaluation.matrix import cells_of, matrix
from strokelab.phantoms.cohort import write_cohort
from strokelab.report.train_by_test import ENSEMBLE
from strokelab.scoring import read_scores


@pytest.fixture(scope="module")
def v2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("v2")
    return write_cohort("atlas_v2", folder / "c", spacing=8.0, sites=2, cases_per_site=2, progress=False)


@pytest.fixture(scope="module")
def synth(trained_unet, tmp_path_factory):
    return any_contrast_sibling(trained_unet, tmp_path_factory.mktemp("runs") / "synth", seed=1, name="synthstroke")


@pytest.fixture(scope="module")
def first(trained_unet, synth, t1_cohort, isles_cohort, tmp_path_factory):
    """Two models on two datasets."""
    place = tmp_path_factory.mktemp("first")
    words = [f"atlas_v1={t1_cohort},mine={isles_cohort}"]
    matrix([trained_unet, synth], words, place / "out", store=place / "store", register="never")
    return place


def table_of(place: Path) -> pd.DataFrame:
    return pd.read_csv(place / "cases.csv")


def test_held_out_cases_have_the_numbers_of_the_runs_own_table(first, trained_unet):
    rows = table_of(first / "out").query("run == 'unet2d' and dataset == 'atlas_v1'").set_index("case")
    own = read_scores(trained_unet / "cases.csv", trained_unet / "probabilities.csv").cases.set_index("case")
    assert sorted(rows.index) == sorted(own.index)
    for metric in ("dice", "tp", "volume_difference"):
        assert rows[metric].to_dict() == pytest.approx(own[metric].to_dict(), abs=0)
    tested = pd.read_csv(first / "out/tables/tested.csv").set_index(["Run", "Tested on"])
    assert tested.loc[("unet2d", "atlas_v1"), "Left out, seen in training"] == "6 cases of 5 subjects"
    assert tested.loc[("unet2d", "mine"), "Cases"] == 6


def test_a_model_of_one_contrast_has_a_row_for_every_modality_and_their_mean(first):
    rows = table_of(first / "out").query("dataset == 'mine'")
    assert not rows["error"].notna().any()
    counts = rows.groupby(["run", "modality"])["case"].count()
    assert counts.to_dict() == {
        (run, name): 6 for run in ("unet2d", "synthstroke") for name in ("DWI", "ADC", "FLAIR", ENSEMBLE)
    }
    assert set(rows.loc[rows["main"], "modality"]) == {ENSEMBLE}


def test_a_second_call_predicts_nothing_and_gives_the_same(first, trained_unet, synth, t1_cohort, isles_cohort):
    """In a process of its own, which does not even import torch."""
    code = (
        "import sys; from strokelab.cli import main; main.__globals__['app'](sys.argv[1:], standalone_mode=False); "
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    words = ["matrix", trained_unet, synth, "--on", f"atlas_v1={t1_cohort}", "--on", f"mine={isles_cohort}"]
    words += ["--out", first / "again", "--store", first / "store", "--register", "never"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("predicted before") == 4
    assert (first / "again/cases.csv").read_bytes() == (first / "out/cases.csv").read_bytes()
    assert "Train by test" in (first / "again/report.html").read_text()


def test_what_changed_is_predicted_again(first, synth, isles_cohort, monkeypatch, tmp_path):
    def forbidden(*args, **named):
        raise AssertionError("nothing is to be predicted")

    copy = Path(shutil.copytree(isles_cohort, tmp_path / "elsewhere"))
    monkeypatch.setattr(rooms, "_predicted", forbidden)
    # The same files by content.
    matrix([synth], [f"moved={copy}"], tmp_path / "out", store=first / "store", register="never")
    assert set(table_of(tmp_path / "out")["dataset"]) == {"moved"}
    with pytest.raises(AssertionError, match="nothing is to be predicted"):
        matrix([synth], [f"moved={copy}"], tmp_path / "out", store=first / "store", profile="isles22", register="never")
    lesion = next(copy.rglob("*_msk.nii.gz"))
    shutil.copy(next(path for path in copy.rglob("*_msk.nii.gz") if path != lesion), lesion)
    with pytest.raises(AssertionError, match="nothing is to be predicted"):
        matrix([synth], [f"moved={copy}"], tmp_path / "out", store=first / "store", register="never")


def test_a_run_whose_contrasts_a_dataset_lacks_is_a_cell_with_its_reason(trained_unet, t1_cohort, isles_cohort):
    import dataclasses

    (run,) = candidates_of([trained_unet], [], checkpoint=None, allow=[])
    several = dataclasses.replace(run.preparation, modalities=("DWI", "FLAIR"))
    run = dataclasses.replace(run, preparation=several)
    cells = cells_of([run], datasets_of([f"atlas_v1={t1_cohort}", f"isles2022={isles_cohort}"]))
    assert [cell.reason for cell in cells] == ["no DWI, FLAIR: the dataset has T1w", ""]
    assert (len(cells[1].cases), cells[1].contrasts, cells[1].main) == (6, (), "DWI + FLAIR")


def test_a_sweep_is_one_model_and_its_failed_members_are_named(trained_unet, v2, tmp_path):
    sweep = write_multirun(tmp_path / "sweep", "seed=0,1,2", subdir="seed${seed}")
    sibling(trained_unet, sweep / "seed0", nudge=1)
    sibling(trained_unet, sweep / "seed1", nudge=2, seed=1)
    write_member(sweep / "seed2", "failed", "seed=2", error="DataError: a broken scan")
    page = matrix([sweep], [f"v2={v2}"], tmp_path / "out", store=tmp_path / "store").read_text()
    assert "1 of 3 members of the sweep have no result" in page
    assert "a broken scan" in page
    table = pd.read_csv(tmp_path / "out/matrix.csv").query("metric == 'dice' and statistic == 'mean'")
    rows = table_of(tmp_path / "out")
    assert (table["runs"].item(), table["n"].item(), len(rows)) == (2, 4, 8)
    assert table["estimate"].item() == pytest.approx(rows["dice"].mean(), abs=1e-12)


def test_runs_of_one_name_are_told_apart_by_their_folders(trained_unet, tmp_path):
    twins = [sibling(trained_unet, tmp_path / name, nudge=number) for number, name in enumerate(("one", "two"))]
    found = candidates_of(twins, [], checkpoint=None, allow=[])
    assert [run.model for run in found] == ["unet2d one", "unet2d two"]


def test_datasets_that_cannot_be_tested_on(t1_cohort, isles_cohort, tmp_path):
    for words, found in {
        ("atlas_v3",): "'atlas_v3'",
        (f"{t1_cohort}",): "mine=",
        (f"a={t1_cohort}", f"a={isles_cohort}"): "the name a twice",
        (f"a={t1_cohort},b={t1_cohort}",): "twice (a, b)",
        (): "no dataset",
    }.items():
        with pytest.raises(ConfigError) as caught:
            datasets_of(words)
        assert found in str(caught.value)
    images = tmp_path / "own" / "images"
    images.mkdir(parents=True)
    shutil.copy(next(t1_cohort.rglob("*_t1w*_stx.nii*")), images / "c1_T1w.nii.gz")
    with pytest.raises(DataError, match="none with a lesion mask"):
        datasets_of([f"mine={tmp_path / 'own'}"])


def test_two_datasets_may_have_equal_case_ids(trained_unet, v2, t1_cohort):
    (run,) = candidates_of([trained_unet], [], checkpoint=None, allow=[])
    (one,) = datasets_of([f"v2={v2}"])
    two = Dataset("copy", one.reader, one.root, one.cases, phantom=True)
    cells = cells_of([run], [one, two])
    assert [cell.dataset.name for cell in cells] == ["v2", "copy"]
    assert {case.case_id for case in cells[0].cases} == {case.case_id for case in cells[1].cases}
