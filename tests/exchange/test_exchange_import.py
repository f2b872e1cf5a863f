"""Models of nnU-Net become runs: same weights, windows, mirrors, means; what we would do otherwise is refused."""

import itertools
import json
import shutil

import nibabel as nib
import nnunet_models
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from strokelab import configuration, runs
from strokelab.cli import app
from strokelab.data import read_cases
from strokelab.errors import ConfigError, DataWarning, RunError
from strokelab.evaluation.sweep import gather
from strokelab.exchange import Origin, import_nnunet

KINDS = [(2, False), (2, True), (1, False), (1, True)]
IDS = ["v2 plain", "v2 residual", "v1 plain", "v1 residual"]


def build(folder, version, residual):
    return getattr(nnunet_models, f"version{version}")(folder, residual=residual)


@pytest.fixture(scope="module")
def scan(t1_cohort, tmp_path_factory):
    """A phantom's scan with its axes in another order, in a margin of zeros that nnU-Net cuts off."""
    image = nib.funcs.squeeze_image(nib.load(read_cases("atlas_v1", t1_cohort)[0].reference_image))
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt("PIL"))
    turned = image.as_reoriented(turn)
    voxels = np.pad(np.asarray(turned.dataobj, dtype=np.float32), ((2, 3), (0, 0), (1, 0)))
    path = tmp_path_factory.mktemp("scan") / "scan_T1w.nii.gz"
    nib.save(nib.Nifti1Image(voxels, turned.affine), path)
    return path


