"""Random patches are the right voxels of the right cases, a pure function of seed, epoch and index, before anything."""

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from contract_checks import check_batch, check_sample
from data_small_cohort import SHAPE, small_view, write_cohort
from lightning.fabric.utilities.apply_func import move_data_to_device

from strokelab.augment.intensity import Noise
from strokelab.augment.nnunet import NNUNetAugmentation
from strokelab.augment.recipes import Recipe
from strokelab.data import read_cases
from strokelab.data.lost_worker import shared
from strokelab.data.samples import Samples, completed
from strokelab.data.sources import samples_of
from strokelab.errors import ConfigError, DataError
from strokelab.inference.slices import SliceWindows
from strokelab.inference.windows import PatchWindows
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore
from strokelab.sampling.balanced_patches import BalancedPatches
from strokelab.sampling.boxes import Drawing
from strokelab.sampling.foreground import ForegroundPatches
from strokelab.sampling.order import InOrder, Shuffle
from strokelab.sampling.slices import Slices
from strokelab.sampling.turns import turned
from strokelab.view import View

PATCH = (12, 8, 6)
SITES = {"Site1": 0, "Site3": 1}
MOVES = NNUNetAugmentation(rotation_p=0.5, zoom_p=0.5)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    cases = read_cases("atlas_v1", write_cohort(folder / "raw"))
    return PreparedStore(folder / "store").prepare(cases, Preparation(("T1w",)), progress=False)


def a_dataset(stored, **settings):
    sampler = ForegroundPatches(settings.pop("patch", PATCH), iterations_per_epoch=20, validation_iterations=4)
    seed, size = settings.pop("seed", 7), settings.pop("batch_size", 3)
    drawing = Drawing(settings.pop("part", "train"), seed, size, settings.pop("weights", None))
    return Samples(stored, sampler.places(stored, drawing), sites=SITES, seed=seed, **settings)


def starts_of(data, keys):
    return data.places.at(keys)[1]


def keys(data, epoch=0):
    return [(epoch, index) for index in range(len(data))]


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in ("image", "lesion", "brain", "origin"))


def a_view(augment=None, **parts):
    sampler = ForegroundPatches(PATCH, iterations_per_epoch=20)
    default = {"sampler": sampler, "windows": PatchWindows(PATCH)}
    return View(Preparation(("T1w",)), **{**default, **parts}, augment=augment)


# ---------------------------------------------------------------- the right voxels


@pytest.mark.parametrize("patch", [PATCH, (24, 30, 6)])
def test_a_patch_is_the_volume_at_its_origin_with_background_around(stored, patch):
    data = a_dataset(stored, patch=patch)
    batch = data.__getitems__(keys(data))
    check_batch(batch)
    assert tuple(batch["image"].shape) == (60, 1, *patch)
    by_id = {case.case_id: case.load() for case in stored}
    for place, case_id in enumerate(batch["case_id"]):
        case = by_id[case_id]
        x, y, z = (batch["origin"][place] + 30).tolist()
        for name in ("image", "lesion", "brain"):
            whole = np.pad(getattr(case, name).reshape(-1, *SHAPE), [(0, 0), *[(30, 30)] * 3])
            wanted = whole[:, x : x + patch[0], y : y + patch[1], z : z + patch[2]]
            np.testing.assert_array_equal(batch[name][place], wanted)


