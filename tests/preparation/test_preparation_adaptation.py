"""Scans unlike those of a training: brought to them, exactly undone, or refused."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from strokelab.contract import Case, LesionFile
from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid, Resample
from strokelab.nifti import write_volume
from strokelab.preparation.adaptation import done_to, preparation_for
from strokelab.preparation.extent import extent_of, measured
from strokelab.preparation.recipe import Preparation, plan_steps, prepare
from strokelab.preparation.regrid import image_onto, mask_onto
from strokelab.preparation.restore import restore_mask
from strokelab.preparation.store import PreparedStore
from strokelab.preparation.trained_on import TrainedOn

# A stripped head of 70 x 80 x 60 mm around (2, -3, 5) in a field of view of 96 x 104 x 80 mm, finest at 1 mm.
FINE = Grid.of((96, 104, 80), [[1, 0, 0, -45.5], [0, 1, 0, -55], [0, 0, 1, -35], [0, 0, 0, 1]])
CENTRE, SIDES = np.array([2.0, -3.0, 5.0]), np.array([70.0, 80.0, 60.0])
LESION, RADIUS = np.array([18.0, 6.0, 9.0]), 11.0
SGNET = Preparation(("T1w",), crop=(20, 22, None), offset=(2, 2, None), normalize="zscore_slice_brain")


def volumes(seed=0):
    """The head, its brain and its lesion on ``FINE``."""
    world = np.stack(np.meshgrid(*[np.arange(n) for n in FINE.shape], indexing="ij"), -1) + FINE.matrix[:3, 3]
    brain = (((world - CENTRE) / (SIDES / 2)) ** 2).sum(-1) <= 1
    lesion = (((world - LESION) / RADIUS) ** 2).sum(-1) <= 1
    noise = np.random.default_rng(seed).normal(0, 4, FINE.shape)
    return np.where(brain, 100 + noise + 80 * lesion, 0).astype(np.float32), brain, lesion


HEAD, BRAIN, DRAWN = volumes()


def scan(folder, grid, name="scan", header=None):
    """The head as another scanner would have it, on any grid, with its masks; ``header``: where its files say it is."""
    steps, place = [Resample(FINE, grid)], header or grid
    image = write_volume(folder / f"{name}.nii.gz", image_onto(HEAD, FINE, steps), place)
    brain = write_volume(folder / f"{name}_brain.nii.gz", mask_onto(BRAIN, steps), place)
    lesion = write_volume(folder / f"{name}_lesion.nii.gz", mask_onto(DRAWN, steps), place)
    return Case(name, name, "test", None, {"T1w": image}, (LesionFile(lesion),), brain=brain)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> TrainedOn:
    """The record of a training at 4 mm."""
    folder = tmp_path_factory.mktemp("training")
    case = scan(folder, FINE.resized((4.0, 4.0, 4.0)))
    return TrainedOn.of(PreparedStore(folder / "store").prepare([case], SGNET, progress=False), SGNET)


def test_a_record_says_what_the_training_scans_were(trained):
    assert trained.spacing_mm.median == (4.0, 4.0, 4.0)
    assert trained.field_of_view_mm.low == (96.0, 104.0, 80.0)
    assert np.allclose(trained.brain_centre_mm.median, CENTRE, atol=2)  # half a voxel
    assert np.allclose(trained.brain_mm.median, SIDES, atol=8)  # a voxel at either end
    assert trained.brain_ml.median[0] == pytest.approx(np.pi / 6 * np.prod(SIDES) / 1000, rel=0.1)
    assert (trained.cases, trained.contrasts, dict(trained.orientations)) == (1, ("T1w",), {"RAS": 1})
    assert trained.space == "common grid"
    assert trained.frame.shape == (24, 26, 20)
    assert TrainedOn.from_json(trained.to_json()) == trained


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spacing_mm", {"low": [4, 4, 4], "median": [4, 4, 0], "high": [4, 4, 4]}),
        ("spacing_mm", {"low": [-4, 4, 4], "median": [4, 4, 4], "high": [4, 4, 4]}),
        ("brain_mm", {"low": [1, 1], "median": [1, 1], "high": [1, 1]}),
        ("brain_ml", {"low": ["x"], "median": [1], "high": [1]}),
        ("frame", {"shape": [4, 4, 4], "affine": np.zeros((4, 4)).tolist()}),
        ("frame", {"shape": [4096, 4096, 4096], "affine": np.eye(4).tolist()}),
        ("frame", {"shape": [0, 4, 4], "affine": np.eye(4).tolist()}),
        ("contrasts", None),
        ("cases", "many"),
    ],
)
def test_a_damaged_record_is_not_read(trained, key, value):
    with pytest.raises((KeyError, TypeError, ValueError)):
        TrainedOn.from_json(trained.to_json() | {key: value})


def test_a_scan_like_those_of_the_training_is_prepared_as_ever(trained, tmp_path):
    same = trained.frame
    shifted = same.matrix.copy()
    shifted[:3, 3] += 0.2  # a twentieth of a voxel: rounding of a header
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for grid in (same, Grid.of(same.shape, shifted)):
            assert preparation_for(scan(tmp_path, grid), SGNET, trained) is SGNET


def flipped(grid):
    matrix = grid.matrix @ np.diag([-1, 1, 1, 1.0])
    matrix[:3, 3] = (grid.matrix @ [grid.shape[0] - 1, 0, 0, 1])[:3]
    return Grid.of(grid.shape, matrix)


def turned(grid, degrees=12, shear=0.05):
    """The field of view of an oblique, slightly sheared scan around the same head."""
    angle = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    turn[0, 2] += shear
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ grid.matrix[:3, :3]
    matrix[:3, 3] = CENTRE - matrix[:3, :3] @ (np.array(grid.shape) / 2 - 0.5)
    return Grid.of(grid.shape, matrix)


SCANS = {
    "2 mm": FINE.resized((2.0, 2.0, 2.0)),
    "3 mm": FINE.resized((3.0, 3.0, 3.0)),
    "3 x 3 x 5 mm": FINE.resized((3.0, 3.0, 5.0)),
    "2 mm, LAS": flipped(FINE.resized((2.0, 2.0, 2.0))),
    "2 mm, oblique and sheared": turned(FINE.resized((2.0, 2.0, 2.0))),
}


@pytest.mark.parametrize("name", SCANS)
def test_other_voxels_in_the_same_space_lose_no_more_than_their_masks(trained, tmp_path, name):
    """A model that finds the lesion by its grey value on the training's grid."""
    case = scan(tmp_path, SCANS[name])
    preparation = preparation_for(case, SGNET, trained)
    assert preparation.onto == trained.frame
    prepared = prepare(case, preparation)
    assert prepared.image.shape[1:] == (20, 22, 20)
    assert prepared.brain.sum() * prepared.grid.voxel_volume_mm3 / 1000 == pytest.approx(
        trained.brain_ml.low[0], rel=0.03
    )
    found = restore_mask(prepared.image[0] > 0.8, prepared.steps)
    reference = mask_onto(DRAWN, [Resample(FINE, SCANS[name])])
    usual = mask_onto(DRAWN, [Resample(FINE, trained.frame)])
    by_mask = mask_onto(usual, [Resample(trained.frame, SCANS[name])])
    like_training = prepare(scan(tmp_path, trained.frame, "4mm"), SGNET)
    at_training = dice(restore_mask(like_training.image[0] > 0.8, like_training.steps), usual)
    assert at_training - dice(found, reference) <= 1 - dice(by_mask, reference) + 0.03
    words = done_to(prepared, SGNET, lambda: trained)
    assert words.removeprefix("resampled ").endswith(" -> 4x4x4 mm onto the training grid")


