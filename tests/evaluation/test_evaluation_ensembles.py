"""``evaluate.py ensemble=``: who is averaged for whom, the rows that come of it, and what is refused by name."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from evaluation_settings import write_multirun
from sibling_runs import sibling

from strokelab.configuration import build, compose, conf_folder, plain
from strokelab.data import read_cases
from strokelab.errors import ConfigError, DataError, RunError
from strokelab.evaluation import evaluate
from strokelab.evaluation.averaging import assign
from strokelab.evaluation.ensembles import ensemble_outcomes
from strokelab.evaluation.entries import entries_of
from strokelab.evaluation.sweep import gather
from strokelab.preparation.recipe import prepare
from strokelab.preparation.store import StoredCase
from strokelab.runs import load_ensemble, load_run

SCHEMES = ("nnunet", "nnunet_topk")
FOLDS = range(3)


@pytest.fixture(scope="module")
def cases(t1_cohort):
    return read_cases("atlas_v1", t1_cohort)


@pytest.fixture(scope="module")
def sweep(trained_unet, cases, tmp_path_factory):
    """Two schemes of three folds of three cases each."""
    folder = tmp_path_factory.mktemp("sweep")
    write_multirun(folder, f"model={','.join(SCHEMES)}", "split.fold=range(0,3)")
    for number, (name, fold) in enumerate((name, fold) for name in SCHEMES for fold in FOLDS):
        tested = [case.case_id for case in cases[fold::3]]
        place = folder / f"{name}-fold{fold}-seed0"
        sibling(trained_unet, place, nudge=number + 1, fold=fold, test=tested, name=name)
        (place / "environment.json").write_text(json.dumps({"overrides": [f"model={name}", f"split.fold={fold}"]}))
    return folder


@pytest.fixture(scope="module")
def settings(sweep):
    # Models of a second's training are sure of nothing: high levels make the post-processing do something.
    overrides = ["ensemble=mapping", "ensemble.rows.PP.high_large=0.9", "ensemble.rows.PP.fallback_margin=0.01"]
    return plain(compose("evaluate", [f"sweeps=[{sweep}]", "out=unused", *overrides]))


@pytest.fixture(scope="module")
def entries(sweep, settings):
    return entries_of([], gather(sweep).finished, settings)


def averaging(settings, **changed):
    return build({**settings["ensemble"], **changed})


def scored(entries, settings, out, **changed):
    chosen = averaging(settings, **changed)
    outcomes = ensemble_outcomes(assign(entries, chosen), chosen, settings, out)
    return {outcome.entry.label: outcome for outcome in outcomes}


@pytest.fixture(scope="module")
def outcomes(entries, settings, tmp_path_factory):
    return scored(entries, settings, tmp_path_factory.mktemp("out"))


def mean_of(folders, case):
    runs = [load_run(folder) for folder in folders]
    prepared = prepare(case, runs[0].view.preparation)
    return np.mean([run.scores(prepared).lesion for run in runs], axis=0, dtype=np.float64).astype(np.float32)


def test_a_case_is_averaged_over_the_runs_that_tested_it(outcomes, sweep, cases):
    assert list(outcomes) == ["mapping_ensemble", "mapping_ensemble + PP"]
    posts = {label: outcome.entry.recipe["postprocessing"] for label, outcome in outcomes.items()}
    for case, fold in ((cases[0], 0), (cases[4], 1)):
        folders = [sweep / f"{name}-fold{fold}-seed0" for name in SCHEMES]
        for label, post in posts.items():
            prediction = load_ensemble(folders, postprocess=json.loads(post)).predict(case)
            np.testing.assert_array_equal(outcomes[label].masks.mask(case.case_id), prediction.mask)
    assert (
        outcomes["mapping_ensemble"].scores.cases["tp"] != outcomes["mapping_ensemble + PP"].scores.cases["tp"]
    ).any()


def test_both_rows_are_whole_tables_with_the_fold_of_each_case(outcomes, cases):
    for label, outcome in outcomes.items():
        table = outcome.scores.cases
        assert list(table["case"]) == [case.case_id for fold in FOLDS for case in cases[fold::3]]
        assert table["fold"].tolist() == [str(fold) for fold in FOLDS for _ in range(3)]
        assert set(table["run"]) == {label}
        assert set(table["error"]) == {""}
        assert table["weights"].nunique() == 3, "each fold has its own members"
    one, other = (outcome.scores for outcome in outcomes.values())
    assert (one.cases["weights"] == other.cases["weights"]).all()
    assert one.cases["postprocessing"].iloc[0] != other.cases["postprocessing"].iloc[0]
    pd.testing.assert_frame_equal(one.probabilities.drop(columns="run"), other.probabilities.drop(columns="run"))


def test_checkpoints_of_each_run_are_averaged(trained_unet, settings, cases, tmp_path):
    """A row of all checkpoints of all runs of a case; a run's own row is that of the checkpoint named first."""
    folders = [
        sibling(trained_unet, tmp_path / f"{fold}", nudge=fold + 1, fold=fold, test=[cases[fold].case_id])
        for fold in (0, 1)
    ]
    for fold, folder in enumerate(folders):
        other = sibling(trained_unet, tmp_path / f"other{fold}", nudge=fold + 9)
        shutil.copy(other / "checkpoints" / "last.ckpt", folder / "checkpoints" / "best.ckpt")
    chosen = {**settings, "sweeps": [], "runs": [str(folder) for folder in folders], "checkpoint": ["last", "best"]}
    entries = entries_of(chosen["runs"], [], chosen)
    assert {entry.recipe["checkpoint"] for entry in entries} == {"last.ckpt"}
    averaged = averaging(chosen, rows={"plain": settings["ensemble"]["rows"]["plain"]})
    assignment = assign(entries, averaged, checkpoints="2")
    assert "mean of 1 of 2 runs, 2 checkpoints of each" in assignment.notes[0]
    (outcome,) = ensemble_outcomes(assignment, averaged, chosen, tmp_path / "out")
    assert set(outcome.scores.cases["checkpoint"]) == {"best.ckpt, last.ckpt"}
    for case, folder in zip(cases, folders, strict=False):
        expected = load_ensemble([folder], checkpoint=["last", "best"]).predict(case).mask
        np.testing.assert_array_equal(outcome.masks.mask(case.case_id), expected)
    (folders[1] / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(RunError, match=r"best\.ckpt"):  # before anything is predicted
        entries_of(chosen["runs"], [], chosen)


def test_members_that_prepare_differently_are_averaged_on_the_native_grid(trained_unet, settings, cases, tmp_path):
    folders = [sibling(trained_unet, tmp_path / name, nudge=n + 1, name=name) for n, name in enumerate("ab")]
    config = yaml.safe_load((folders[1] / "config.yaml").read_text())
    config["view"]["preparation"]["spacing"] = [6, 6, 6]
    (folders[1] / "config.yaml").write_text(yaml.safe_dump(config))
    entries = entries_of([str(folder) for folder in folders], [], settings)
    found = scored(entries, settings, tmp_path / "out")
    case = entries[0].cohort.cases[0]
    runs = [load_run(folder) for folder in folders]
    maps = [run.predict_prepared(prepare(case, run.view.preparation)).probability for run in runs]
    mean = np.mean(maps, axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(found["mapping_ensemble"].masks.mask(case.case_id), mean >= 0.5)
    assert set(found["mapping_ensemble"].scores.cases["error"]) == {""}


def of_other_data(entries, cases):
    """As if all runs were evaluated on data that none has seen."""
    return [replace(entry, cohort=replace(entry.cohort, cases=tuple(cases[:1]))) for entry in entries]


def test_of_data_nobody_trained_on_all_runs_are_averaged_and_each_scheme_too(entries, settings, cases, sweep, tmp_path):
    chosen = of_other_data(entries, cases)
    assignment = assign(chosen, averaging(settings))
    assert [len(one.members) for one in assignment.cases] == [6]
    found = scored(chosen, settings, tmp_path, disagreement=True)
    names = ["mapping_ensemble", "mapping_ensemble + PP", "nnunet (mean of 3)", "nnunet_topk (mean of 3)"]
    assert list(found) == names
    digests = {label: outcome.scores.cases["weights"].iloc[0] for label, outcome in found.items()}
    assert len(set(digests.values())) == 3
    all_six, of_topk = (
        mean_of([sweep / f"{name}-fold{fold}-seed0" for name in schemes for fold in FOLDS], cases[0])
        for schemes in (SCHEMES, SCHEMES[1:])
    )
    voxel_ml = 512 / 1000
    for label, mean in (("mapping_ensemble", all_six), ("nnunet_topk (mean of 3)", of_topk)):
        drawn = found[label].scores.cases["prediction_ml"].iloc[0]
        assert drawn == pytest.approx((mean >= 0.5).sum() * voxel_ml, abs=2.5 * voxel_ml), label
    assert found["nnunet (mean of 3)"].entry.published == ""
    assert found["mapping_ensemble + PP"].entry.published == "mapping_ensemble"


def test_missing_folds_are_refused_by_name_or_reported(entries, settings):
    lacking = [entry for entry in entries if entry.member != "nnunet_topk-fold1-seed0"]
    with pytest.raises(ConfigError, match=r"nnunet_topk has fewer runs .* 3 of 9 cases.*nnunet fold 1"):
        assign(lacking, averaging(settings))
    assignment = assign(lacking, averaging(settings, missing="report"))
    said, gap = assignment.notes
    assert "mean of 1 to 2 of 5 runs" in said
    assert "nnunet_topk has fewer runs" in gap
    assert sorted(len(one.members) for one in assignment.cases) == [1] * 3 + [2] * 6
    assert len(assign(lacking, averaging(settings, schemes=["nnunet"])).cases) == 9


def test_a_fold_that_no_scheme_has_is_told(entries, settings):
    """Nothing is uneven then, and its cases are in no row."""
    whole = [replace(one, settings={**one.settings, "split": {**one.settings["split"], "folds": 3}}) for one in entries]
    assert len(assign(whole, averaging(settings)).notes) == 1
    lacking = [entry for entry in whole if "fold1" not in entry.member]
    assert assign(lacking, averaging(settings)).notes[1] == "mapping_ensemble: no run of fold 1 of 3."


def test_schemes_can_be_named(entries, settings):
    assignment = assign(entries, averaging(settings, schemes=["nnunet_topk"]))
    assert {entry.model for entry in assignment.entries} == {"nnunet_topk"}
    for wrong in (["nnunet_residual"], []):
        with pytest.raises(ConfigError, match=r"ensemble\.schemes"):
            assign(entries, averaging(settings, schemes=wrong))


def test_maps_cannot_be_averaged_where_the_data_are_elsewhere(entries, settings):
    away = replace(entries[0], cohort=replace(entries[0].cohort, cases=(), absent="the old disk"))
    with pytest.raises(ConfigError, match="the old disk"):
        assign([away, *entries[1:]], averaging(settings))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"weights": "best"}, "per_map"),
        ({"missing": "ignore"}, "refuse"),
        ({"rows": {}}, "rows"),
        ({"rows": {"a": 1}}, "rows"),
    ],
)
def test_settings_that_do_not_exist_are_refused(settings, changed, named):
    with pytest.raises(ConfigError, match=named):
        averaging(settings, **changed)