def expected(network, voxels, *, patch, mirrored, logits):
    """nnU-Net's prediction in plain words, axes as in the file: probability of lesion."""
    inside = np.argwhere(voxels != 0)
    low, high = inside.min(0), inside.max(0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    x = voxels[box].astype(np.float64)
    x = (x - x.mean()) / x.std()
    starts = []
    for size, side in zip(x.shape, patch, strict=True):
        number = int(np.ceil((size - side) / (side / 2))) + 1
        starts.append([int(np.round(i * (size - side) / max(number - 1, 1))) for i in range(number)])
    profiles = [np.exp(-(((np.arange(n) - n // 2) / (n / 8)) ** 2) / 2) for n in patch]
    weight = torch.from_numpy(np.einsum("i,j,k->ijk", *profiles)).float()
    total, weights = torch.zeros(2, *x.shape), torch.zeros(x.shape)
    flips = [flip for count in range(4) for flip in itertools.combinations(mirrored, count)]
    for start in itertools.product(*starts):
        cut = tuple(slice(a, a + n) for a, n in zip(start, patch, strict=True))
        window = torch.from_numpy(x[cut].astype(np.float32))[None, None]
        for flip in flips:
            axes = [2 + axis for axis in flip]
            with torch.no_grad():
                answer = network(window.flip(axes)).flip(axes)[0]
            total[:, *cut] += weight * (answer if logits else answer.softmax(0))
            weights[cut] += weight
    mean = total / weights
    result = np.zeros(voxels.shape, np.float32)
    result[box] = (mean.softmax(0) if logits else mean)[1].numpy()
    return result


@pytest.mark.parametrize(("version", "residual"), KINDS, ids=IDS)
def test_an_imported_model_predicts_as_nnunet_does(tmp_path, scan, version, residual):
    built = build(tmp_path / "model", version, residual)
    (run,) = import_nnunet(built.folder, tmp_path / "run", folds=["0"], modalities=["T1w"])
    trained = runs.load_run(run)
    for name, weight in built.network.state_dict().items():
        assert torch.equal(trained.model.network.state_dict()[name], weight), name
    prediction = trained.predict(scan)
    image = nib.load(scan)
    probability = expected(
        built.network,
        np.asarray(image.dataobj),
        patch=(24, 20, 20),
        mirrored=(0, 1) if version == 2 else (0, 1, 2),  # of v2's axes 0 and 1, in its plan's order
        logits=version == 2,
    )
    assert prediction.mask.shape == image.shape
    assert np.allclose(prediction.grid.matrix, image.affine)
    assert np.abs(prediction.probability - probability).max() < 2e-5
    clear = np.abs(probability - 0.5) > 2e-5
    assert np.array_equal(prediction.mask[clear], (probability > 0.5)[clear])
    assert 0.002 < (probability > 0.5).mean() < 0.99, "a mask that could be wrong"


def test_a_model_folder_becomes_one_run_per_fold_and_says_where_it_came_from(tmp_path, t1_cohort):
    built = nnunet_models.version2(tmp_path / "model")
    shutil.copytree(built.folder / "fold_0", built.folder / "fold_1")
    cases = [case.case_id for case in read_cases("atlas_v1", t1_cohort)]
    splits = tmp_path / "splits_final.json"
    splits.write_text(json.dumps([{"train": cases[2:], "val": cases[:2]}, {"train": cases[:-2], "val": cases[-2:]}]))
    origin = Origin.of("atlas_v1", t1_cohort, splits)
    with pytest.warns(DataWarning, match=rf"{cases[-2]}.*left out of the test part: other scans of these subjects"):
        places = import_nnunet(built.folder, tmp_path / "runs", modalities=["T1w"], origin=origin)
    assert [place.name for place in places] == ["fold_0", "fold_1"]
    assert [one.folder for one in gather(tmp_path / "runs").finished] == places, "a sweep that can be evaluated"
    first, second = (runs.load_run(place) for place in places)
    assert first.split.test == tuple(cases[:2])
    assert second.split.train == tuple(cases[:-2])
    assert second.split.test == (cases[-1],), "nnU-Net deals cases to folds, not persons"
    assert first.name == second.name == "nnunet_v2"
    assert first.settings["cohort"]["root"] == str(t1_cohort)
    for fold, trained in enumerate((first, second)):  # and no split of ours, with a site held out
        assert trained.settings["split"]["fold"] == fold
        rule = configuration.build(trained.settings["split"])
        assert rule(read_cases("atlas_v1", t1_cohort)).test == trained.split.test
    assert runs.read_status(places[0])["state"] == "finished"
    note = runs.read_environment(places[0])["imported"]
    assert note["trainer"] == "nnUNetTrainer"
    assert len(note["digest"]) == 32


def _with_splits(tmp_path, cohort, *, checkpoint="final"):
    """A run whose first two cases were held out by nnU-Net."""
    built = nnunet_models.version2(tmp_path / "model")
    cases = [case.case_id for case in read_cases("atlas_v1", cohort)]
    (tmp_path / "splits.json").write_text(json.dumps([{"train": cases[2:], "val": cases[:2]}]))
    if checkpoint != "final":
        shutil.copy(built.folder / "fold_0" / "checkpoint_final.pth", built.folder / "fold_0" / "checkpoint_best.pth")
    origin = Origin.of("atlas_v1", cohort, tmp_path / "splits.json")
    given = {"folds": ["0"], "checkpoint": checkpoint, "modalities": ["T1w"], "origin": origin}
    (run,) = import_nnunet(built.folder, tmp_path / "run", **given)
    return cases, runs.read_split(run)


def test_cases_that_chose_the_best_checkpoint_do_not_test_it(tmp_path, t1_cohort):
    cases, split = _with_splits(tmp_path, t1_cohort, checkpoint="best")
    assert (split.train, split.val, split.test) == (tuple(cases[2:]), tuple(cases[:2]), ())


def test_channels_keep_their_names_to_the_letter(tmp_path):
    built = nnunet_models.version2(tmp_path / "model")
    built.dataset["channel_names"]["0"] = 'T1 "é", [0]'
    built.write()
    (run,) = import_nnunet(built.folder, tmp_path / "run", folds=["0"])
    settings = runs.read_settings(run)
    assert settings["data"]["modalities"] == settings["view"]["preparation"]["modalities"] == ['T1 "é", [0]']


def test_what_a_channel_is_called_is_not_interpreted(tmp_path, monkeypatch):
    """A name could ask for the user's environment, and the run folder then be handed on with it."""
    monkeypatch.setenv("SECRET", "token")
    built = nnunet_models.version2(tmp_path / "model")
    for name in ("${oc.env:SECRET}", "???", "T1\nw"):
        built.dataset["channel_names"]["0"] = name
        built.write()
        with pytest.raises(ConfigError, match="channels called") as refused:
            import_nnunet(built.folder, tmp_path / "run")
        assert "token" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_configuration_inherits_and_masked_normalisation_and_reorientation_are_taken_over(tmp_path):
    built = nnunet_models.version2(tmp_path / "model")
    path = built.folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    content["init_args"]["configuration"] = "3d_big"
    torch.save(content, path)
    built.plans["image_reader_writer"] = "NibabelIOWithReorient"
    built.plans["configurations"]["3d_fullres"]["use_mask_for_norm"] = [True]
    built.write()
    (run,) = import_nnunet(built.folder, tmp_path / "run", folds=["0"])
    settings = runs.read_settings(run)
    assert settings["data"]["batch_size"] == 4
    preparation = settings["view"]["preparation"]
    assert preparation["normalize"] == "zscore_nonzero"
    assert preparation["orientation"] == "RAS"
    assert preparation["modalities"] == ["T1w"]
    assert settings["view"]["windows"]["windows"]["mirror"] == "xy"


def _first(built):
    return built.plans["configurations"]["3d_fullres"]


REFUSED = {
    "CTNormalization": lambda b: _first(b).update(normalization_schemes=["CTNormalization"]),
    "cascade": lambda b: _first(b).update(previous_stage="3d_lowres"),
    "a 3D configuration": lambda b: _first(b).update(patch_size=[16, 16]),
    "CTPreprocessor": lambda b: _first(b).update(preprocessor_name="CTPreprocessor"),
    "Primus": lambda b: _first(b)["architecture"].update(network_class_name="nets.Primus"),
    "BatchNorm3d": lambda b: _first(b)["architecture"]["arch_kwargs"].update(norm_op="torch.nn.BatchNorm3d"),
    "NaturalImage2DIO": lambda b: b.plans.update(image_reader_writer="NaturalImage2DIO"),
    "transpose_forward": lambda b: b.plans.update(transpose_forward=[0, 0, 1]),
    "3 classes": lambda b: b.dataset["labels"].update(edema=2),
    "regions": lambda b: b.dataset["labels"].update({"lesion 1": [1, 2]}),
    "KeyError: 'patch_size'": lambda b: _first(b).pop("patch_size"),
}


@pytest.mark.parametrize("found", REFUSED)
def test_what_would_be_predicted_otherwise_is_refused_by_name(tmp_path, found):
    built = nnunet_models.version2(tmp_path / "model")
    REFUSED[found](built)
    built.write()
    with pytest.raises(RunError, match=found):
        import_nnunet(built.folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_weights_folders_and_channels_are_refused_by_name(tmp_path):
    three = nnunet_models.version2(tmp_path / "three", classes=3)
    three.dataset["labels"] = {"background": 0, "lesion": 1}
    three.write()
    with pytest.raises(RunError, match="3 classes"):
        import_nnunet(three.folder, tmp_path / "run")
    built = nnunet_models.version2(tmp_path / "model", channels=2)
    with pytest.raises(ConfigError, match="2, as the network has channels"):
        import_nnunet(built.folder, tmp_path / "run", modalities=["T1w"])
    with pytest.raises(RunError, match=r"--fold 0"):
        import_nnunet(built.folder / "fold_0", tmp_path / "run")
    with pytest.raises(RunError, match=r"neither plans.json nor plans.pkl"):
        import_nnunet(tmp_path, tmp_path / "run")
    with pytest.raises(RunError, match="no such file"):
        import_nnunet(built.folder, tmp_path / "run", folds=["4"])
    path = built.folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    content["network_weights"]["encoder.stages.0.0.convs.0.conv.bias"][0] = torch.nan
    torch.save(content, path)
    with pytest.raises(RunError, match="NaN"):
        import_nnunet(built.folder, tmp_path / "run")
    content["network_weights"]["encoder.stages.0.0.convs.0.attention.weight"] = torch.zeros(3)
    content["network_weights"].move_to_end("encoder.stages.0.0.convs.0.attention.weight", last=False)
    torch.save(content, path)
    with pytest.raises(RunError, match="attention"):
        import_nnunet(built.folder, tmp_path / "run")


def test_the_command_imports_and_refuses_half_an_origin(tmp_path):
    built = nnunet_models.version2(tmp_path / "model")
    from typer.testing import CliRunner

    words = ["import-nnunet", str(built.folder), "--out", str(tmp_path / "runs"), "--modality", "T1w"]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0, answer.output
    assert "strokelab predict" in answer.output
    assert (tmp_path / "runs" / "fold_0" / "checkpoints" / "last.ckpt").is_file()
    half = CliRunner().invoke(app, [*words, "--dataset", "atlas_v1"])
    assert isinstance(half.exception, ConfigError)
