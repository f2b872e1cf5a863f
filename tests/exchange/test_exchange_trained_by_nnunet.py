"""Models that nnU-Net 2.8.1 itself trained, and the masks it predicted with them, against our predictions.

``trained_by_nnunet/`` holds two tiny models (plain and residual; axes transposed, anisotropic strides and kernels), a
phantom scan with axes P, I, L in a margin of zeros, the same scan on another spacing, and nnU-Net's masks of both: as
shipped (sums in float16) and with sums in float32.
"""

import json
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from strokelab.exchange import import_nnunet
from strokelab.preparation.restore import restore
from strokelab.runs import load_ensemble, load_run
from strokelab.runs.given import given_case

ROOT = Path(__file__).parents[2]
STORED = Path(__file__).parent / "trained_by_nnunet"
KINDS = ("plain", "residual")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    return {
        kind: load_run(import_nnunet(STORED / kind, folder / kind, folds=["0"], modalities=["T1w"])[0])
        for kind in KINDS
    }


def voxels(path):
    return np.asarray(nib.load(path).dataobj) > 0


def dice(a, b):
    return 2 * np.sum(a & b) / (a.sum() + b.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_nnunets(imported, kind):
    prediction = imported[kind].predict(STORED / "scan.nii.gz")
    mask = prediction.mask > 0
    assert mask.sum() > 2000
    exact = voxels(STORED / kind / "scan_mask_float32.nii.gz")
    assert np.array_equal(mask, exact), f"{np.sum(mask != exact)} voxels of {exact.sum()}"
    shipped = voxels(STORED / kind / "scan_mask.nii.gz")
    undecided = np.abs(prediction.probability - 0.5) < 2e-3  # what half precision can turn
    assert np.array_equal(mask[~undecided], shipped[~undecided])


@pytest.mark.parametrize("kind", KINDS)
def test_on_another_spacing_masks_are_nearly_nnunets(imported, kind):
    """Both resample, cubic there and linear back; ours decides on the model's grid, nnU-Net on the scan's."""
    scan = STORED / "other_spacing.nii.gz"
    prediction = imported[kind].predict(scan)
    assert prediction.mask.shape == nib.load(scan).shape
    theirs = voxels(STORED / kind / "other_spacing_mask.nii.gz")
    assert dice(prediction.mask > 0, theirs) > 0.96  # at 8 mm, where a third of the voxels is border
    assert dice(prediction.probability >= 0.5, theirs) > 0.98


@pytest.fixture(scope="module")
def part():
    """A part of the scan: four windows are enough to tell means apart."""
    image = nib.load(STORED / "scan.nii.gz")
    return image.slicer[:, :, : image.shape[2] // 2]


def probability(one, image, **how):
    return one.predict(image, **how).probability


def test_imported_models_are_averaged_as_others_are(imported, part):
    """Two of them on their two grids; one with two plans of windows."""
    folders = [imported[kind].folder for kind in KINDS]
    both = load_ensemble(folders)
    alone = [probability(imported[kind], part) for kind in KINDS]
    assert np.ptp(alone, axis=0).max() > 0.1
    np.testing.assert_allclose(probability(both, part), np.mean(alone, axis=0), atol=1e-6)

    plans = [{"mirror": "none"}, {"mirror": "x"}]
    several = load_ensemble(folders[:1], windows=plans)
    maps = [probability(load_run(folders[0], windows=plan), part) for plan in plans]
    assert np.ptp(maps, axis=0).max() > 1e-3
    np.testing.assert_allclose(probability(several, part), np.mean(maps, axis=0), atol=1e-6)
    assert several.digest != load_ensemble(folders[:1], windows=plans[0]).digest


def test_logits_are_averaged_over_members_before_they_are_finished(imported, part, tmp_path):
    """Background is the first class, so argmax of the mean logits is their sign."""
    folders = []
    for kind in KINDS:
        folders.append(shutil.copytree(imported[kind].folder, tmp_path / kind))
        config = yaml.safe_load((folders[-1] / "config.yaml").read_text())
        config["view"]["windows"]["scores"] = "logits"
        config["view"]["windows"]["windows"]["mirror"] = "none"
        (folders[-1] / "config.yaml").write_text(yaml.safe_dump(config))
    runs = [load_run(folder) for folder in folders]
    node = {"_target_": "strokelab.inference.postprocess.argmax", "_partial_": True}
    ensemble = load_ensemble(folders, postprocess=node)
    with given_case(part, ("T1w",)) as case:
        forms = ensemble.forms_of(case)
    scores = [run.scores(forms[member.preparer]) for run, member in zip(runs, ensemble.members, strict=True)]
    assert {one.kind for one in scores} == {"logits"}
    (steps,) = {form.steps for form in forms.values()}
    odds = np.mean([one.values[1].astype(float) - one.values[0] for one in scores], axis=0)
    prediction = ensemble.predict_prepared(forms, classes=True, disagreement=True)
    expected = restore((1 / (1 + np.exp(-odds))).astype(np.float32), steps)
    assert prediction.classes.shape == (2, *part.shape)
    np.testing.assert_array_equal(prediction.classes[1], prediction.probability)
    np.testing.assert_allclose(prediction.probability, expected, atol=1e-5)
    inside = prediction.classes.sum(axis=0) > 0
    np.testing.assert_allclose(prediction.classes.sum(axis=0)[inside], 1, atol=1e-5)
    plain = np.mean([probability(run, part) for run in runs], axis=0)
    assert np.abs(plain - prediction.probability).max() > 0.01, "the two means differ"


def test_nnunet_itself_agrees_today(imported, tmp_path, monkeypatch):
    """Where there is an environment with nnU-Net: its predictor, on a scan that it never saw."""
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop("benchmarks", None)
    from benchmarks.peer import in_peer, peer_is_there

    if not peer_is_there():
        pytest.skip("STROKELAB_NNUNET_PYTHON is not set")
    image = nib.load(STORED / "scan.nii.gz")
    noisy = np.asarray(image.dataobj) + np.random.default_rng(0).normal(0, 20, image.shape) * (image.dataobj != 0)
    scan, model = tmp_path / "noisy.nii.gz", tmp_path / "model"
    nib.save(nib.Nifti1Image(noisy.astype(np.float32), image.affine), scan)
    shutil.copytree(STORED / "plain", model)
    asked = {"model": str(model), "folds": [0], "inputs": [[str(scan)]], "outputs": [str(tmp_path / "out")]}
    places = {f"nnUNet_{name}": tmp_path for name in ("raw", "preprocessed", "results")}
    in_peer("benchmarks.peer_training", "predict", json.dumps(asked | {"float32": True}), environment=places)
    assert np.array_equal(imported["plain"].predict(scan).mask > 0, voxels(tmp_path / "out.nii.gz"))
