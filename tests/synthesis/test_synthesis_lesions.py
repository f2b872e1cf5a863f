"""Lesion masks brought onto an anatomy, and those that cannot be pasted."""

import numpy as np
import pytest
from tissue_sets import GRID, MM, brain

from strokelab.errors import DataError
from strokelab.grid import Grid
from strokelab.preparation.template import MNI, in_mni_space
from strokelab.synthesis.anatomy import Anatomy
from strokelab.synthesis.lesions import LesionMask, check_lesions, lesion_on

HEAD = Anatomy("head", (), np.zeros((0, *GRID.shape), dtype=np.float32), brain(), GRID)


def box(grid, low, high):
    mask = np.zeros(grid.shape, dtype=np.uint8)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return mask


def test_masks_of_the_same_grid_stay_and_flipped_ones_are_turned():
    mask = box(GRID, (10, 12, 14), (13, 20, 16))
    np.testing.assert_array_equal(lesion_on(mask * 255, GRID, GRID), mask)
    flipped = GRID.matrix @ np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = GRID.matrix[0, 3] + MM * (GRID.shape[0] - 1)
    np.testing.assert_array_equal(lesion_on(mask[::-1], Grid.of(GRID.shape, flipped), GRID), mask)


def test_masks_of_other_grids_go_through_the_affines():
    fine = GRID.resized((3.0, 3.0, 3.0))
    mask = box(GRID, (10, 12, 14), (14, 20, 18))
    on_fine = lesion_on(mask, GRID, fine)
    expected = mask.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    expected[20:28:7, 24:40:15, 28:36:7] = 0  # each corner holds 0.75 cubed of the mask, 0.42
    np.testing.assert_array_equal(on_fine, expected)
    np.testing.assert_array_equal(lesion_on(on_fine, fine, GRID), mask)


def test_a_lesion_smaller_than_a_coarse_voxel_is_not_lost():
    fine = GRID.resized((2.0, 2.0, 2.0))
    mask = box(fine, (30, 36, 42), (31, 37, 43))
    mask[31, 37, 43] = 1
    assert lesion_on(mask, fine, GRID).sum() == 1
    lone = box(fine, (30, 36, 42), (31, 37, 43))  # in a corner of voxel 10, 12, 14, no neighbour of its centre
    np.testing.assert_array_equal(np.argwhere(lesion_on(lone, fine, GRID)), [[10, 12, 14]])
    assert lesion_on(0 * mask, fine, GRID).sum() == 0


def test_known_mni_grids_are_told_from_others():
    fsl = Grid.of((182, 218, 182), [[-1, 0, 0, 90], [0, 1, 0, -126], [0, 0, 1, -72], [0, 0, 0, 1]])
    fsl2 = Grid.of((91, 109, 91), [[-2, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    spm = Grid.of((121, 145, 121), np.array([[-1.5, 0, 0, 90], [0, 1.5, 0, -126], [0, 0, 1.5, -72], [0, 0, 0, 1]]))
    assert all(in_mni_space(grid) for grid in (MNI, GRID, fsl, fsl2, spm))
    scan = Grid.of((256, 256, 180), [[1, 0, 0, -128], [0, 1, 0, -128], [0, 0, 1, -90], [0, 0, 0, 1]])
    turned = fsl.matrix.copy()
    turned[0, 1] = 0.05
    assert not any(in_mni_space(grid) for grid in (scan, Grid.of(fsl.shape, turned)))


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ([], "empty list"),
        ([LesionMask("a", np.zeros(GRID.shape), GRID)], "1 masks"),
        ([LesionMask("a", box(GRID, (0, 0, 0), (2, 2, 2)), GRID)], "head"),
        ([LesionMask("a", np.ones((9, 9, 9)), Grid.of((9, 9, 9), np.diag([20.0, 20, 20, 1])))], "20 x 20 x 20"),
    ],
)
def test_what_cannot_be_pasted_is_an_error_by_case(masks, words):
    with pytest.raises(DataError) as caught:
        check_lesions(masks, HEAD)
    assert words in caught.value.found
    assert not masks or not masks[0].voxels.any() or "case a" in caught.value.where


def test_lesions_in_the_brain_and_scans_without_one_pass():
    inside = LesionMask("a", box(GRID, (16, 18, 14), (18, 20, 16)), GRID)
    check_lesions([LesionMask("none", np.zeros(GRID.shape), GRID), inside], HEAD)
    # A mask on a finer grid counts as in MNI space where its case's file does.
    wide = GRID.resized((1.0, 1.0, 1.0))
    far = Grid.of(tuple(n + 10 for n in wide.shape), wide.affine)
    mask = np.zeros(far.shape, dtype=np.uint8)
    mask[95:105, 110:120, 90:95] = 1
    check_lesions([LesionMask("b", mask, far, native=GRID)], HEAD)
    with pytest.raises(DataError):
        check_lesions([LesionMask("b", mask, far)], HEAD)
