"""The one real case that may be shown: ISLES 2022, case 9 (CC BY-SA 4.0); skipped where it is not on disk."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelab.contract import Case, LesionFile
from strokelab.grid import Grid, Orient, Resample
from strokelab.lesions import count_lesions
from strokelab.nifti import read_grid, read_lesion, write_volume
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.restore import restore, restore_mask
from strokelab.preparation.store import PreparedStore

ROOT = Path(__file__).parents[3] / "shared/data/isles2022-sample"
NAME = "sub-strokecase0009"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="the ISLES 2022 sample case is not on disk")


@pytest.fixture(scope="module")
def case() -> Case:
    raw, label = (ROOT / part / NAME / "ses-0001" for part in ("rawdata", "derivatives"))
    images = {name: raw / f"{NAME}_ses-0001_{name.lower()}.nii.gz" for name in ("DWI", "ADC", "FLAIR")}
    return Case(NAME, NAME, "isles2022", None, images, (LesionFile(label / f"{NAME}_ses-0001_msk.nii.gz"),), "DWI")


def test_prepared_on_the_dwi_grid_and_back(case, tmp_path):
    prepared = (
        PreparedStore(tmp_path / "store")
        .prepare([case], Preparation(("DWI", "ADC", "FLAIR"), crop=(96, 128, None)), progress=False)[0]
        .load()
    )
    assert prepared.brain_source == "nonzero"
    assert int(prepared.brain.sum()) == 181_235
    assert prepared.image.shape == (3, 96, 128, 73)
    assert prepared.grid.orientation == "RAS"
    mask = restore_mask(prepared.lesion, prepared.steps)
    native = read_grid(case.images["DWI"])
    np.testing.assert_array_equal(mask, read_lesion(case.lesions, native, case.images["DWI"]))
    assert int(mask.sum()) == 523
    assert (count_lesions(mask, 26), count_lesions(mask, 6)) == (18, 21)
    written = nib.load(write_volume(tmp_path / "mask.nii.gz", mask, prepared.native))
    dwi = nib.load(case.images["DWI"])
    assert written.shape == dwi.shape
    np.testing.assert_allclose(written.affine, dwi.affine, atol=1e-6)
    # FLAIR arrived where the brain is, though its own grid lies elsewhere
    inside, outside = prepared.image[2][prepared.brain], prepared.image[2][~prepared.brain]
    assert np.median(inside) > np.median(outside) + 1


def test_adc_comes_to_square_micrometres_per_second(case):
    prepared = prepare(case, Preparation(("ADC",), normalize="none"))
    values = prepared.image[0][prepared.brain]
    assert np.median(values) == pytest.approx(904, rel=0.01)
    assert np.percentile(values, 99.9) == pytest.approx(4280, rel=0.01)


def test_there_and_back_over_one_millimetre_axis_aligned_keeps_every_lesion_voxel(case):
    native = read_grid(case.images["DWI"])
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in native.shape], indexing="ij")).reshape(3, -1)
    world = native.matrix[:3, :3] @ corners + native.matrix[:3, 3:]
    low, high = np.floor(world.min(1)), np.ceil(world.max(1))
    aligned = np.eye(4)
    aligned[:3, 3] = low
    steps = (Orient(native), Resample(Orient(native).target, Grid.of((high - low).astype(int) + 1, aligned)))
    lesion = read_lesion(case.lesions, native, case.images["DWI"])
    there = steps[1].apply(steps[0].apply(lesion), "nearest")
    np.testing.assert_array_equal(restore(there, steps, "nearest"), lesion)


def test_one_millimetre_preparation_keeps_volume_and_grid(case):
    prepared = prepare(case, Preparation(("DWI",), spacing=(1, 1, 1)))
    assert prepared.grid.shape == (224, 224, 146)
    assert prepared.lesion.sum() / 1000 == pytest.approx(4.184, rel=0.1)
    mask = restore_mask(prepared.lesion, prepared.steps)
    native = read_grid(case.images["DWI"])
    truth = read_lesion(case.lesions, native, case.images["DWI"])
    assert mask.shape == native.shape
    assert prepared.native.matches(native)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.95
