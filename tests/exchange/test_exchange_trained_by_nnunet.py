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

from strokelab.exchange import import_nnunet
from strokelab.runs import load_run

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
