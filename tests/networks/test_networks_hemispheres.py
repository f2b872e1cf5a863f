"""Splitting and joining hemispheres: exact, order kept, labels with their intensities, askew brains reported once."""

from __future__ import annotations

import warnings

import hypothesis.extra.numpy as hnp
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import ConfigError, DataWarning
from strokelab.networks.hemispheres import Hemispheres, merge, mirror_overlap, split


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 5),
    st.integers(1, 6),
    st.sampled_from(["uint8", "float32"]),
    st.data(),
)
def test_merge_undoes_split_bit_for_bit(batch, channels, rows, half, kind, data):
    for shape in ((batch, channels, rows, 2 * half), (batch, channels, 2 * half, rows, 3)):
        x = torch.from_numpy(data.draw(hnp.arrays(kind, shape)))
        halves = split(x)
        assert halves.dtype == x.dtype
        assert halves.shape[0] == 2 * batch
        assert torch.equal(merge(halves).view(torch.uint8), x.view(torch.uint8))


def test_lefts_first_then_mirrored_rights():
    x = torch.tensor([[[[1, 2, 3, 4]]], [[[5, 6, 7, 8]]]])
    assert split(x).flatten(1).tolist() == [[1, 2], [5, 6], [4, 3], [8, 7]]
    volume = torch.arange(4).reshape(1, 1, 4, 1, 1)
    assert split(volume).flatten(1).tolist() == [[0, 1], [3, 2]]


def test_a_symmetric_slice_gives_two_identical_halves():
    half = torch.randn(2, 1, 5, 4)
    left, right = split(torch.cat([half, half.flip(3)], dim=3)).chunk(2)
    assert torch.equal(left, right)


@pytest.mark.parametrize("size", [(6, 8), (8, 6, 4)])
def test_a_label_stays_with_its_intensity(size):
    image = torch.rand(3, 1, *size)
    batch = {
        "image": image,
        "lesion": (image > 0.5).to(torch.uint8),
        "brain": torch.ones(3, 1, *size, dtype=torch.uint8),
        "site": torch.tensor([4, -1, 2]),
        "case_id": ["a", "b", "c"],
        "origin": torch.arange(9).reshape(3, 3),
    }
    halves = Hemispheres().split(batch)
    assert torch.equal(halves["lesion"], (halves["image"] > 0.5).to(torch.uint8))
    assert halves["site"].tolist() == [4, -1, 2, 4, -1, 2]
    assert halves["case_id"] == ["a", "b", "c", "a", "b", "c"]
    assert torch.equal(halves["origin"], torch.cat([batch["origin"]] * 2))
    assert torch.equal(Hemispheres().join(halves["image"]), image)


def test_odd_widths_are_refused():
    with pytest.raises(ConfigError, match="hemispheres=none"):
        split(torch.zeros(1, 1, 8, 7))
    with pytest.raises(ConfigError, match="7 voxels"):
        split(torch.zeros(1, 1, 7, 8, 8))


def test_overlap_with_the_mirror_image():
    brain = torch.zeros(3, 1, 1, 8)
    brain[0, ..., 2:6] = 1  # symmetric
    brain[1, ..., 0:4] = 1  # one side only
    assert mirror_overlap(brain).tolist() == [1.0, 0.0, 1.0]
    brain[1, ..., 4] = 1  # mirrored: columns 3 to 7; shared 3, 4 of 5
    assert mirror_overlap(brain)[1].item() == pytest.approx(2 * 2 / 10)


def passing(case_ids: list[str], columns: list[slice]) -> dict[str, object]:
    brain = torch.zeros(len(case_ids), 1, 10, 20, dtype=torch.uint8)
    for row, column in enumerate(columns):
        brain[row, :, :, column] = 1
    return {"image": torch.zeros(len(case_ids), 1, 10, 20), "brain": brain, "case_id": case_ids}


def test_askew_cases_are_reported_once_and_judged_over_all_their_slices():
    straight, shifted, thin = slice(4, 16), slice(0, 12), slice(9, 10)
    hemispheres = Hemispheres()
    # "good" has one thin slice beside the cut, which alone would look askew.
    hemispheres.split(passing(["good", "good", "askew"], [straight, thin, shifted]))
    hemispheres.split(passing(["good", "askew"], [straight, shifted]))
    with pytest.warns(DataWarning, match="askew: its brain"):
        assert list(hemispheres.warn_askew()) == ["askew"]
    hemispheres.split(passing(["askew", "good"], [shifted, straight]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hemispheres.warn_askew() == {}
    hemispheres.split(passing(["late", "good"], [shifted, straight]))
    with pytest.warns(DataWarning, match="late"):
        assert list(hemispheres.warn_askew()) == ["late"]
