"""Refined registrations: known affines are found to a millimetre, bad input fails by name, a cut head is said."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from strokelab.contract import Case
from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid, resample
from strokelab.nifti import write_volume
from strokelab.phantoms.anatomy import template
from strokelab.phantoms.head import AIR, BONE, FAT, FLUID, GREY, WHITE
from strokelab.phantoms.native import scan_grid
from strokelab.preparation.brain import estimate_brain
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.register import Register, RegistrationError
from strokelab.preparation.register_inside import filled, information, worth_it

PLACE = (22.0, -26.0, 18.0)
MARKS = (AIR, BONE, FLUID, GREY, WHITE, FAT)
T1, T2 = (0.0, 0.08, 0.25, 0.62, 1.0, 1.1), (0.0, 0.08, 1.0, 0.56, 0.4, 1.1)
GRIDS = {"2 mm": ((104, 120, 100), (2.0, 2.0, 2.0)), "2 x 2 x 5 mm": ((104, 120, 40), (2.0, 2.0, 5.0))}


def moved(degrees=(12.0, -9.0, 14.0), scale=(0.92, 1.05, 1.08), shear=0.03):
    """From the scanner's world to the template's."""
    linear = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(scale)
    linear[0, 1] += shear
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, (0.0, -18.0, 12.0) - linear @ PLACE
    return matrix


def scanned(levels, grid, matrix, *, whole):
    head = template(2.0)
    bright = np.interp(head.tissue, MARKS, levels).astype(np.float32)
    volume = bright if whole else np.where(head.brain, bright, 0)
    placed = grid.moved(matrix)
    blur = [0.35 * max(0.0, side - 2.0) / 2.0 for side in grid.spacing]
    image = 300 * resample(ndimage.gaussian_filter(volume, blur), head.grid, placed)
    image = np.abs(image + np.random.default_rng(0).normal(0, 6, grid.shape)).astype(np.float32)
    brain = resample(head.brain.astype(np.float32), head.grid, placed) >= 0.5
    return (image, estimate_brain(image, grid)) if whole else (np.where(brain, image + 1, 0), brain)


def errors(registered, matrix):
    head = template(2.0)
    points = np.argwhere(head.brain)[::97]
    places = np.c_[points, np.ones(len(points))] @ head.grid.matrix.T
    apart = places @ np.linalg.inv(matrix).T @ np.transpose(registered.transform) - places
    lengths = np.linalg.norm(apart[:, :3], axis=1)
    return lengths.mean(), lengths.max()


@pytest.mark.parametrize(
    ("levels", "grid", "whole"),
    [(T2, "2 mm", True), (T1, "2 x 2 x 5 mm", False)],
    ids=["whole T2", "T1 in thick slices"],
)
def test_a_known_affine_is_found_to_a_millimetre(levels, grid, whole, tmp_path):
    shape, spacing = GRIDS[grid]
    native, matrix = scan_grid(shape, spacing, np.diag([-1.0, 1, 1]), PLACE), moved()
    image, brain = scanned(levels, native, matrix, whole=whole)
    found = Register(refined=True).found(image, brain, native, "head", tmp_path, "T1w")
    mean, largest = errors(found, matrix)
    assert mean < 1
    assert largest < 2
    assert found.information > 0.4
    assert found.outside < 0.01
    assert found.image == "T1w"


def head_file(folder, name="sub-1_T1w", cut=0, axes=(-1.0, 1.0, 1.0)):
    native = scan_grid((52, 60, 50), (4.0, 4.0, 4.0), np.diag([-1.0, 1, 1]), PLACE)
    head, matrix = template(4.0), moved((4, 3, -5), (1, 1, 1), 0)
    image = 300 * resample(np.where(head.brain, head.tissue + 0.3, 0), head.grid, native.moved(matrix))
    kept = native.matrix.copy()
    kept[:3, 3] = (native.matrix @ [0, 0, cut, 1])[:3]
    said = np.diag([-axes[0], axes[1], axes[2], 1]) @ kept
    voxels = np.maximum(image, 0).astype(np.float32)[:, :, cut:]
    file = write_volume(folder / f"{name}.nii.gz", voxels, Grid.of(voxels.shape, said))
    return Case(name, name, "x", None, {"T1w": file})


REGISTERED = Preparation(("T1w",), (4, 4, 4), "zscore_volume", register="mni152")


def test_a_head_that_the_field_of_view_cuts_is_said_with_its_share_or_fails(tmp_path):
    with pytest.warns(DataWarning, match=r"\d+% of the brain lies outside the field of view"):
        prepared = prepare(head_file(tmp_path, cut=16), REGISTERED)
    assert 0.03 < prepared.registered.outside < 0.35
    assert prepared.registered.overlap > 0.7
    with pytest.raises(RegistrationError, match="outside the field of view"):
        prepare(head_file(tmp_path, "half", cut=29), REGISTERED)


@pytest.mark.parametrize("axes", [(-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0)], ids=["upside down", "back to front"])
def test_a_header_that_turns_the_head_over_fails(axes, tmp_path):
    with pytest.raises(RegistrationError, match=r"nats|turned back to front"):
        prepare(head_file(tmp_path, axes=axes), REGISTERED)


def test_what_shows_no_brain_fails_by_its_numbers(tmp_path):
    """A ball as large as a brain fits its outline, and shares nothing with its inside."""
    native = scan_grid((50, 56, 46), (4.0, 4.0, 4.0), np.eye(3), PLACE)
    x, y, z = np.meshgrid(*[np.arange(n) - n / 2 for n in native.shape], indexing="ij")
    ball = (x / 17.5) ** 2 + (y / 21) ** 2 + (z / 17.5) ** 2 < 1
    organ = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=native.shape), 2) * 300 + 100
    empty = np.zeros(native.shape, np.float32)
    series = np.zeros((*native.shape, 3), np.float32)
    for name, voxels, said in (
        ("organ", np.where(ball, np.maximum(organ, 1), 0), "information"),
        ("empty", empty, "constant|every voxel|0"),
        ("series", series, "dimensions"),
    ):
        import nibabel as nib

        file = tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), native.matrix), file)
        with pytest.raises(DataError, match=said):
            prepare(Case(name, name, "x", None, {"T1w": file}), REGISTERED)


def test_information_is_that_of_a_joint_histogram():
    """Two halves in both volumes: one bit, ln 2 nats; an image that says nothing: 0."""
    one = np.zeros((8, 8, 8), np.float32)
    one[4:] = 5
    everywhere = np.ones(one.shape, bool)
    assert information(one, -3 * one, everywhere) == pytest.approx(np.log(2))
    assert information(one, np.swapaxes(one, 0, 1), everywhere) == pytest.approx(0, abs=1e-9)
    assert information(one, one, ~everywhere) == 0
    assert worth_it(0.2, 0.22)
    assert not worth_it(0.2, 0.205)


def test_a_stripped_image_goes_on_into_its_background():
    brain = np.zeros((9, 9, 9), bool)
    brain[3:6, 3:6, 3:6] = True
    image = np.where(brain, 7, 0).astype(np.float32)
    image[4, 4, 4] = 9
    grid = Grid.of(image.shape, np.eye(4))
    assert (filled(image, brain, grid) == 9).all()  # the voxels at the edge are part air
    whole = image + 1
    assert filled(whole, brain, grid) is whole
