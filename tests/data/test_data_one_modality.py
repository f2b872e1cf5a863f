"""Samples of one modality of their case: every modality in turn by chance, only it, with its own background."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from contract_checks import check_batch
from data_small_cohort import SHAPE, write_cohort

from strokelab.augment.nnunet import NNUNetAugmentation
from strokelab.data import read_cases
from strokelab.data.sources import samples_of
from strokelab.errors import ConfigError
from strokelab.inference.windows import PatchWindows
from strokelab.preparation.mirror import Mirror
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore
from strokelab.sampling.crops import Crops
from strokelab.view import View

SIZE = (12, 14, 8)
NAMES = ("T1w", "T2w", "FLAIR")
KEYS = [(epoch, index) for epoch in range(20) for index in range(7)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Seven cases of three modalities, each another case's image."""
    folder = tmp_path_factory.mktemp("cohort")
    cases = read_cases("atlas_v1", write_cohort(folder / "raw"))
    images = [case.images["T1w"] for case in cases]
    several = [
        replace(case, images=dict(zip(NAMES, [*images[place:], *images[:place]], strict=False)))
        for place, case in enumerate(cases)
    ]
    return PreparedStore(folder / "store").prepare(several, Preparation(NAMES), progress=False)


def samples(stored, part="train", any_contrast=True, seed=5, **settings):
    sampler = Crops(SIZE, **settings)
    view = View(Preparation(NAMES), sampler, PatchWindows(SIZE), any_contrast=any_contrast)
    return samples_of(stored, part, view=view, batch_size=4, sites={}, seed=seed)


def chosen(stored, data, batch, keys):
    """Of each sample the one channel of its case that it is equal to, with all of that case's maps."""
    every = samples(stored, data.places.drawing.part, any_contrast=False, seed=data.seed).__getitems__(keys)
    assert torch.equal(batch["lesion"], every["lesion"])
    assert torch.equal(batch["brain"], every["brain"])
    equal = (batch["image"] == every["image"]).all(dim=(2, 3, 4))
    assert (equal.sum(dim=1) == 1).all()
    return equal.int().argmax(dim=1).tolist()


def test_each_sample_is_of_one_modality_of_its_case(stored):
    data = samples(stored)
    batch = data.__getitems__(KEYS)
    check_batch(batch)
    assert tuple(batch["image"].shape) == (len(KEYS), 1, *SIZE)
    found = chosen(stored, data, batch, KEYS)
    assert sorted(Counter(found)) == [0, 1, 2]
    assert min(Counter(found).values()) > 30
    again = samples(stored).__getitems__(KEYS[::-1])["image"].flip(0)
    assert torch.equal(again, batch["image"])  # whatever is asked for together
    assert found != chosen(stored, samples(stored, seed=6), samples(stored, seed=6).__getitems__(KEYS), KEYS)


def test_validation_sees_the_same_modality_in_every_epoch(stored):
    data = samples(stored, "val")
    first, later = (data.__getitems__([(epoch, index) for index in range(7)])["image"] for epoch in (0, 3))
    assert torch.equal(first, later)
    keys = [(0, index) for index in range(7)]
    assert chosen(stored, data, first_batch := data.__getitems__(keys), keys)
    assert first_batch["image"].shape[1] == 1
    train = samples(stored)
    assert data.modality.at(keys) == train.modality.at(keys)  # epoch 0's


def test_what_hangs_over_is_the_background_of_the_modality_it_is_of(stored):
    data = samples(stored, within=(40, 48, 20))
    batch = data.__getitems__(KEYS)
    modalities = data.modality.at(KEYS)
    over = 0
    for place, (_, row) in enumerate(KEYS):
        start, image = batch["origin"][place].numpy(), stored[row].load().image[modalities[place]]
        expected = np.pad(image, [(side, side) for side in SIZE], constant_values=np.median(faces(image)))
        low = start + SIZE
        box = expected[tuple(slice(a, a + side) for a, side in zip(low, SIZE, strict=True))]
        assert np.array_equal(batch["image"][place, 0].numpy(), box)
        over += bool((start < 0).any() or (start + SIZE > SHAPE).any())
    assert over > 50


def faces(v):
    sides = [v[0], v[-1], v[:, 0], v[:, -1], v[..., 0], v[..., -1]]
    return np.concatenate([side.ravel() for side in sides])


def test_larger_boxes_for_augmentation_are_of_that_modality(stored):
    view = View(
        Preparation(NAMES),
        Crops(SIZE),
        PatchWindows(SIZE),
        NNUNetAugmentation(rotation_p=1, zoom_p=0.5),
        any_contrast=True,
    )
    data = samples_of(stored, "train", view=view, batch_size=4, sites={}, seed=5, deferred=True)
    batch = data.__getitems__(KEYS[:6])
    assert batch["sources"]
    assert all(source["image"].shape[0] == 1 for source in batch["sources"].values())
    done = batch["later"].done({name: value for name, value in batch.items() if name != "later"})
    at_once = samples_of(stored, "train", view=view, batch_size=4, sites={}, seed=5).__getitems__(KEYS[:6])
    assert torch.equal(done["image"], at_once["image"])


def test_channels_that_are_made_of_modalities_are_no_contrasts():
    preparation = Preparation(NAMES, mirror=Mirror(enabled=True))
    with pytest.raises(ConfigError, match=r"view\.any_contrast"):
        View(preparation, Crops(SIZE), PatchWindows(SIZE), any_contrast=True)
