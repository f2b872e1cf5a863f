"""nnU-Net's augmentation of slices: they move in their plane, mask and image as one, and the midline can be kept."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from strokelab.augment.nnunet import NNUNetAugmentation
from strokelab.seeding import stream

OFF = NNUNetAugmentation(**{field.name: 0.0 for field in fields(NNUNetAugmentation) if field.name.endswith("_p")})
ROWS, COLUMNS = 20, 14


def a_batch(size=3, channels=2):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(size, channels, ROWS, COLUMNS)), (0, 0, 2, 2))
    lesion = image[:, :1] > np.quantile(image[:, :1], 0.8)
    return {
        "image": torch.tensor(image, dtype=torch.float32),
        "lesion": torch.tensor(lesion, dtype=torch.uint8),
        "brain": torch.ones((size, 1, ROWS, COLUMNS), dtype=torch.uint8),
        "case_id": ["a"] * size,
    }


def done(augmentation, batch, its_streams):
    """Both phases, as the dataset calls them."""
    plans = [augmentation.draw(one, batch["image"].shape[1], (COLUMNS, ROWS, 1)) for one in its_streams]
    return augmentation.apply(batch, plans)


def streams(size=3):
    return [stream(0, "augment", index) for index in range(size)]


def test_nothing_drawn_changes_nothing():
    before, after = a_batch(), done(OFF, a_batch(), streams())
    assert after["case_id"] == before["case_id"]
    assert all(torch.equal(before[key], after[key]) for key in ("image", "lesion", "brain"))


@pytest.mark.parametrize(("axes", "dims"), [("x", (3,)), ("y", (2,)), ("xyz", (2, 3)), ("z", ())])
def test_mirrors_are_those_of_rows_and_columns(axes, dims):
    after = done(replace(OFF, mirror_p=1.0, mirror=axes), a_batch(), streams())
    assert torch.equal(after["image"], a_batch()["image"].flip(dims))
    assert torch.equal(after["lesion"], a_batch()["lesion"].flip(dims))


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_turned_and_zoomed_slice_is_what_scipy_reads_there(interpolation):
    augmentation = replace(OFF, rotation_p=1.0, rotation=60.0, zoom_p=1.0, interpolation=interpolation)
    before, after = a_batch(), done(augmentation, a_batch(), streams())
    for index, its_stream in enumerate(streams()):
        plan = augmentation.draw(its_stream, 2, (COLUMNS, ROWS, 1))
        matrix = np.array(plan.warp.matrix)
        assert np.array_equal(matrix[2, :2], [0, 0])  # nothing leaves the plane
        in_plane = matrix[:2, :2][::-1, ::-1]  # rows, columns
        centre = (np.array([ROWS, COLUMNS]) - 1) / 2
        for channel in range(2):
            there = ndimage.affine_transform(
                before["image"][index, channel].numpy().astype(np.float64),
                in_plane,
                centre - in_plane @ centre,
                order=1,
                mode="nearest",
            )
            # Keys' cubic is another interpolation than SciPy's linear one: close on a smooth image.
            loose = 1e-4 if interpolation == "linear" else 0.1
            assert np.abs(after["image"][index, channel].numpy() - there).max() < loose


def test_the_lesion_moves_with_its_image():
    batch = a_batch()
    batch["image"] = batch["lesion"].float().repeat(1, 2, 1, 1)
    after = done(replace(OFF, rotation_p=1.0, zoom_p=1.0, elastic_p=1.0), batch, streams())
    assert not torch.equal(after["lesion"], a_batch()["lesion"])
    assert ((after["image"][:, :1] > 0.5) == after["lesion"].bool()).float().mean() > 0.995


def test_the_midline_stays_where_hemispheres_are_cut():
    augmentation = replace(OFF, rotation_p=1.0, zoom_p=1.0, elastic_p=1.0, keep_midline=True)
    symmetric = a_batch()
    for key in ("image", "lesion"):
        symmetric[key] = torch.maximum(symmetric[key], symmetric[key].flip(3))
    after = done(augmentation, symmetric, streams())
    assert torch.allclose(after["image"], after["image"].flip(3), atol=1e-5)


def test_a_sample_is_a_function_of_its_stream_alone():
    augmentation = NNUNetAugmentation(rotation_p=0.9, zoom_p=0.9, elastic_p=0.9, noise_p=0.9, gamma_p=0.9)
    together = done(augmentation, a_batch(), streams())
    for index in range(3):
        alone = {key: value[index : index + 1] for key, value in a_batch().items()}
        single = done(augmentation, alone, [streams()[index]])
        assert torch.equal(single["image"][0], together["image"][index])
        assert torch.equal(single["lesion"][0], together["lesion"][index])
