"""MAPPING (Huo 2022), what must hold of its patches: docs/methods/mapping.md, section 12, points 3 and 4."""

from itertools import product

import numpy as np
import pytest
import torch

from strokelab.contract import PreparedCase
from strokelab.data.samples import Samples
from strokelab.grid import Grid
from strokelab.preparation.stored_case import open_entry, write_entry
from strokelab.sampling.boxes import Drawing
from strokelab.sampling.foreground import ForegroundPatches

SHAPE, PATCH = (40, 36, 30), (32, 32, 32)


@pytest.fixture(scope="module")
def in_corners(tmp_path_factory):
    """Eight cases, each with a lesion of one voxel in another corner; one axis is shorter than the patch."""
    folder, cases = tmp_path_factory.mktemp("store"), []
    for number, corner in enumerate(product(*[(0, side - 1) for side in SHAPE])):
        image = np.full((1, *SHAPE[::-1]), 2.0, dtype=np.float32).transpose(0, 3, 2, 1)
        lesion, brain = np.zeros(SHAPE[::-1], dtype=np.uint8).T, np.ones(SHAPE[::-1], dtype=bool).T
        lesion[corner] = 1
        grid = Grid.of(SHAPE, np.eye(4))
        name = f"case{number}"
        prepared = PreparedCase(name, name, None, ("T1w",), image, lesion, brain, grid, (), grid)
        write_entry(folder / str(number), prepared, {})
        stored = open_entry(folder / str(number), prepared)
        assert stored is not None
        cases.append(stored)
    return cases


@pytest.mark.parametrize(("batch", "forced"), [(1, 0), (2, 1), (3, 1), (9, 3)])
def test_3_forced_samples_of_a_batch(batch, forced):
    sampler, stream = ForegroundPatches(PATCH), np.random.default_rng(0)
    assert sum(sampler.is_forced(place, batch, stream) for place in range(batch)) == forced


def test_4_a_forced_window_holds_its_lesion_voxel_in_every_corner_and_padding_is_background(in_corners):
    sampler = ForegroundPatches(PATCH, iterations_per_epoch=40)
    places = sampler.places(in_corners, Drawing("train", seed=0, batch_size=2))
    data = Samples(in_corners, places, sites={}, seed=0)
    batch = data.__getitems__([(0, index) for index in range(80)])
    forced = slice(1, None, 2)
    assert batch["lesion"][forced].flatten(1).sum(1).tolist() == [1] * 40
    assert len(set(batch["case_id"][forced])) == 8
    assert set(torch.unique(batch["lesion"]).tolist()) == {0, 1}  # no -1 that a loss could see
    outside = batch["image"] == 0
    assert (outside.sum((2, 3, 4)) == 2 * 32 * 32).all()  # 30 of 32 voxels along z: one slice at each end
    assert outside[:, :, :, :, [0, -1]].all()
    assert not batch["brain"][outside].any()
