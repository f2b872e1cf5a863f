"""Every kind of sample is served alike; sources are mixed by weight or strictly in turn, on any number of processes."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from data_small_cohort import SHAPE, small_view, write_cohort

from strokelab.data import read_cases
from strokelab.data.datamodule import CohortDataModule
from strokelab.data.loaders import batch_loader
from strokelab.data.samples import Samples
from strokelab.data.sources import COHORT, MixedSamples, Sourced, training_samples
from strokelab.data.splits import All
from strokelab.errors import ConfigError, DataError
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore
from strokelab.sampling.alternate import Alternate, Ordered
from strokelab.sampling.boxes import Drawing, Listed, listed
from strokelab.sampling.foreground import ForegroundPatches
from strokelab.sampling.order import EpochBatchSampler, InOrder, Shuffle
from strokelab.sampling.slices import Slices
from strokelab.seeding import stream
from strokelab.view import View


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder / "raw")
    return folder


@pytest.fixture(scope="module")
def stored(folder):
    cases = read_cases("atlas_v1", folder / "raw")
    return PreparedStore(folder / "store").prepare(cases, Preparation(("T1w",)), progress=False)


# ---------------------------------------------------------------- five kinds of samples, one dataset


@dataclass(frozen=True)
class Slabs:
    """Every slab of so many slices around a slice with brain (D-UNet, X-Net's neighbours)."""

    slices: int = 4

    def places(self, cases, drawing):
        boxes = [np.pad(np.flatnonzero(case.brain_voxels_per_slice)[:, None], ((0, 0), (2, 0))) for case in cases]
        starts = [one - [0, 0, self.slices // 2 - 1] for one in boxes]
        return listed(cases, starts, [(*case.grid.shape[:2], self.slices) for case in cases])

    def order(self, part):
        return None

    def sample_shape(self, crop):
        return None


@dataclass(frozen=True)
class Balanced:
    """A fixed list of patches of each case, half of them on lesions, held as bytes (SUNet)."""

    size: tuple = (6, 6, 4)
    per_case: int = 500

    def places(self, cases, drawing):
        starts = []
        for case in cases:
            rng = stream(drawing.seed, "patches", case.case_id)
            voxels = np.argwhere(case.load().lesion)
            lesion = voxels[rng.integers(len(voxels), size=self.per_case // 2)] - np.array(self.size) // 2
            anywhere = rng.integers(0, np.array(SHAPE) - self.size, size=(self.per_case - self.per_case // 2, 3))
            starts.append(np.concatenate([lesion, anywhere]).astype(np.int16))
        return listed(cases, starts, [self.size] * len(cases))

    def order(self, part):
        return None

    def sample_shape(self, crop):
        return self.size


@dataclass(frozen=True)
class Crops:
    """One crop of each case: anywhere in training, around the lesion in validation (ResU-Net)."""

    size: tuple = (12, 12, 8)

    def places(self, cases, drawing):
        return CropPlaces(self.size, cases, drawing)

    def order(self, part):
        return None

    def sample_shape(self, crop):
        return self.size


@dataclass
class CropPlaces:
    size: tuple
    cases: list
    drawing: Drawing
    rows: np.ndarray = field(init=False)

    def __post_init__(self):
        self.rows = np.arange(len(self.cases))

    def __len__(self):
        return len(self.cases)

    def at(self, keys):
        return self.rows[[index for _, index in keys]], np.stack([self._start(*key) for key in keys])

    def _start(self, epoch, index):
        if self.drawing.part == "val":
            middle = np.argwhere(self.cases[index].load().lesion).mean(0).astype(int)
            return np.clip(middle - np.array(self.size) // 2, 0, np.array(SHAPE) - self.size)
        return stream(self.drawing.seed, "crop", epoch, index).integers(0, np.array(SHAPE) - self.size + 1)


@dataclass(frozen=True)
class Painted:
    """Images made of the labels alone, from a box larger than the sample (SynthStroke)."""

    pure: bool = True

    @dataclass(frozen=True)
    class Extent:
        source: tuple
        level: float

    def draw(self, stream, channels, patch):
        return self.Extent(tuple(side + 2 for side in patch), float(stream.random()))

    def apply(self, batch, plans):
        for index, plan in enumerate(plans):
            made = {name: value[:, 1:-1, 1:-1, 1:-1] for name, value in batch["sources"][index].items()}
            for name in ("lesion", "brain"):
                batch[name][index] = made[name]
            batch["image"][index] = made["brain"] * plan.level + made["lesion"]
        return {name: value for name, value in batch.items() if name != "sources"}


def samples(cases, sampler, part="train", seed=3, **settings):
    return Samples(cases, sampler.places(cases, Drawing(part, seed, 2)), sites={"Site1": 0}, seed=seed, **settings)


def every(data, epoch=0):
    return data.__getitems__([(epoch, index) for index in range(len(data))])


@pytest.mark.parametrize("sampler", [Slices(), Slabs(), Balanced(), Crops(), ForegroundPatches((8, 8, 6), 4)])
def test_every_sampler_is_served_by_one_dataset(stored, sampler):
    data = samples(stored, sampler)
    batch = every(data)
    by_id = {case.case_id: case.load() for case in stored}
    size = data.places.size
    for index in range(0, len(data), max(1, len(data) // 40)):
        whole = np.pad(by_id[batch["case_id"][index]].image, [(0, 0), *[(30, 30)] * 3])
        x, y, z = (batch["origin"][index] + 30).tolist()
        box = whole[:, x : x + size[0], y : y + size[1], z : z + size[2]]
        np.testing.assert_array_equal(batch["image"][index], box[..., 0].swapaxes(1, 2) if size[2] == 1 else box)
    assert [stored[row].case_id for row in data.rows_of([(0, 0), (0, 1)])] == batch["case_id"][:2]
    if data.sites is not None:
        assert data.sites.tolist() == batch["site"].tolist()


def test_a_list_of_patches_is_small_and_shuffled_anew_in_each_epoch(stored):
    places = samples(stored, Balanced()).places
    assert isinstance(places, Listed)
    assert places.starts.nbytes == 7 * 500 * 3 * 2
    batches = EpochBatchSampler(len(places), 50, 0, order=Shuffle())
    seen = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        seen.append([index for keys in batches for _, index in keys])
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(3500))
    assert seen[0] != seen[1]
    lesion = every(samples(stored, Balanced()))["lesion"].flatten(1).any(1).reshape(7, 500)
    assert lesion[:, :250].all()


def test_crops_are_random_in_training_and_on_the_lesion_in_validation(stored):
    train, val = samples(stored, Crops()), samples(stored, Crops(), "val")
    assert not torch.equal(every(train, 0)["origin"], every(train, 1)["origin"])
    assert torch.equal(every(train, 1)["origin"], every(samples(stored, Crops()), 1)["origin"])
    assert every(val)["lesion"].flatten(1).any(1).all()
    larger = samples(stored, Crops((16, 16, 10)))  # another stage
    assert tuple(every(larger)["image"].shape) == (7, 1, 16, 16, 10)


def test_images_can_be_made_instead_of_cut(stored):
    data = samples(stored, Crops(), augment=Painted())
    batch = every(data)
    plain = every(samples(stored, Crops()))
    assert torch.equal(batch["lesion"], plain["lesion"])
    inside = (batch["brain"] == 1) & (batch["lesion"] == 0)
    assert all(len(batch["image"][index][inside[index]].unique()) == 1 for index in range(7))
    assert not torch.equal(every(data, 1)["image"], batch["image"])
    assert torch.equal(data[(0, 3)]["image"], batch["image"][3])


class Older:
    """Two phases and not a word on whether it is pure."""

    def draw(self, stream, channels, patch):
        return float(stream.random())

    def apply(self, batch, plans):
        return {**batch, "image": batch["image"] + torch.tensor(plans).view(-1, 1, 1, 1, 1)}


class Named:
    """A callable with a method of its own that is called draw."""

    def draw(self):
        return 1.0

    def __call__(self, batch, streams):
        return {**batch, "image": batch["image"] + self.draw()}


@pytest.mark.parametrize("augment", [Older(), Named()])
def test_own_augmentation_of_an_earlier_form(stored, augment):
    view = View(Preparation(("T1w",)), Crops(), None, augment)
    assert view.augments_on_cpu == isinstance(augment, Named)
    plain, data = every(samples(stored, Crops())), samples(stored, Crops(), augment=view.augment)
    assert data.in_thread == isinstance(augment, Older)
    assert ((every(data)["image"] - plain["image"]).flatten(1).std(1) < 1e-5).all()
    assert not torch.equal(every(data)["image"], plain["image"])


# ---------------------------------------------------------------- strictly in turn


def test_steps_alternate_and_the_first_source_is_seen_whole():
    order = Alternate((2, 1)).over([Ordered(8, InOrder()), Ordered(3, InOrder())], batch_size=2)
    indices = order.arrange(np.empty(0, dtype=np.int64), np.random.default_rng(0))
    assert len(order) == len(indices) == 12
    assert indices.reshape(-1, 2).tolist() == [[0, 1], [2, 3], [8, 9], [4, 5], [6, 7], [10, 8]]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_all_processes_are_at_the_same_source(world_size):
    streams = [Ordered(10, Shuffle()), Ordered(50, Shuffle())]
    order = Alternate().over(streams, batch_size=6)
    ranks = []
    for rank in range(world_size):
        batches = EpochBatchSampler(len(order), 6, 0, order=order, rank=rank, world_size=world_size)
        batches.set_epoch(3)
        ranks.append(list(batches))
    for step, shares in enumerate(zip(*ranks, strict=True)):
        assert {index >= 10 for keys in shares for _, index in keys} == {step % 2 == 1}
    seen = [index for keys in ranks[0] for _, index in keys if index < 10]
    assert len(ranks[0]) == 4
    assert world_size > 1 or set(seen) == set(range(10))


@pytest.mark.parametrize("ratio", [(), (0, 0), (-1, 1), (1, 1.5), (True, 1)])
def test_ratios_that_are_none(ratio):
    with pytest.raises(ConfigError, match=r"data\.mixing\.ratio"):
        Alternate(ratio)


def kinds(order, batch_size, starts):
    """The stream of each step."""
    indices = order.arrange(np.empty(0, dtype=np.int64), np.random.default_rng(0)).reshape(-1, batch_size)
    found = np.searchsorted(starts, indices, side="right")
    assert (found == found[:, :1]).all()
    return found[:, 0].tolist()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"first": "made"}, [1, 0, 1, 0, 1, 0]),
        ({"ratio": (2, 1), "first": "made"}, [1, 0, 0] * 2),
        ({"ratio": (1, 0)}, [0, 0, 0]),
        ({"ratio": (0, 1), "steps": 4}, [1] * 4),
        ({"ratio": (1, 2), "steps": 5, "first": "made"}, [1, 1, 0, 1, 1]),
    ],
)
def test_turns_of_labelled_and_made_samples(settings, expected):
    """Of three steps of the cohort, and of another source that makes as many samples as it is asked for."""
    streams = [Ordered(6, InOrder(), name="cohort"), Ordered(None, InOrder(), name="made")]
    order = Alternate(**{"ratio": (1, 1)} | settings).over(streams, batch_size=2)
    assert kinds(order, 2, order.starts[1:-1]) == expected
    assert len(order) == 2 * len(expected)
    wanted = order.starts[2] - order.starts[1]
    made = [index for index in order.arrange(None, np.random.default_rng(0)) if index >= order.starts[1]]
    assert made == list(range(order.starts[1], order.starts[1] + wanted))  # each once, in order


@pytest.mark.parametrize("change", [{"ratio": (0, 1)}, {"first": "other"}])
def test_turns_that_cannot_be(change):
    streams = [Ordered(6, InOrder(), name="cohort"), Ordered(None, InOrder(), name="made")]
    with pytest.raises(ConfigError, match=r"data\.mixing\.(steps|first)"):
        Alternate(**{"ratio": (1, 1)} | change).over(streams, batch_size=2)


@pytest.mark.parametrize("steps", [0, 1.5, True])
def test_epochs_without_a_number_of_steps(steps):
    with pytest.raises(ConfigError, match=r"data\.mixing\.steps"):
        Alternate(steps=steps)


def test_a_short_cohort_is_visited_anew_with_other_crops(stored):
    """Twelve steps of seven crops: every case three or four times, and never the same crop again."""
    data, order = training_samples([crops_of(stored)], Alternate((1,), steps=12), batch_size=2, sites={}, seed=0)
    found = list(batch_loader(data, EpochBatchSampler(len(data), 2, 0, order=order)))
    visits = [
        (name, tuple(origin))
        for batch in found
        for name, origin in zip(batch["case_id"], batch["origin"].tolist(), strict=True)
    ]
    counts = np.unique([name for name, _ in visits], return_counts=True)[1]
    assert (len(visits), sorted(counts)) == (24, [3, 3, 3, 3, 4, 4, 4])
    assert len(set(visits)) > 20  # of some sixty places each
    assert {name for name, _ in visits[:7]} == {name for name, _ in visits[7:14]} == {case.case_id for case in stored}


def test_a_ratio_for_each_source(stored):
    with pytest.raises(ConfigError, match="2 numbers"):
        Alternate((1, 1, 1)).over([Ordered(8, InOrder())] * 2, batch_size=2)


def crops_of(cases, name=COHORT, size=(12, 12, 8), weight=1.0):
    return Sourced(name, cases, View(Preparation(("T1w",)), Crops(size), windows=None), weight)


@pytest.mark.parametrize("workers", [0, 2])
def test_sources_with_views_of_their_own_are_served_in_turn(stored, workers):
    painted = replace(crops_of(stored[4:], "painted", (8, 8, 8)).view, augment=Painted())
    sources = [crops_of(stored[:4]), Sourced("painted", stored[4:], painted)]
    data, order = training_samples(sources, Alternate((1, 1)), batch_size=2, sites={}, seed=0)
    assert isinstance(data, MixedSamples)
    loader = batch_loader(data, EpochBatchSampler(len(data), 2, 0, order=order), workers=workers)
    found = list(loader)
    assert [tuple(batch["image"].shape[2:]) for batch in found] == [(12, 12, 8), (8, 8, 8)] * 2
    assert {name for batch in found[::2] for name in batch["case_id"]} == {case.case_id for case in stored[:4]}
    assert data[(0, 5)]["case_id"] == stored[5].case_id == data.cases[data.rows_of([(0, 5)])[0]].case_id
    with pytest.raises(ValueError, match="expected one"):
        data.__getitems__([(0, 0), (0, 5)])
    assert data.sample_bytes == 12 * 12 * 8 * 6


def test_mixing_needs_a_second_source(stored):
    with pytest.raises(ConfigError, match="only source"):
        training_samples([crops_of(stored)], Alternate(), batch_size=2, sites={}, seed=0)


def test_without_mixing_cases_share_a_stream_by_weight(stored):
    view = View(Preparation(("T1w",)), ForegroundPatches((8, 8, 6), 50), windows=None)
    sources = [Sourced(COHORT, stored[:4], view), Sourced("more", stored[4:], view, weight=4.0)]
    data, _ = training_samples(sources, None, batch_size=20, sites={}, seed=0)
    rows = np.array(data.rows_of([(0, index) for index in range(1000)]))
    assert (rows >= 4).mean() == pytest.approx(12 / 16, abs=0.04)


def test_one_stream_has_one_view(stored):
    """The view of a source would be passed over in silence."""
    other = replace(crops_of(stored[4:], "more"), view=replace(crops_of(stored).view, augment=Painted()))
    with pytest.raises(ConfigError, match=r"data\.mixing[\s\S]*more"):
        training_samples([crops_of(stored[:4]), other], None, batch_size=2, sites={}, seed=0)


@dataclass(frozen=True)
class Copies:
    """A source of a datamodule: the first case of the cohort under another name."""

    root: object
    weight: float = 1.0
    case_id: str = "copy"

    def joined(self, unlabelled, split):
        case = replace(read_cases("atlas_v1", self.root)[0], case_id=self.case_id, subject_id="copy")
        about = {**split.about, self.case_id: ("copy", "")}
        return [case], replace(split, train=(*split.train, self.case_id), about=about)

    def view_of(self, view):
        return replace(view, augment=None)

    def described(self, split, cases):
        return {"copies": len(cases)}


def test_a_datamodule_holds_sources(folder):
    settings = {"sources": {"copies": Copies(folder / "raw")}, "store": folder / "store", "progress": False}
    module = CohortDataModule(
        "atlas_v1", folder / "raw", ("T1w",), small_view(), All(), mixing=Alternate((2, 1)), batch_size=4, **settings
    )
    module.setup("fit")
    assert (module.describe()["copies"], "copy" in module.split_result.train) == (1, True)
    batches = list(module.train_dataloader())
    turns = [set(batch["case_id"]) == {"copy"} for batch in batches]
    assert turns == [step % 3 == 2 for step in range(len(batches))]


def test_a_source_has_cases_of_its_own(folder, stored):
    """A case of the same id would take the place of the cohort's."""
    sources = {"copies": Copies(folder / "raw", case_id=stored[1].case_id)}
    with pytest.raises(DataError, match=stored[1].case_id):
        CohortDataModule("atlas_v1", folder / "raw", ("T1w",), small_view(), All(), sources=sources).describe()