def dice(one, other):
    one, other = np.asarray(one) > 0, np.asarray(other) > 0
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_a_head_elsewhere_in_the_world_gets_the_grid_around_its_brain(trained, tmp_path):
    grid = FINE.resized((2.0, 2.0, 2.0))
    lost = grid.matrix.copy()
    lost[:3, 3] = 0  # its origin is gone
    case = scan(tmp_path, grid, "a", Grid.of(grid.shape, lost))
    with pytest.warns(DataWarning, match="case a: not in the space"):
        preparation = preparation_for(case, SGNET, trained)
    there = prepare(case, preparation)
    here = prepare(scan(tmp_path, grid), replace(SGNET, onto=trained.frame))
    assert there.grid.shape == here.grid.shape
    # The same head at the same place of the model's grid, up to half a voxel by which its box was measured.
    middles = [np.argwhere(one.brain).mean(axis=0) for one in (there, here)]
    assert np.abs(middles[0] - middles[1]).max() <= 0.5
    words = done_to(there, SGNET, lambda: trained)
    assert words == "resampled 2x2x2 -> 4x4x4 mm onto the training grid, laid around the brain"


@pytest.mark.parametrize(("factor", "sides"), [(2.5, (175, 200, 150)), (0.4, (28, 32, 24))])
def test_what_is_no_head_of_this_size_is_refused_by_name(trained, tmp_path, factor, sides):
    grid = FINE.resized((2.0, 2.0, 2.0))
    scaled = Grid.of(grid.shape, np.diag([factor, factor, factor, 1.0]) @ grid.matrix)
    case = scan(tmp_path, grid, "a", scaled)
    with pytest.raises(DataError) as caught:
        preparation_for(case, SGNET, trained)
    assert caught.value.where.endswith("a.nii.gz")
    found = [float(side) for side in caught.value.found.removeprefix("a brain of ").split(" mm")[0].split("x")]
    assert np.allclose(found, sides, rtol=0.06)
    assert "72x80x60 mm" in caught.value.expected


