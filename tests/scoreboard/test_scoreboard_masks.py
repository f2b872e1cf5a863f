"""Mask files by rule and grid: real files, also bad ones."""

import numpy as np
import pytest
from mask_files import AFFINE, SHAPE, block, save

from strokelab.errors import ConfigError, DataError
from strokelab.grid import Grid
from strokelab.scoreboard.masks import MaskRule, bring_to, labels_of, noted, read_mask

MASK = block((2, 3, 4))
GRID = Grid.of(SHAPE, AFFINE)


@pytest.mark.parametrize(
    "voxels",
    [
        MASK,
        MASK * 255,
        MASK.astype(np.int16) * 7,
        MASK.astype(np.float64),
        MASK[..., None],
        MASK.astype(np.float32) * 0.5,
    ],
    ids=["0/1", "0/255", "int16", "float64", "fourth axis", "one value 0.5"],
)
def test_binary_files_need_no_rule(tmp_path, voxels):
    read = read_mask([save(tmp_path / "m.nii.gz", voxels)], MaskRule())
    np.testing.assert_array_equal(read.mask, MASK == 1)
    assert read.grid.matches(GRID)
    assert read.probability is None


def test_maps_need_a_threshold_that_is_itself_lesion(tmp_path):
    chance = MASK.astype(np.float32) * 0.5
    chance[0, 0, 0] = 0.49
    path = save(tmp_path / "p.nii.gz", chance)
    with pytest.raises(DataError, match="threshold"):
        read_mask([path], MaskRule())
    read = read_mask([path], MaskRule(threshold=0.5))
    np.testing.assert_array_equal(read.mask, MASK == 1)
    np.testing.assert_array_equal(read.probability, chance)
    assert read_mask([save(tmp_path / "b.nii.gz", MASK * 255)], MaskRule(threshold=0.5)).probability is None


def test_labels_need_to_be_named(tmp_path):
    labels = MASK * 2
    labels[0, 0, 0] = 1
    path = save(tmp_path / "l.nii.gz", labels)
    with pytest.raises(DataError, match="labels"):
        read_mask([path], MaskRule())
    np.testing.assert_array_equal(read_mask([path], MaskRule(labels=(2,))).mask, MASK == 1)
    assert read_mask([path], MaskRule(labels=(1, 2))).mask.sum() == 28
    assert "none of the labels" in noted(lambda: read_mask([path], MaskRule(labels=(5,)))).notes[0]
    assert labels_of("1, 2") == (1, 2)
    assert labels_of(None) is None


@pytest.mark.parametrize("wrong", [{"threshold": 0.5, "labels": (1,)}, {"labels": (0, 1)}, {"threshold": 0.0}])
def test_rules_that_make_no_sense(wrong):
    with pytest.raises(ConfigError):
        MaskRule(**wrong)
    with pytest.raises(ConfigError, match="1,2"):
        labels_of("1;2")


def test_several_files_are_united_on_one_grid_only(tmp_path):
    one, other = save(tmp_path / "1.nii", block((0, 0, 0))), save(tmp_path / "2.nii", block((6, 6, 6)) * 255)
    assert read_mask([one, other], MaskRule()).mask.sum() == 54
    moved = save(tmp_path / "3.nii", block((0, 0, 0)), AFFINE + np.eye(4, k=3))
    with pytest.raises(DataError, match=r"3\.nii"):
        read_mask([one, moved], MaskRule())


def test_other_grids_are_met_through_the_affines_with_a_note(tmp_path):
    flipped = AFFINE @ np.diag([-1, 1, 1, 1.0])
    flipped[0, 3] = AFFINE[0, 0] * (SHAPE[0] - 1) + 0.1  # a twentieth of a voxel more than a flip
    path = save(tmp_path / "m.nii.gz", MASK[::-1], flipped)
    read = read_mask([path], MaskRule())
    brought = bring_to(read, GRID, where=path)
    np.testing.assert_array_equal(brought.mask, MASK == 1)
    assert "nearest neighbour (0.32 ml before, 0.32 ml after)" in brought.notes[0]
    assert bring_to(brought, GRID, where=path) is brought
    with pytest.raises(DataError, match="strict"):
        bring_to(read, GRID, where=path, strict=True)


def test_volumes_apart_in_the_world_are_an_error_and_not_an_empty_mask(tmp_path):
    far = AFFINE.copy()
    far[:3, 3] = 500
    path = save(tmp_path / "m.nii.gz", MASK, far)
    with pytest.raises(DataError, match="header"):
        bring_to(read_mask([path], MaskRule()), GRID, where=path)


def test_a_map_is_thresholded_after_it_was_brought_like_before(tmp_path):
    rng = np.random.default_rng(1)
    path = save(tmp_path / "p.nii.gz", rng.random(SHAPE, dtype=np.float32))
    read = read_mask([path], MaskRule(threshold=0.3))
    fine = Grid.of((20, 20, 20), np.diag([1.1, 1.1, 1.5, 1.0]))
    brought = bring_to(read, fine, where=path)
    # Where the finer grid leaves the map there is 0.
    np.testing.assert_array_equal(brought.mask, brought.probability >= np.float32(0.3))


@pytest.mark.parametrize("strict", [False, True])
def test_masks_stored_in_another_direction_are_turned_without_a_note(tmp_path, strict):
    turn = np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    chance = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    path = save(tmp_path / "p.nii.gz", np.transpose(chance[::-1], (0, 2, 1)), AFFINE @ turn)
    read = bring_to(read_mask([path], MaskRule(threshold=0.5)), GRID, where=path, strict=strict)
    np.testing.assert_array_equal(read.mask, chance >= 0.5)
    np.testing.assert_array_equal(read.probability, chance)
    assert read.notes == ()
    assert read.grid.matches(GRID)
    plain = save(tmp_path / "m.nii.gz", MASK)
    other = save(tmp_path / "t.nii.gz", np.transpose(MASK[::-1], (0, 2, 1)), AFFINE @ turn)
    np.testing.assert_array_equal(read_mask([plain, other], MaskRule()).mask, MASK == 1)


def test_negative_values_are_no_mask(tmp_path):
    path = save(tmp_path / "m.nii.gz", -MASK.astype(np.int8))
    for rule in (MaskRule(), MaskRule(threshold=0.5), MaskRule(labels=(1,))):
        with pytest.raises(DataError, match="negative values down to -1"):
            read_mask([path], rule)
