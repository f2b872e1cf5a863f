"""Samples are the right voxels, whatever the order, the process or the epoch they are asked for in."""

import pickle
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from contract_checks import check_batch, check_sample
from data_small_cohort import SHAPE, small_view, write_cohort

from strokelab.augment.intensity import Noise
from strokelab.augment.recipes import Recipe
from strokelab.augment.spatial import Flip
from strokelab.data import read_cases
from strokelab.data.samples import Samples
from strokelab.errors import ConfigError, DataError
from strokelab.inference.slices import SliceWindows
from strokelab.preparation.store import PreparedStore, StoredCase
from strokelab.sampling.boxes import Drawing
from strokelab.sampling.slices import Slices
from strokelab.seeding import stream

SITES = {"Site1": 0, "Site3": 1}


class Corners:
    """Three boxes of each case, anew in every epoch; some hang over the border."""

    size, count, rows = (6, 7, 5), 3, None

    def __init__(self, cases, drawing):
        self.cases, self.seed = cases, drawing.seed

    def __len__(self):
        return self.count * len(self.cases)

    def at(self, keys):
        rows = [index // self.count for _, index in keys]
        of = [(self.cases[row].case_id, epoch, index % 3) for row, (epoch, index) in zip(rows, keys, strict=True)]
        return np.array(rows), np.stack([stream(self.seed, *words).integers(-4, 14, 3) for words in of])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    cases = read_cases("atlas_v1", write_cohort(folder / "raw"))
    return PreparedStore(folder / "store").prepare(cases, small_view(crop=None).preparation, progress=False)


SLICES = Slices(min_brain_pixels=20).places


def a_dataset(stored, places=SLICES, seed=7, **settings):
    its = places(stored, Drawing("train", seed, batch_size=4))
    return Samples(stored, its, seed=seed, **{"sites": SITES, **settings})


def test_a_slice_is_the_transposed_volume(stored):
    data = a_dataset(stored)
    batch = data.__getitems__([(0, index) for index in range(len(data))])
    check_batch(batch)
    assert tuple(batch["image"].shape) == (len(data), 1, SHAPE[1], SHAPE[0])
    by_id = {case.case_id: case.load() for case in stored}
    for index in range(len(data)):
        case, (x, y, z) = by_id[batch["case_id"][index]], batch["origin"][index].tolist()
        assert (x, y) == (0, 0)
        np.testing.assert_array_equal(batch["image"][index, 0], case.image[0, :, :, z].T)
        np.testing.assert_array_equal(batch["lesion"][index, 0], case.lesion[:, :, z].T)
        np.testing.assert_array_equal(batch["brain"][index, 0], case.brain[:, :, z].T)
    assert batch["lesion"].sum() > 0


def test_every_slice_with_brain_once(stored):
    data = a_dataset(stored)
    batch = data.__getitems__([(0, index) for index in range(len(data))])
    seen = sorted(zip(batch["case_id"], batch["origin"][:, 2].tolist(), strict=True))
    counts = [(c.case_id, z) for c in stored for z, n in enumerate(c.brain_voxels_per_slice) if n >= 20]
    assert seen == sorted(counts)
    assert len(data) < len(stored) * SHAPE[2]  # some slices have too little brain


def test_sites_are_training_indices(stored):
    data = a_dataset(stored)
    batch = data.__getitems__([(0, index) for index in range(len(data))])
    by_id = {case.case_id: SITES.get(case.site, -1) for case in stored}
    assert batch["site"].tolist() == [by_id[case_id] for case_id in batch["case_id"]] == data.sites.tolist()
    assert set(batch["site"].tolist()) == {0, 1, -1}
    unknown = a_dataset([replace(case, site=None) for case in stored])
    assert set(unknown.sites.tolist()) == {-1}


def test_patches_that_hang_over_are_padded_with_background(stored):
    data = a_dataset(stored, Corners)
    assert len(data) == 3 * len(stored)
    hung = 0
    for epoch in (0, 4):
        batch = data.__getitems__([(epoch, index) for index in range(len(data))])
        check_batch(batch)
        assert tuple(batch["image"].shape[1:]) == (1, 6, 7, 5)
        for index, case_id in enumerate(batch["case_id"]):
            case = next(case for case in stored if case.case_id == case_id).load()
            padded = np.pad(case.image, [(0, 0), *[(30, 30)] * 3])
            x, y, z = (batch["origin"][index] + 30).tolist()
            np.testing.assert_array_equal(batch["image"][index], padded[:, x : x + 6, y : y + 7, z : z + 5])
            hung += bool((batch["origin"][index] < 0).any())
    assert hung > 5


def test_drawn_boxes_are_a_function_of_seed_epoch_and_case(stored):
    def origins(data, epoch):
        return data.__getitems__([(epoch, index) for index in range(len(data))])["origin"].tolist()

    forward, backward = a_dataset(stored, Corners), a_dataset(stored, Corners)
    wanted = [origins(forward, epoch) for epoch in range(4)]
    assert [origins(backward, epoch) for epoch in (3, 2, 1, 0)] == wanted[::-1]
    assert wanted[1] != wanted[2]
    fewer = a_dataset(stored[2:4], Corners)
    assert origins(fewer, 2) == wanted[2][6:12]  # the other cases do not matter
    assert origins(a_dataset(stored, Corners, seed=8), 1) != wanted[1]


def test_one_by_one_equals_in_bulk(stored):
    data = a_dataset(stored, augment=Recipe([Flip(("x", "y")), Noise(p=1)]))
    keys = [(2, 9), (2, 0), (2, 30), (2, 9)]
    bulk = data.__getitems__(keys)
    for place, key in enumerate(keys):
        sample = data[key]
        check_sample(sample)
        for name in ("image", "lesion", "brain", "site", "origin"):
            assert torch.equal(sample[name], bulk[name][place])
        assert sample["case_id"] == bulk["case_id"][place]
    assert not torch.equal(data[(3, 9)]["image"], data[(2, 9)]["image"])


def test_augmentation_changes_nothing_in_the_store(stored):
    plain = a_dataset(stored).__getitems__([(0, 5)])["image"].clone()
    a_dataset(stored, augment=Recipe([Noise(p=1)])).__getitems__([(0, 5)])
    assert torch.equal(a_dataset(stored).__getitems__([(0, 5)])["image"], plain)


def test_closed_cases_give_the_same_and_no_file_stays_open(stored):
    data = a_dataset(stored, open_cases=2)
    keys = [(0, index) for index in np.random.default_rng(0).integers(0, len(data), 200)]
    before = psutil.Process().num_fds()
    batches = [data.__getitems__(keys[i : i + 10]) for i in range(0, 200, 10)]
    whole = a_dataset(stored)
    for i, batch in enumerate(batches):
        assert torch.equal(batch["image"], whole.__getitems__(keys[10 * i : 10 * i + 10])["image"])
    assert psutil.Process().num_fds() == before


def test_a_case_is_opened_once(stored, monkeypatch):
    opened = []
    original = StoredCase.load
    monkeypatch.setattr(StoredCase, "load", lambda case: opened.append(case.case_id) or original(case))
    data = a_dataset(stored)
    for epoch in range(2):
        data.__getitems__([(epoch, index) for index in range(len(data))])
    assert sorted(opened) == sorted(case.case_id for case in stored)


def test_where_the_system_allows_no_more_maps_fewer_cases_stay_open(stored, monkeypatch):
    data = a_dataset(stored)
    expected = data.__getitems__([(0, index) for index in range(len(data))])
    original = StoredCase.load

    def load(case):
        if len(limited._opened) >= 2:
            raise DataError(case.entry, found="Cannot allocate memory", expected="maps", remedy="none")
        return original(case)

    limited = a_dataset(stored)
    monkeypatch.setattr(StoredCase, "load", load)
    got = limited.__getitems__([(0, index) for index in range(len(data))])
    assert torch.equal(got["image"], expected["image"])


def test_a_case_that_went_away_is_told(stored):
    data = a_dataset([*stored[:1], replace(stored[1], entry=stored[1].entry / "gone")])
    with pytest.raises(DataError, match="store was changed"):
        data.__getitems__([(0, index) for index in range(len(data))])


def test_a_pickled_dataset_is_light_and_the_same(stored):
    data = a_dataset(stored, Corners)
    expected = data.__getitems__([(1, 2), (1, 8)])
    content = pickle.dumps(data)
    assert len(content) < 50_000
    assert torch.equal(pickle.loads(content).__getitems__([(1, 2), (1, 8)])["image"], expected["image"])


def test_unlabelled_cases_are_refused(stored):
    with pytest.raises(DataError, match="without a lesion mask"):
        a_dataset([*stored, replace(stored[0], case_id="new", lesion_voxels=None)])


def test_no_sample_at_all(stored):
    with pytest.raises(DataError, match="no sample"):
        a_dataset(stored, Slices(min_brain_pixels=10_000).places)


def test_slices_of_different_sizes(stored):
    grid = replace(stored[0].grid, shape=(19, 24, 10))
    with pytest.raises(ConfigError, match=r"preparation\.crop"):
        a_dataset([*stored, replace(stored[0], case_id="other", grid=grid)])


@pytest.mark.parametrize("channel", [None, 1])
def test_a_slab_is_what_prediction_sees_of_the_same_slice(stored, channel):
    """Image alone: lesion and brain are of slice z. Two channels, slice index fastest; one channel of any contrast."""
    two = [TwoChannels(case) for case in stored]
    modality = None if channel is None else Always(channel)
    data = a_dataset(two, Slices(min_brain_pixels=0, slices=4, target=2).places, modality=modality)
    single = a_dataset(two, Slices(min_brain_pixels=0).places, modality=modality)
    keys = [(0, index) for index in range(len(data))]
    batch, plain = data.__getitems__(keys), single.__getitems__(keys)
    channels = 2 if channel is None else 1
    assert tuple(batch["image"].shape) == (len(data), 4 * channels, SHAPE[1], SHAPE[0])
    assert data.sample_bytes == single.sample_bytes + 4 * 3 * channels * SHAPE[0] * SHAPE[1]
    for name in ("lesion", "brain", "origin"):
        assert torch.equal(batch[name], plain[name])
    assert torch.equal(batch["image"][:, 2::4], plain["image"])
    by_id = {case.case_id: case.load() for case in two}
    windows = SliceWindows(min_brain_pixels=0, slices=4, target=2)
    for case_id, case in by_id.items():
        rows = [row for row, one in enumerate(batch["case_id"]) if one == case_id]
        image = torch.from_numpy(np.array(case.image if channel is None else case.image[channel : channel + 1]))
        expected = windows.samples(image, batch["origin"][rows, 2])
        assert torch.equal(batch["image"][rows], expected)
    assert pickle.loads(pickle.dumps(data)).__getitems__(keys[:3])["image"].equal(batch["image"][:3])
    again = data[(0, 5)]
    assert torch.equal(again["image"], batch["image"][5])


def test_a_slab_is_flipped_as_one(stored):
    places = Slices(min_brain_pixels=20, slices=4, target=2).places
    flipped = a_dataset(stored, places, augment=Recipe([Flip("x", p=1.0)]))
    plain = a_dataset(stored, places)
    keys = [(0, index) for index in range(4)]
    assert torch.equal(flipped.__getitems__(keys)["image"], plain.__getitems__(keys)["image"].flip(3))


class Always:
    """One channel of every case."""

    def __init__(self, channel):
        self.channel = channel

    def at(self, keys):
        return [self.channel] * len(keys)


class TwoChannels:
    """A stored case with a second channel, which is the first one plus 100."""

    def __init__(self, case):
        self.case = case
        self.channels = (*case.channels, "other")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.case, name)

    def __reduce__(self):
        return TwoChannels, (self.case,)

    def load(self):
        case = self.case.load()
        return replace(case, channels=self.channels, image=np.concatenate([case.image, case.image + 100]))
