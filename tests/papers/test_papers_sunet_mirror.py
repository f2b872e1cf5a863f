"""Mirrored channels on heads tilted by known amounts (Clerigues 2019; the numbers are the specification's)."""

import numpy as np
import pytest
from scipy import ndimage
from tilted_heads import LESION_MM, distances, head, homologous, points_of, pose

from strokelab.grid import Grid
from strokelab.preparation.alignment import correlation
from strokelab.preparation.mirror import Mirror, register, sample

SHAPE, MM = (54, 60, 48), 4.0
SPACING = (MM, MM, MM)
GRID = Grid.of(SHAPE, np.array([[MM, 0, 0, 0], [0, MM, 0, 0], [0, 0, MM, 0], [0, 0, 0, 1]]))
MIDDLE = (np.array(SHAPE) - 1) / 2 * MM
MODALITIES = ("FLAIR", "T1")


def middle_frame(transform):
    """From world points to points from the middle of the volume."""
    shift = np.eye(4)
    shift[:3, 3] = MIDDLE
    return np.linalg.inv(shift) @ np.array(transform) @ shift


def mirrored(image, brain, dof=12):
    out = np.empty_like(image)
    return out, Mirror(enabled=True, dof=dof).fill(out, image, brain, GRID, MODALITIES, "a")


@pytest.fixture(scope="module")
def tilted():
    place = pose(22, 15, 12)
    image, brain, _ = head(SHAPE, MM, place)
    flair, _, _ = head(SHAPE, MM, place, inverted=True)
    both = np.stack([flair, image])
    out, made = mirrored(both, brain)
    return place, both, brain, out, made


def test_a_tilted_head_meets_its_other_side_within_a_millimetre(tilted):
    place, _, brain, _, made = tilted
    apart = distances(middle_frame(made.transform), homologous(place), points_of(SHAPE, MM)[brain.ravel()])
    assert made.reference == "T1"
    assert not made.is_flip
    assert apart.mean() < 1
    assert apart.max() < 2
    assert made.metric < 0 < made.flip_correlation < made.correlation


@pytest.mark.parametrize(("yaw", "roll", "shift"), [(-22, 15, -12)])
def test_rigid_alone_meets_it_too(yaw, roll, shift):
    place = pose(yaw, roll, shift)
    image, brain, _ = head(SHAPE, MM, place)
    found, _ = register(image, brain, SPACING, 0, dof=6)
    apart = distances(found, homologous(place), points_of(SHAPE, MM)[brain.ravel()])
    assert (apart.mean() < 1, apart.max() < 2) == (True, True)


def test_a_centred_head_is_simply_flipped_within_a_third_of_a_millimetre():
    shape = (72, 80, 64)
    image, brain, _ = head(shape, 3.0, pose(), lesion=0)
    found, _ = register(image, brain, (3.0, 3.0, 3.0), 0)
    apart = distances(found, np.diag([-1.0, 1, 1, 1]), points_of(shape, 3.0)[brain.ravel()])
    assert apart.max() < 0.3


def test_the_mirrored_brain_is_the_brain(tilted):
    place, _, brain, _, made = tilted
    clean, _, _ = head(SHAPE, MM, place, lesion=0, noise=0)
    found = middle_frame(made.transform)
    once = sample(clean, SPACING, found)
    inner = ndimage.binary_erosion(brain, iterations=2)
    assert correlation(clean, once, inner) >= 0.95
    overlap = sample(brain.astype(np.float32), SPACING, found) >= 0.5
    assert 2 * (overlap & brain).sum() / (overlap.sum() + brain.sum()) >= 0.98


def test_mirrored_twice_it_is_the_original(tilted):
    _, both, brain, out, _ = tilted
    again, _ = mirrored(out, brain)
    assert correlation(both[1], again[1], ndimage.binary_erosion(brain, iterations=2)) >= 0.90


def test_the_lesion_shows_on_the_other_side_in_every_modality(tilted):
    place, both, _, out, made = tilted
    there = (place @ np.append(LESION_MM * [-1, 1, 1], 1))[:3]
    near = (((points_of(SHAPE, MM) - there) ** 2).sum(1) < 8**2).reshape(SHAPE)
    clean, _, _ = head(SHAPE, MM, place, lesion=0)
    assert (out[1] - clean)[near].mean() > 60  # of 80
    assert abs((both[1] - clean)[near].mean()) < 5
    np.testing.assert_array_equal(out[0], sample(both[0], SPACING, middle_frame(made.transform)))


def test_two_runs_agree_bit_for_bit(tilted):
    _, both, brain, out, made = tilted
    again, second = mirrored(both, brain)
    np.testing.assert_array_equal(again, out)
    assert second == made
