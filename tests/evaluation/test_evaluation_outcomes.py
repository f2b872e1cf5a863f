"""Nothing is predicted twice: a run's own tables stand where predicting again gives the same, and only there."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from evaluation_settings import evaluation_settings

from strokelab import runs
from strokelab.errors import RunError
from strokelab.evaluation.entries import entries_of
from strokelab.evaluation.outcomes import Outcome, outcomes_of, with_overlays
from strokelab.evaluation.own_tables import own_scores
from strokelab.evaluation.sweep import Finished
from strokelab.runs import Run
from strokelab.scoring import Scores, write_scores


@pytest.fixture
def member(a_run):
    return Finished(a_run, "sgnet-fold0-seed0", {"split.fold": "0"})


def scored(member, out, **changed) -> Outcome:
    settings = evaluation_settings(**changed)
    entries = entries_of([], [member], settings)
    return with_overlays(outcomes_of(entries, settings, out), settings)[0]


@pytest.fixture
def predictions(monkeypatch):
    """The ids of the cases that are predicted from here on."""
    seen = []
    original = Run.predict_prepared
    monkeypatch.setattr(Run, "predict_prepared", lambda self, p: seen.append(p.case_id) or original(self, p))
    return seen


def written(scores: Scores, folder: Path) -> tuple[bytes, bytes]:
    write_scores(scores, folder / "c.csv", folder / "p.csv")
    return (folder / "c.csv").read_bytes(), (folder / "p.csv").read_bytes()


def test_large_and_small_lesions_come_with_their_probabilities_where_asked_for(member, tmp_path, predictions):
    plain = scored(member, tmp_path / "a")
    assert plain.size_overlays == ()
    for more in ({}, {"rescore": True}):  # predicted for the pictures alone, and for the tables
        outcome = scored(member, tmp_path / "b", overlays="size", **more)
        labels = [overlay.label for overlay in outcome.size_overlays]
        assert labels == sorted(labels)
        assert {"large", "small"} == set(labels)
        for overlay in outcome.size_overlays:
            assert np.array_equal(overlay.probability > 0.5, overlay.prediction != 0)
        assert [(one.label, one.case) for one in outcome.overlays] == [(one.label, one.case) for one in plain.overlays]


def test_own_tables_are_those_of_predicting_again_to_the_last_digit(member, tmp_path, predictions):
    own = scored(member, tmp_path / "own")
    assert own.again == ""
    assert set(predictions) == {overlay.case for overlay in own.overlays}
    again = scored(member, tmp_path / "again", rescore=True)
    assert again.again == "asked for with rescore=true"
    assert written(own.scores, tmp_path / "a") == written(again.scores, tmp_path / "b")
    pd.testing.assert_frame_equal(own.scores.cases, again.scores.cases, check_exact=True)
    pd.testing.assert_frame_equal(own.scores.probabilities, again.scores.probabilities, check_exact=True)
    for one, other in zip(own.overlays, again.overlays, strict=True):
        assert (one.label, one.case, one.dice) == (other.label, other.case, other.dice)
        assert np.array_equal(one.prediction, other.prediction)
        assert np.array_equal(one.image, other.image)


def test_pictures_cost_no_second_prediction(member, tmp_path, predictions):
    outcome = scored(member, tmp_path, rescore=True)
    assert sorted(predictions) == sorted(outcome.scores.cases["case"])
    assert len(outcome.overlays) == 3
    for overlay in outcome.overlays:
        row = outcome.scores.cases.set_index("case").loc[overlay.case]
        assert overlay.dice == pytest.approx(row["dice"])


def test_runs_of_a_sweep_are_not_saved_unless_asked_for(member, tmp_path):
    scored(member, tmp_path / "a", rescore=True)
    assert not (tmp_path / "a").exists()
    outcome = scored(member, tmp_path / "b", save_predictions=True)
    assert outcome.again == "predictions are to be saved"
    saved = [*(tmp_path / "b/predictions/strokelab-sgnet-fold0-seed0").rglob("*mask.nii.gz")]
    assert len(saved) == len(outcome.scores.cases)


def damaged(name):
    def damage(folder):
        (folder / name).write_text("\0")

    return damage


def changed(name, change):
    def damage(folder):
        change(pd.read_csv(folder / name, dtype=str, keep_default_na=False)).to_csv(folder / name, index=False)

    return damage


def other_weights(folder):
    import torch

    path = folder / "checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    next(iter(content["state_dict"].values())).add_(1e-3)
    torch.save(content, path)


STRICT = {"_target_": "strokelab.inference.postprocess.threshold", "_partial_": True, "threshold": 0.9}
CASES, PROBABILITIES = runs.CASES, runs.PROBABILITIES


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / PROBABILITIES).unlink(), "probabilities.csv: no such file"),
        (lambda folder: (folder / CASES).unlink(), "cases.csv: no such file"),
        (other_weights, "another weights"),
        (changed(CASES, lambda t: t.drop(columns="weights")), "no column 'weights'"),
        (changed(CASES, lambda t: t.drop(columns="hd95")), "no hd95"),
        (changed(CASES, lambda t: t.assign(version="0.0.1")), "another version"),
        (changed(CASES, lambda t: t.assign(profile=["atlas", *t["profile"][1:]])), "another profile"),
        (changed(CASES, lambda t: t.assign(dataset="isles2022")), "other cases"),
        (changed(CASES, lambda t: t[1:]), "other cases"),
        (changed(CASES, lambda t: pd.concat([t, t])), "other cases"),
        (changed(CASES, lambda t: t[::-1]), "other cases"),
        (changed(CASES, lambda t: t.assign(error=["no mask", *t["error"][1:]])), "cases that failed"),
        (changed(CASES, lambda t: t.assign(dice="good")), "column dice"),
        (changed(PROBABILITIES, lambda t: t[t["case"] != t["case"][0]]), "probabilities"),
        (damaged(CASES), "cases.csv"),
        (damaged(PROBABILITIES), "probabilities.csv"),
    ],
)
def test_other_tables_are_not_taken(member, tmp_path, damage, reason):
    damage(member.folder)
    settings = evaluation_settings()
    found = own_scores(entries_of([], [member], settings)[0], settings)
    assert isinstance(found, str)
    assert reason in found


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"profile": "atlas"}, "another profile"),
        ({"part": "val"}, "other cases are asked for"),
        ({"postprocess": STRICT}, "another postprocessing"),
        ({"checkpoint": "best"}, "another checkpoint"),
    ],
)
def test_other_questions_are_not_answered_by_them(member, tmp_path, asked, reason):
    settings = evaluation_settings(**asked)
    assert own_scores(entries_of([], [member], settings)[0], settings) == reason


def test_where_the_data_are_elsewhere_the_tables_stand_alone(member, tmp_path, predictions):
    config = yaml.safe_load((member.folder / "config.yaml").read_text())
    config["cohort"]["root"] = str(tmp_path / "gone")
    (member.folder / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = scored(member, tmp_path / "out")
    assert (outcome.again, outcome.overlays, predictions) == ("", (), [])
    assert len(outcome.scores.cases) == 3
    with pytest.raises(RunError, match="gone"):
        scored(member, tmp_path / "out", rescore=True)


def test_of_a_sweep_the_models_are_looked_at_and_of_a_few_runs_each(member, tmp_path):
    other = Path(shutil.copytree(member.folder, tmp_path / "other"))
    config = yaml.safe_load((other / "config.yaml").read_text())
    (other / "config.yaml").write_text(yaml.safe_dump(config | {"seed": 1}))
    second = Finished(other, "sgnet-fold0-seed1", {"seed": "1"})
    settings = evaluation_settings()
    swept = with_overlays(outcomes_of(entries_of([], [member, second], settings), settings, tmp_path), settings)
    labels = [overlay.label for outcome in swept for overlay in outcome.overlays]
    assert sorted(labels) == ["best", "median", "worst", "worst 2"]
    settings = evaluation_settings(save_predictions=False)
    listed = entries_of([str(member.folder), str(other)], [], settings)
    each = with_overlays(outcomes_of(listed, settings, tmp_path), settings)
    assert [[overlay.label for overlay in outcome.overlays] for outcome in each] == [["best", "median", "worst"]] * 2