@pytest.mark.parametrize("augment", [None, "wider"])
def test_balanced_patches_are_turned_alike_with_each_channels_background_around(stored, augment):
    patch = (16, 16, 6)
    places = BalancedPatches(patch, per_case=280, least_voxels=4).places(stored, Drawing("train", 7, 3))
    data = Samples(stored, places, sites=SITES, seed=7, augment=Widen() if augment else None)
    batch = data.__getitems__(keys(data))
    check_batch(batch)
    assert len(batch["case_id"]) == 280 * len(stored)
    turns, by_id = places.turns(keys(data)), {case.case_id: case.load() for case in stored}
    assert set(turns) == set(range(6))
    hanging = 0
    for place, (case_id, turn) in enumerate(zip(batch["case_id"], turns, strict=True)):
        case = by_id[case_id]
        around = {"image": float(case.image[0, 0, 0, 0]), "lesion": 0, "brain": 0}  # skull-stripped: its corner is air
        x, y, z = (batch["origin"][place] + 30).tolist()
        hanging += min(batch["origin"][place]) < 0
        for name, outside in around.items():
            whole = np.full((1, *np.array(SHAPE) + 60), outside, np.float32)
            whole[:, 30:-30, 30:-30, 30:-30] = getattr(case, name)
            cut = whole[:, x : x + patch[0], y : y + patch[1], z : z + patch[2]]
            np.testing.assert_array_equal(batch[name][place], turned(cut, int(turn)))
    assert hanging > 20


def test_balanced_patches_follow_from_seed_and_case_alone(stored):
    sampler = BalancedPatches((8, 8, 6), per_case=40, least_voxels=30)

    def starts(cases, seed=7, sampler=sampler, epoch=0):
        places = sampler.places(cases, Drawing("train", seed, 3))
        return {
            case.case_id: places.at([(epoch, 40 * row + n) for n in range(40)])[1].tolist()
            for row, case in enumerate(cases)
        }

    everyone, some = starts(stored), starts(stored[3:5][::-1])
    assert some == {case_id: everyone[case_id] for case_id in some}
    assert starts(stored, epoch=3) == everyone
    assert starts(stored, seed=8) != everyone
    anew = replace(sampler, resample_each_epoch=True)
    assert starts(stored, sampler=anew) == everyone
    assert starts(stored, sampler=anew, epoch=3) != everyone
    places = pickle.loads(pickle.dumps(sampler.places(stored, Drawing("train", 7, 3))))
    assert places.at([(0, 81)])[1].tolist() == [everyone[stored[2].case_id][1]]


def test_the_last_of_three_holds_lesion_and_sites_are_indices(stored):
    data = a_dataset(stored)
    batch = data.__getitems__(keys(data))
    holds = batch["lesion"].flatten(1).any(1).reshape(20, 3)
    assert holds[:, 2].all()
    assert not holds[:, :2].all()
    by_id = {case.case_id: SITES.get(case.site, -1) for case in stored}
    assert batch["site"].tolist() == [by_id[case_id] for case_id in batch["case_id"]]
    assert [stored[row].case_id for row in data.rows_of(keys(data))] == batch["case_id"]


def test_patches_are_a_function_of_seed_epoch_index_and_part(stored):
    data, again = a_dataset(stored), a_dataset(stored)
    wanted = [starts_of(data, keys(data, epoch)).tolist() for epoch in range(3)]
    assert [starts_of(again, keys(again, epoch)).tolist() for epoch in (2, 1, 0)] == wanted[::-1]
    assert wanted[0] != wanted[1]
    assert starts_of(a_dataset(stored, seed=8), keys(data)).tolist() != wanted[0]
    assert starts_of(a_dataset(stored, part="val"), keys(data)).tolist() != wanted[0]
    assert len(a_dataset(stored, part="val")) == 4 * 3


def test_shares_of_a_batch_over_processes_are_the_batch(stored):
    """Rank r takes every second of a step: what is forced does not depend on who asks."""
    data = a_dataset(stored, batch_size=4)
    whole = starts_of(data, [(1, index) for index in range(8, 12)])
    shares = [starts_of(data, [(1, index) for index in range(8 + rank, 12, 2)]) for rank in range(2)]
    assert np.stack(shares, axis=1).reshape(4, 3).tolist() == whole.tolist()


