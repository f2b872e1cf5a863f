"""Every model trains on a tiny phantom and predicts on the native grid; several modalities, too."""

from functools import partial

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_runs import (
    any_contrast_settings,
    balanced_settings,
    crop_settings,
    patch_settings,
    plan_of_slices,
    trunk_settings,
    unlearning_settings,
)

from strokelab.configuration import compose, conf_folder, plain
from strokelab.data import read_cases
from strokelab.runs import load_run
from strokelab.training import train

MODELS = sorted(path.stem for path in (conf_folder() / "model").glob("*.yaml"))
_OF_OTHERS = ("nnunet_selftraining", "multipath25d_combiner")  # need the masks of other models: tests of their own
CHOICES = [f"model={model}" for model in MODELS if model not in _OF_OTHERS]
CHOICES += [f"ablation={path.stem}" for path in sorted((conf_folder() / "ablation").glob("*.yaml"))]
SMALL_MONAI = {
    "monai_segresnet": ["init_filters=8"],
    "monai_swinunetr": ["feature_size=12"],
    "monai_dynunet": ["filters=[4,4,4,4,4,4]"],
    "monai_attentionunet": ["channels=[4,8,8,8,8]"],
    "monai_mednext": [],
}
ONE_STEP = ["trainer.max_epochs=1", "trainer.max_steps=2", "callbacks=none"]


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    torch.use_deterministic_algorithms(False)


def monai_settings(small: list[str], tiny: list[str]) -> list[str]:
    return [
        *(item for item in patch_settings(tiny) if "patch=" not in item),
        *(f"view.{part}.patch=[64,32,32]" for part in ("sampler", "windows")),
        *(f"model.network.arguments.{item}" for item in small),
    ]


def settings_of(tiny: list[str], choice: str = "") -> list[str]:
    own = {"nnunet2d": plan_of_slices, "pspnet": trunk_settings, "deeplabv3plus": trunk_settings}
    own |= {"nnunet": patch_settings, "resunet3d": crop_settings, "sunet": balanced_settings}
    own |= {"synthstroke": any_contrast_settings, "unlearning": unlearning_settings}
    own |= {name: partial(monai_settings, small) for name, small in SMALL_MONAI.items()}
    named = choice.removeprefix("model=")
    settings = next((small(tiny) for family, small in own.items() if named.startswith(family)), tiny)
    return [item for item in settings if not item.startswith("callbacks.")]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.filterwarnings("ignore")
def test_every_model_and_row_of_the_ablation_trains_and_predicts(choice, tiny, t1_cohort, tmp_path):
    if "monai_" in choice:
        pytest.importorskip("monai", reason="strokelab[monai] is not installed")
    run = tmp_path / "run"
    dice = train(compose("train", [*settings_of(tiny, choice), choice, *ONE_STEP, f"run_dir={run}"]))
    table = pd.read_csv(run / "cases.csv", dtype={"case": str})
    assert dice == pytest.approx(table["dice"].mean())
    trained = load_run(run)
    assert trained.model.standardizer is None or "main" in choice or "sgnet" in choice
    case = next(case for case in read_cases("atlas_v1", t1_cohort) if case.case_id == table["case"][0])
    prediction = trained.predict(case)
    image = nib.load(case.reference_image)
    assert prediction.mask.shape == image.shape[:3]  # the rule for a fourth axis of length 1
    assert int(prediction.mask.sum()) * prediction.grid.voxel_volume_mm3 == pytest.approx(
        1000 * table["prediction_ml"][0]
    )
    assert np.isfinite(prediction.probability).all()


@pytest.mark.filterwarnings("ignore")
def test_three_modalities_two_centres_and_an_adversary(tiny, isles_cohort, tmp_path):
    """ISLES 2022: channels in their order, classifier of both centres, masks on the DWI grid."""
    run = tmp_path / "run"
    cases = read_cases("isles2022", isles_cohort)
    overrides = [
        *settings_of(tiny),
        "data=isles2022",
        f"data.root={isles_cohort}",
        "split=kfold",
        "split.folds=3",
        "view.preparation.crop=[24,32,null]",
        *ONE_STEP,
        f"run_dir={run}",
    ]
    train(compose("train", overrides))
    trained = load_run(run)
    assert trained.modalities == ("DWI", "ADC", "FLAIR")
    assert trained.model.network.encode(torch.zeros(1, 3, 32, 12))[0].shape[1] == 4
    assert len(trained.sites) == 2
    assert next(iter(trained.model.adversary.parameters())).requires_grad
    for case in cases[:2]:
        dwi = nib.load(case.images["DWI"])
        by_case, by_files = trained.predict(case), trained.predict(list(case.images.values()))
        assert by_case.mask.shape == dwi.shape
        assert np.allclose(by_case.grid.matrix, dwi.affine)
        assert np.array_equal(by_case.probability, by_files.probability)


def test_a_config_is_rebuilt_from_its_folder_alone(trained_run):
    """Late facts are bound and interpolations resolved: config.yaml holds plain values only."""
    text = (trained_run / "config.yaml").read_text()
    assert "${" not in text
    assert "???" not in text
    run = load_run(trained_run)
    assert run.settings["model"]["network"]["in_channels"] == 1
    assert run.settings["model"]["adversary"]["n_sites"] == 2
    assert run.settings["model"]["standardizer"]["plane"] == [28, 24]
    assert dict(run.sites) == {"Site2": 0, "Site3": 1}
    assert plain(compose("train"))["model"].keys() == run.settings["model"].keys()


@pytest.mark.filterwarnings("ignore")
def test_mirrored_channels_are_a_setting_of_any_view(tiny, isles_cohort, tmp_path):
    """Twice the channels, in the plan, the network, the table and a scan of another day."""
    run = tmp_path / "run"
    overrides = [*settings_of(tiny, "nnunet"), "model=nnunet", "data=isles2022", f"data.root={isles_cohort}"]
    more = ["split=kfold", "split.folds=3", "view.preparation.mirror.enabled=true", f"run_dir={run}"]
    dice = train(compose("train", [*overrides, *more, *ONE_STEP]))
    trained = load_run(run)
    assert trained.view.preparation.channels[3:] == ("mirrored_DWI", "mirrored_ADC", "mirrored_FLAIR")
    assert next(trained.model.network.parameters()).shape[1] == 6
    table = pd.read_csv(run / "cases.csv", dtype={"case": str})
    assert dice == pytest.approx(table["dice"].mean())
    case = next(case for case in read_cases("isles2022", isles_cohort) if case.case_id == table["case"][0])
    prediction = trained.predict(case)
    assert int(prediction.mask.sum()) * prediction.grid.voxel_volume_mm3 == pytest.approx(
        1000 * table["prediction_ml"][0]
    )
