"""``evaluate.py ensemble=``: who is averaged for whom, the rows that come of it, and what is refused by name."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from evaluation_settings import write_multirun
from sibling_runs import sibling

from strokelab.configuration import build, compose, plain
from strokelab.data import read_cases
from strokelab.errors import ConfigError
from strokelab.evaluation import evaluate
from strokelab.evaluation.averaging import plan_averaging
from strokelab.evaluation.entries import entries_of
from strokelab.evaluation.sweep import gather
from strokelab.inference.postprocess import mapping
from strokelab.preparation.recipe import prepare
from strokelab.runs import load_run

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


def asked(sweep, out, *overrides):
    return compose("evaluate", [f"sweeps=[{sweep}]", f"out={out}", "ensemble=mapping", *overrides])


@pytest.fixture(scope="module")
def evaluated(sweep, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated")
    evaluate(asked(sweep, out, "save_predictions=true", "ensemble.disagreement=true"))
    return out


@pytest.fixture(scope="module")
def table(evaluated):
    return pd.read_csv(evaluated / "cases.csv")


def test_each_scheme_and_the_ensemble_without_and_with_post_processing_are_rows(table):
    rows = table.groupby("run")["case"].nunique()
    members = {f"{name}-fold{fold}-seed0": 3 for name in SCHEMES for fold in FOLDS}
    assert rows.to_dict() == {**members, "mapping_ensemble": 9, "mapping_ensemble + PP": 9}
    assert table["error"].isna().all()


def test_a_case_is_averaged_over_the_runs_that_tested_it_and_no_other(table, sweep, cases):
    own = table[table["run"] == "mapping_ensemble"].set_index("case")
    counted = pd.read_csv
    assert counted
    for index, case in enumerate(cases[:4]):
        fold = index % 3
        members = [load_run(sweep / f"{name}-fold{fold}-seed0") for name in SCHEMES]
        prepared = prepare(case, members[0].view.preparation)
        mean = np.mean([run.probability(prepared) for run in members], axis=0)
        assert own.loc[case.case_id, "prediction_ml"] == pytest.approx((mean >= 0.5).sum() * 512 / 1000, abs=0.6)
        assert str(own.loc[case.case_id, "fold"]) == str(fold)


def test_both_rows_come_of_the_same_maps(evaluated, cases):
    from nibabel import load

    for case in cases[:2]:
        plain, finished = (
            next((evaluated / "predictions" / f"strokelab-{name}").rglob(f"*{case.case_id.split('_')[0]}*mask.nii.gz"))
            for name in ("mapping_ensemble", "mapping_ensemble-+-PP")
        )
        probability = load(str(plain).replace("mask", "probseg")).get_fdata().astype(np.float32)
        same = load(str(finished).replace("mask", "probseg")).get_fdata().astype(np.float32)
        np.testing.assert_array_equal(probability, same)
        np.testing.assert_array_equal(load(finished).get_fdata(), mapping(probability, voxel_mm3=512))
        disagreement = load(str(plain).replace("mask", "desc-disagreement_probseg")).get_fdata()
        assert 0 < disagreement.max() <= 0.5