def test_cases_are_drawn_with_replacement_by_their_weight(stored):
    def shares(weights):
        rows = np.array(a_dataset(stored, weights=weights).rows_of([(0, index) for index in range(3000)]))
        return np.bincount(rows, minlength=len(stored)) / 3000

    np.testing.assert_allclose(shares(None), 1 / 7, atol=0.03)
    np.testing.assert_allclose(shares([1, 0, 2, 1, 0, 0, 0]), [0.25, 0, 0.5, 0.25, 0, 0, 0], atol=0.03)


def test_the_lesion_voxels_of_a_case_are_looked_for_once(stored, monkeypatch):
    looked = []
    found = ForegroundPatches.kept_voxels
    monkeypatch.setattr(ForegroundPatches, "kept_voxels", lambda s, *args: looked.append(1) or found(s, *args))
    data = a_dataset(stored)
    for epoch in range(3):
        starts_of(data, keys(data, epoch))
    assert len(looked) == len(stored)


def test_a_pickled_dataset_is_light_and_the_same(stored):
    data = a_dataset(stored, augment=MOVES)
    wanted = data.__getitems__([(1, 2), (1, 8)])
    content = pickle.dumps(data)
    assert len(content) < 50_000
    assert same(pickle.loads(content).__getitems__([(1, 2), (1, 8)]), wanted)


# ---------------------------------------------------------------- augmentation


@dataclass(frozen=True)
class Widen:
    """A plan that reads more and changes nothing; every second sample."""

    margin: int = 2
    pure: bool = True

    @dataclass(frozen=True)
    class Extent:
        source: tuple[int, int, int]

    def draw(self, stream, channels, patch):
        wide = stream.random() < 0.5
        return self.Extent(tuple(n + 2 * self.margin * wide for n in patch))

    def apply(self, batch, plans):
        m = self.margin
        for place, source in batch["sources"].items():
            for name, value in source.items():
                batch[name][place] = value[:, m:-m, m:-m, m:-m]
        return {name: value for name, value in batch.items() if name != "sources"}


def test_only_samples_that_need_it_read_a_larger_box_and_it_lies_around_the_patch(stored):
    plain, wide = a_dataset(stored), a_dataset(stored, augment=Widen(), deferred=True)
    batch = wide.__getitems__(keys(wide))
    assert 15 < len(batch["sources"]) < 45
    assert tuple(batch["sources"][next(iter(batch["sources"]))]["image"].shape) == (1, *[n + 4 for n in PATCH])
    done = completed(batch)
    check_batch(done)
    assert same(done, plain.__getitems__(keys(plain)))  # a central crop, also where the box hangs over the border


@pytest.mark.parametrize("augment", [MOVES, NNUNetAugmentation(elastic_p=0.5)])
def test_augmentation_now_or_on_the_device_gives_the_same(stored, augment):
    now, later = a_dataset(stored, augment=augment), a_dataset(stored, augment=augment, deferred=True)
    wanted = now.__getitems__(keys(now)[:12])
    check_batch(wanted)
    waiting = later.__getitems__(keys(now)[:12])
    assert waiting["sources"]
    there = move_data_to_device(shared(waiting), torch.device("cpu"))  # as Lightning does: plans stay as they are
    assert there["later"] is waiting["later"]
    assert same(completed(there), wanted)
    assert not same(wanted, a_dataset(stored).__getitems__(keys(now)[:12]))


def test_each_sample_has_its_own_draws(stored):
    data = a_dataset(stored, augment=MOVES)
    bulk = data.__getitems__([(2, 9), (2, 0), (2, 30)])
    for place, key in enumerate([(2, 9), (2, 0), (2, 30)]):
        sample = data[key]
        check_sample(sample)
        for name in ("image", "lesion", "brain", "origin"):
            torch.testing.assert_close(sample[name], bulk[name][place], rtol=0, atol=1e-6)
    with pytest.raises(TypeError, match="whole batches"):
        a_dataset(stored, augment=MOVES, deferred=True)[(0, 0)]


