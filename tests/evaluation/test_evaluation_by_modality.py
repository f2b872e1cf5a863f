"""``evaluate.py ensemble=modalities``: each modality of a case alone and their mean, on several data sets at once."""

import numpy as np
import pandas as pd
import pytest
from sibling_runs import any_contrast_sibling

from strokelab.configuration import compose
from strokelab.data import read_cases
from strokelab.evaluation import evaluate
from strokelab.metrics.case import score_row
from strokelab.nifti import read_grid, read_lesion
from strokelab.phantoms.cohort import write_cohort
from strokelab.runs import load_ensemble, load_run


@pytest.fixture(scope="module")
def runs(trained_unet, tmp_path_factory):
    """The two models of the paper by name; the baseline knows T1w alone."""
    place = tmp_path_factory.mktemp("models")
    synth = any_contrast_sibling(trained_unet, place / "synth", seed=1, name="synthstroke")
    baseline = any_contrast_sibling(trained_unet, place / "base", name="synthstroke_baseline")
    config = (baseline / "config.yaml").read_text()
    (baseline / "config.yaml").write_text(config.replace("any_contrast: true", "any_contrast: false"))
    return [synth, baseline]


@pytest.fixture(scope="module")
def siss(tmp_path_factory):
    folder = tmp_path_factory.mktemp("siss")
    return write_cohort("isles2015_siss", folder, spacing=8.0, sites=1, cases_per_site=2, progress=False)


@pytest.fixture(scope="module")
def evaluated(runs, siss, isles_cohort, tmp_path_factory):
    """Both models on both data sets by one command, as if they were of the paper's recipe."""
    out = tmp_path_factory.mktemp("evaluated")
    datasets = f"datasets={{isles2015_siss:'{siss}',isles2022:'{isles_cohort}'}}"
    chosen = [f"runs=[{','.join(map(str, runs))}]", f"out={out}", "ensemble=modalities"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("strokelab.evaluation.material.unlike_recipes", lambda *_: {})
        evaluate(compose("evaluate", [*chosen, datasets, "save_predictions=false", "register=never"]))
    return out


def test_a_row_for_each_modality_and_their_mean(evaluated, runs, isles_cohort, siss):
    table = pd.read_csv(evaluated / "cases.csv")
    assert not table["error"].notna().any()
    counts = table.groupby(["dataset", "modality"])["case"].count().to_dict()
    assert counts == {
        **{("isles2015_siss", name): 4 for name in ("FLAIR", "DWI", "T1", "T2", "ensemble")},
        **{("isles2022", name): 12 for name in ("DWI", "ADC", "FLAIR", "ensemble")},
    }
    case = read_cases("isles2022", isles_cohort)[1]
    grid = read_grid(case.reference_image)
    reference = read_lesion(case.lesions, grid, case.reference_image)
    for name, images in {"FLAIR": ["FLAIR"], "ensemble": ["DWI", "ADC", "FLAIR"]}.items():
        predicted = load_ensemble([runs[0]], modalities=images).predict(case)
        row = table.query(f"run == 'synthstroke isles2022 {name}' and case == '{case.case_id}'").iloc[0]
        expected = score_row(predicted.mask, reference, grid.spacing)
        assert row["dice"] == pytest.approx(expected["dice"], abs=1e-12)
        assert row["volume_difference"] == pytest.approx(expected["volume_difference"], rel=1e-6)


def test_numbers_stand_beside_tables_3_and_4(evaluated):
    table = pd.read_csv(evaluated / "cases.csv")
    for number, dataset in ((3, "isles2015_siss"), (4, "isles2022")):
        paper = pd.read_csv(next((evaluated / "tables").glob(f"paper_synthstroke_table{number}*.csv")))
        for method, model in (("Baseline", "synthstroke_baseline"), ("Synth", "synthstroke")):
            for modality in ("FLAIR", "DWI"):
                mine = table.query(f"run == '{model} {dataset} {modality}'")["dice"].mean()
                rows = paper[(paper["Method"] == method) & (paper["Input"] == modality)]
                assert rows["Dice, ours"].astype(float).item() == pytest.approx(mine, abs=5e-4)


def test_models_are_compared_on_the_same_input_alone(evaluated):
    pairs = pd.read_csv(next((evaluated / "tables").glob("comparisons*.csv"))).iloc[:, 0].unique()
    assert len(pairs) == 9
    for pair in pairs:
        first, second = pair.split(" - ")
        assert first.split()[1:] == second.split()[1:]


def test_chosen_modalities_keep_predictions_of_their_own(runs, isles_cohort, tmp_path):
    chosen = [f"runs=[{runs[0]}]", f"out={tmp_path}", "data=isles2022", f"data.root={isles_cohort}"]
    evaluate(
        compose("evaluate", [*chosen, "data.limit_per_site=1", "ensemble=modalities", "ensemble.only=[FLAIR,ADC]"])
    )
    kept = {folder.name: len([*folder.glob("**/*_mask.nii.gz")]) for folder in (tmp_path / "predictions").iterdir()}
    assert kept == {f"strokelab-synthstroke-{name}": 2 for name in ("ADC", "FLAIR", "ensemble")}


def test_by_default_the_mean_of_what_a_case_has(runs, isles_cohort, tmp_path):
    chosen = [f"runs=[{runs[0]}]", f"out={tmp_path}", "data=isles2022", f"data.root={isles_cohort}"]
    evaluate(compose("evaluate", [*chosen, "data.modalities=[DWI,FLAIR]", "save_predictions=false"]))
    table = pd.read_csv(tmp_path / "cases.csv").set_index("case")
    case = read_cases("isles2022", isles_cohort)[0]
    predicted = load_run(runs[0]).predict({name: case.images[name] for name in ("DWI", "FLAIR")})
    assert table.loc[case.case_id, ["tp", "fp"]].sum() == np.count_nonzero(predicted.mask)