def test_a_constant_image_is_named_before_its_brain_is_looked_for(trained, tmp_path):
    grid = FINE.resized((2.0, 2.0, 2.0))
    flat = write_volume(tmp_path / "flat.nii.gz", np.full(grid.shape, 7, np.float32), grid)
    with pytest.raises(DataError, match="every voxel is 7"):
        preparation_for(Case("a", "a", "test", None, {"T1w": flat}), SGNET, trained)


def test_without_a_common_grid_the_spacing_becomes_the_trainings_and_the_crop_finds_the_brain(trained, tmp_path):
    native = replace(trained, frame=None)
    centred = replace(SGNET, offset=None)
    off_centre = Grid.of((60, 60, 44), [[2, 0, 0, -40], [0, 2, 0, -50], [0, 0, 2, -36], [0, 0, 0, 1]])
    case = scan(tmp_path, off_centre)
    with pytest.warns(DataWarning, match="2x2x2 mm"):
        preparation = preparation_for(case, centred, native)
    assert preparation.spacing == (4.0, 4.0, 4.0)
    prepared = prepare(case, preparation)
    middle = np.argwhere(prepared.brain).mean(axis=0)[:2] + 0.5
    assert np.abs(middle - (10, 11)).max() <= 0.6  # of the crop's 20 x 22
    assert done_to(prepared, centred, lambda: native).startswith("resampled 2x2x2 -> 4x4x4 mm")
    near = replace(native, spacing_mm=replace(native.spacing_mm, low=(1.95, 1.95, 1.95)))
    assert preparation_for(case, centred, near) is centred  # such scans were trained on
    whole = replace(SGNET, crop=None, offset=None, box="nonzero")
    assert preparation_for(case, whole, native) == replace(whole, spacing=(4.0, 4.0, 4.0))
    given = replace(whole, spacing=(3.0, 3.0, 3.0))
    assert preparation_for(case, given, native) is given  # it resamples itself


def test_brain_outside_the_crop_is_said_without_a_mask_of_lesions(tmp_path):
    voxels = np.zeros((20, 12, 12), np.float32)
    voxels[2:18, 2:10, 2:10] = np.random.default_rng(0).uniform(50, 60, (16, 8, 8))
    grid = Grid.of(voxels.shape, np.eye(4))
    case = Case("a", "a", "test", None, {"T1w": write_volume(tmp_path / "a.nii.gz", voxels, grid)})
    preparation = Preparation(("T1w",), crop=(12, None, None), offset=(2, None, None))  # 4 of 16 planes are cut
    with pytest.warns(DataWarning, match=r"case a: 25\.0% of the brain lies outside the crop"):
        prepare(case, preparation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(case, replace(preparation, crop=(16, None, None)))


def test_extents_are_measured_once_per_scan_in_a_store(tmp_path):
    case = scan(tmp_path, FINE.resized((4.0, 4.0, 4.0)))
    grid = FINE.resized((2.0, 2.0, 2.0))
    first = measured(case, grid, tmp_path / "store")
    notes = {path: path.stat().st_mtime_ns for path in (tmp_path / "store" / "extents").rglob("*.json")}
    assert len(notes) == 1
    assert measured(case, grid, tmp_path / "store") == first == measured(case, grid)
    assert {path: path.stat().st_mtime_ns for path in notes} == notes
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 2, 5] = mask[0, 0, 0] = True  # the largest piece counts
    own = Grid.of(mask.shape, np.diag([2.0, 3.0, 4.0, 1.0]))
    found = extent_of(mask, own, own)
    assert (found.low, found.high) == ((0.5, 1.5, 4.5), (2.5, 2.5, 5.5))
    assert found.ml == pytest.approx(2 * 24 / 1000)


def test_settings_without_a_grid_have_the_addresses_they_had():
    assert "onto" not in SGNET.to_json()
    assert replace(SGNET, onto=FINE).to_json() == SGNET.to_json() | {"onto": FINE.to_json()}
    assert plan_steps(FINE, replace(SGNET, onto=FINE)) == plan_steps(FINE, SGNET)