def test_a_recipe_serves_patches_as_well(stored):
    data = a_dataset(stored, augment=Recipe([Noise(p=1)]))
    one, other = data.__getitems__([(0, 1)]), a_dataset(stored).__getitems__([(0, 1)])
    assert torch.equal(one["lesion"], other["lesion"])
    assert not torch.equal(one["image"], other["image"])


def test_memory_of_a_sample_counts_its_source(stored):
    assert a_dataset(stored).sample_bytes == 12 * 8 * 6 * 6
    assert a_dataset(stored, augment=Widen()).sample_bytes == 16 * 12 * 10 * 6


# ---------------------------------------------------------------- which dataset, and what is refused


def test_the_sampler_decides_and_validation_is_not_augmented(stored):
    settings = {"view": a_view(MOVES), "batch_size": 2, "sites": {}, "seed": 0, "deferred": True}
    train, val = (samples_of(stored, part, **settings) for part in ("train", "val"))
    assert (train.augment, train.deferred, len(train)) == (MOVES, True, 40)
    assert (val.augment, val.deferred, len(val)) == (None, False, 100)
    assert not samples_of(stored, "train", **{**settings, "view": a_view(Recipe())}).deferred
    slices = samples_of(stored, "train", **{**settings, "view": small_view()})
    assert len(slices.__getitems__([(0, 0)])["image"].shape) == 4


def test_weights_need_a_view_that_draws_cases(stored):
    settings = {
        "batch_size": 2,
        "sites": {},
        "seed": 0,
        "weights": [1.0, *[2.0] * 7],
        "weighed_by": "data.pseudo.weight",
    }
    some = [replace(stored[0], case_id="other"), *stored]
    with pytest.raises(ConfigError, match=r"data\.pseudo\.weight[\s\S]*Slices"):
        samples_of(some, "train", view=small_view(), **settings)
    rows = samples_of(some, "train", view=a_view(), **settings).rows_of([(0, index) for index in range(2000)])
    assert rows.count(0) / 2000 == pytest.approx(1 / 15, abs=0.02)


@pytest.mark.parametrize(
    ("weights", "words"), [([0] * 7, "weight of 0"), ([1, -1, *[1] * 5], "-1"), ([float("nan"), *[1] * 6], "nan")]
)
def test_weights_that_draw_nobody(stored, weights, words):
    with pytest.raises(DataError, match=words):
        a_dataset(stored, weights=weights)


def test_no_case_and_no_mask(stored):
    with pytest.raises(DataError, match="no case to sample train patches from"):
        a_dataset([])
    with pytest.raises(DataError, match="without a lesion mask"):
        a_dataset([*stored, replace(stored[0], case_id="new", lesion_voxels=None)])


def test_a_view_whose_parts_disagree_is_refused():
    other = PatchWindows((16, 8, 6))
    assert a_view(windows=other).windows == other, "windows need not be of the size of the training patches"
    with pytest.raises(ConfigError) as caught:
        View(Preparation(("T1w",)), Slices(min_brain_pixels=8), SliceWindows(min_brain_pixels=9))
    assert (caught.value.where, caught.value.found) == ("view.windows.min_brain_pixels", "9")
    View(Preparation(("T1w",)), Slices(min_brain_pixels=8), SliceWindows(min_brain_pixels=8))
    with pytest.raises(ConfigError, match=r"view\.order[\s\S]*Shuffle"):
        a_view(order=Shuffle())


def test_orders_of_a_view_of_patches():
    view = a_view(order=InOrder(fixed=False))
    assert view.order_of("train") == InOrder(fixed=False) == a_view().order_of("train")
    assert view.order_of("val") == InOrder(fixed=True)
    anew = a_view(sampler=ForegroundPatches(PATCH, fixed_validation=False))
    assert anew.order_of("val") == InOrder(fixed=False)
    assert (small_view().order_of("train"), small_view().order_of("val")) == (Shuffle(), InOrder())
