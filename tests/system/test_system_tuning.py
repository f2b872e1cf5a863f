"""Threshold and smallest component from the end of a training to the tables of a sweep, in real processes."""

import json
import signal

import numpy as np
import pandas as pd
import pytest

from strokelab.inference.tune import Search, at_pair, best_pair
from strokelab.runs import load_ensemble, load_run

WRITTEN = "strokelab.training.tuning.write_found"
SCORING = "strokelab.training.test_part.write_scores"
SIZES = [1, 10, 200]
SEARCH = Search(sizes=(1, 10, 200))


@pytest.fixture(scope="module")
def settings(tiny):
    given = [item for item in tiny if "case_metrics" not in item and not item.startswith("data.val_fraction")]
    given += ["model=unet2d", "callbacks.progress=null", "callbacks.case_metrics.every_n_epochs=1"]
    return [*given, "split=kfold", "split.folds=3", "trainer.max_epochs=1"]


@pytest.fixture(scope="module")
def tuned(settings):
    """Held-out cases choose the pair and test it, as in SUNet's cross-validation."""
    sizes = f"postprocess.sizes={SIZES}".replace(" ", "")
    return [*settings, "postprocess=tuned", sizes, "split.val_fraction=0", "+data.curves=held_out_selects"]


@pytest.fixture(scope="module")
def sweep(tuned, doors, tmp_path_factory):
    """Three folds of one model; the second is killed twice on its way."""
    folder = tmp_path_factory.mktemp("sweep")
    for fold in range(3):
        command = [*tuned, f"split.fold={fold}", f"run_dir={folder / str(fold)}"]
        if fold == 1:
            killed = doors.train(*command, cwd=folder, kill_at=(WRITTEN, 1))
            assert killed.status == -signal.SIGKILL
            assert not (folder / "1" / "tuning.json").exists()
            killed = doors.train(*command, "resume=auto", cwd=folder, kill_at=(SCORING, 1))
            assert killed.status == -signal.SIGKILL
            before = (folder / "1" / "tuning.json").stat().st_mtime_ns
            doors.train(*command, "resume=auto", cwd=folder).check()
            assert (folder / "1" / "tuning.json").stat().st_mtime_ns == before, "a pair that was found stands"
        else:
            doors.train(*command, cwd=folder).check()
        assert not (folder / str(fold) / ".maps").exists()
    return folder


def test_the_test_part_is_scored_with_the_pair_that_was_found(sweep):
    for fold in "012":
        table, found = pd.read_csv(sweep / fold / "tuning.csv"), json.loads((sweep / fold / "tuning.json").read_text())
        pair = best_pair(table, SEARCH)
        assert (found["threshold"], found["min_voxels"], found["cases"]) == (
            pair.threshold,
            pair.size,
            table["case"].nunique(),
        )
        assert found["tested"]
        scored = pd.read_csv(sweep / fold / "cases.csv")
        node = json.loads(scored["postprocessing"][0])
        assert (node["threshold"], node["min_voxels"]) == (pair.threshold, pair.size)
        looked_up = at_pair(table, SEARCH, pair)
        assert list(looked_up["case"]) == list(scored["case"])
        for metric in ("dice", "precision", "recall"):
            np.testing.assert_array_equal(looked_up[metric], scored[metric])
        np.testing.assert_allclose(looked_up["hd_mm"].fillna(np.inf), scored["hd"], rtol=1e-12)


def test_a_sweep_is_looked_up_and_its_mean_takes_the_pair_of_all(sweep, doors, tmp_path):
    runs = ",".join(str(sweep / fold) for fold in "012")
    done = doors.evaluate(f"runs=[{runs}]", "out=out", "save_predictions=false", cwd=tmp_path).check()
    assert "Predicting" not in done.output
    tables = [pd.read_csv(sweep / fold / "tuning.csv") for fold in "012"]
    every = pd.concat(tables, ignore_index=True)
    pair = best_pair(every, SEARCH)
    nested = [
        at_pair(own, SEARCH, best_pair(every[~every["case"].isin(own["case"])], SEARCH))["dice"] for own in tables
    ]
    shown = pd.read_csv(tmp_path / "out/tables/tuning.csv").set_index("Pair")
    assert float(shown.loc["one pair", "Threshold"]) == pair.threshold
    assert shown.loc["one pair", "Cases"] == 9
    expected = {"one pair": at_pair(every, SEARCH, pair)["dice"].mean(), "nested": pd.concat(nested).mean()}
    for kind, dice in expected.items():
        assert shown.loc[kind, "Dice ↑ [number]"] == pytest.approx(dice)
    mean = json.loads(load_ensemble([sweep / fold for fold in "012"]).provenance["postprocess"])
    assert (mean["threshold"], mean["min_voxels"]) == (pair.threshold, pair.size)


def test_a_run_without_a_search_is_searched_when_it_is_evaluated(settings, doors, tmp_path):
    """On its validation part, beside the tables; without one, the error says what to do."""
    for fraction in ("0.3", "0"):
        run = f"run_dir=run{fraction}"
        doors.train(*settings, f"split.val_fraction={fraction}", run, cwd=tmp_path).check()
    before = {path: path.read_bytes() for path in (tmp_path / "run0.3").rglob("*") if path.is_file()}
    words = ["postprocess=tuned", f"postprocess.sizes={SIZES}".replace(" ", ""), "save_predictions=false"]
    doors.evaluate("runs=[run0.3]", "out=out", *words, cwd=tmp_path).check()
    assert {path: path.read_bytes() for path in (tmp_path / "run0.3").rglob("*") if path.is_file()} == before
    (place,) = (tmp_path / "out/tuning").iterdir()
    found = json.loads((place / "tuning.json").read_text())
    assert set(pd.read_csv(place / "tuning.csv")["case"]) == set(load_run(tmp_path / "run0.3").split.val)
    assert not found["tested"]
    node = json.loads(pd.read_csv(tmp_path / "out/cases.csv")["postprocessing"][0])
    assert (node["threshold"], node["min_voxels"]) == (found["threshold"], found["min_voxels"])
    refused = doors.evaluate("runs=[run0]", "out=none", *words, cwd=tmp_path)
    assert refused.status == 1
    assert "no labelled case in its validation part" in refused.output
    pair = ["postprocess.threshold=0.5", "postprocess.min_voxels=200"]
    doors.evaluate("runs=[run0]", "out=given", *words, *pair, cwd=tmp_path).check()


def test_a_training_with_nothing_to_find_the_pair_on_is_refused(settings, doors, tmp_path):
    refused = doors.train(*settings, "postprocess=tuned", "split.val_fraction=0", "run_dir=run", cwd=tmp_path)
    assert refused.status == 1
    assert not (tmp_path / "run").exists()