def test_a_damaged_case_has_its_error_in_every_row(entries, settings, tmp_path, monkeypatch, cases):
    original = StoredCase.load

    def load(self):
        if self.case_id == cases[0].case_id:
            raise DataError("a file", found="rubbish", expected="a scan", remedy="copy it again")
        return original(self)

    monkeypatch.setattr(StoredCase, "load", load)
    for outcome in scored(entries[:1] + entries[3:4], settings, tmp_path).values():
        failed = outcome.scores.cases.set_index("case")["error"]
        assert "rubbish" in failed[cases[0].case_id]
        assert (failed.drop(cases[0].case_id) == "").all()
        assert len(failed) == 3


@pytest.mark.slow
def test_evaluate_writes_rows_maps_and_the_effect_of_the_post_processing(sweep, tmp_path):
    overrides = ["ensemble=mapping", "ensemble.alone=true", "ensemble.disagreement=true", "save_predictions=true"]
    page = evaluate(compose("evaluate", [f"sweeps=[{sweep}]", f"out={tmp_path}", *overrides]))
    table = pd.read_csv(tmp_path / "cases.csv")
    assert set(table["run"]) == {"mapping_ensemble", "mapping_ensemble + PP"}
    assert len(table) == 18
    text = page.read_text()
    for words in ("Effect of the post-processing", "mapping_ensemble + PP", "every case is the mean of 2 of 6 runs"):
        assert words in text
    assert (tmp_path / "tables" / "postprocessing.csv").is_file()
    for name in ("strokelab-mapping_ensemble", "strokelab-mapping_ensemble-+-PP"):
        folder = tmp_path / "predictions" / name
        assert len(list(folder.rglob("*_mask.nii.gz"))) == 9
        assert len(list(folder.rglob("*desc-disagreement_probseg.nii.gz"))) == 9


AVERAGINGS = [path for path in (conf_folder() / "ensemble").glob("*.yaml") if "Averaging" in path.read_text()]


@pytest.mark.parametrize("path", sorted(AVERAGINGS), ids=lambda path: path.stem)
def test_every_option_is_an_averaging_with_rows_that_can_be_built(path):
    node = plain(compose("evaluate", ["runs=[a]", "out=unused", f"ensemble={path.stem}"]))["ensemble"]
    made = build(node)
    assert made.label("plain") == made.name
    for post in made.rows.values():
        assert build(post)(np.zeros((4, 4, 4), np.float32)).sum() == 0
