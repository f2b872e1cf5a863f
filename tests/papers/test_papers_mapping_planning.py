"""MAPPING (Huo 2022): what the spec says of plan, normalisation and grids; points as in its section 12."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from strokelab.configuration import build, compose, plain
from strokelab.configuration.late_facts import DEFAULT_FACTS, PLANNED
from strokelab.contract import Case
from strokelab.planning import Fingerprint, Planner
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.restore import restore, restore_mask

ATLAS = Fingerprint(np.ones((655, 3)), np.tile((197, 233, 189), (655, 1)), np.tile((189, 230, 187), (655, 1)))
BOXED = Preparation(("T1w",), box="nonzero")


@pytest.mark.parametrize("model", ["nnunet", "nnunet_topk", "nnunet_residual"])
def test_section_4_the_plan_of_atlas_and_that_of_models_built_by_hand_are_one(model):
    planner = build(plain(compose("train", [f"model={model}", "run_dir=x"]))["planner"])
    plan = planner.plan(ATLAS, BOXED)
    assert (plan.patch, plan.batch_size, len(plan.strides) - 1) == ((128, 128, 128), 2, 5)
    assert plan.facts() == {name: DEFAULT_FACTS[name] for name in PLANNED}


@pytest.mark.parametrize(("share", "normalize"), [(0.74, "zscore_nonzero"), (0.76, "zscore_volume")])
def test_section_3_the_region_of_the_z_score_is_decided_once_over_all_cases(share, normalize):
    boxes = np.tile((100, 100, round(100 * share)), (9, 1))
    boxes[:4] = 10, 10, 10  # a minority, however small
    seen = Fingerprint(np.ones((9, 3)), np.full((9, 3), 100), boxes)
    assert Planner().plan(seen, BOXED).normalize == normalize


def scan(folder, codes: str, spacing: float = 1.0) -> tuple[Case, np.ndarray]:
    shape = (40, 46, 38)
    voxels = np.zeros(shape, dtype=np.float32)
    voxels[4:33, 6:40, 2:31] = np.random.default_rng(0).uniform(10, 90, (29, 34, 29))
    affine = np.diag([spacing, spacing, spacing, 1.0]) @ inv_ornt_aff(
        ornt_transform(axcodes2ornt(tuple("RAS")), axcodes2ornt(tuple(codes))), shape
    )
    path = folder / f"{codes}.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return Case(codes, codes, "folder", None, {"T1w": path}), voxels


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA"])
@pytest.mark.parametrize("spacing", [None, (1.3, 1.3, 1.3)])
def test_point_11_a_prediction_has_the_inputs_grid_and_is_0_outside_the_box(tmp_path, codes, spacing):
    case, voxels = scan(tmp_path, codes)
    prepared = prepare(case, Preparation(("T1w",), spacing, "zscore_volume", box="nonzero", interpolation="cubic"))
    header = nib.load(case.images["T1w"])
    probability = restore(np.ones(prepared.grid.shape, dtype=np.float32), prepared.steps)
    mask = restore_mask(np.ones(prepared.grid.shape, dtype=np.uint8), prepared.steps)
    assert probability.shape == mask.shape == prepared.native.shape == header.shape
    assert np.allclose(prepared.native.matrix, header.affine)
    assert (probability[voxels == 0] == 0).all()
    assert (mask[voxels == 0] == 0).all()
    assert probability[tuple(np.array(voxels.nonzero()).mean(axis=1).astype(int))] == pytest.approx(1)
