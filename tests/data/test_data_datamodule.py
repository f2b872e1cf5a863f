"""The cohort as Lightning gets it: the same batches with any number of workers, and after any interruption."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from data_small_cohort import small_view, write_cohort
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from strokelab.augment.intensity import Gamma, Noise
from strokelab.augment.nnunet import NNUNetAugmentation
from strokelab.augment.recipes import Recipe
from strokelab.augment.spatial import Flip
from strokelab.data import ATLASv1, Phantom, read_cases
from strokelab.data.datamodule import ISLES2015, ISLES2022, ATLASv2, CohortDataModule
from strokelab.data.splits import All, LeaveOneSiteOut, SizeBalancedKFold
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.inference.windows import PatchWindows
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import default_store
from strokelab.sampling.foreground import ForegroundPatches
from strokelab.sampling.site_balanced import SiteBalanced
from strokelab.view import View

RECIPE = Recipe([Flip(("x",)), Gamma(p=0.5), Noise(p=0.5)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("cohort")
    write_cohort(place / "raw", sites=(3, 2, 3), twice={(3, 0)})
    return place


def a_module(folder, split=None, **settings):
    settings = {"view": small_view(augment=RECIPE), "batch_size": 8, "progress": False, **settings}
    return ATLASv1(folder / "raw", split=split or LeaveOneSiteOut(1), store=folder / "store", **settings)


def batches_of(loader, epochs):
    out = []
    for epoch in epochs:
        loader.batch_sampler.sampler.set_epoch(epoch)
        out += list(loader)
    return out


def equal(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) if isinstance(one[key], torch.Tensor) else one[key] == other[key]
        for key in one
    )


# ---------------------------------------------------------------- what it holds


def test_parts_sites_and_volumes(folder):
    data = a_module(folder)
    data.setup()
    assert len(data.cases) == 9
    assert data.sites == {"Site1": 0, "Site3": 1}
    assert data.n_sites == 2
    assert [case.case_id for case in data.volumes("test")] == list(data.split_result.test)
    assert {case.site for case in data.volumes("test")} == {"Site2"}
    assert {case.case_id for part in ("train", "val", "test") for case in data.volumes(part)} == {
        case.case_id for case in data.cases
    }
    train = batches_of(data.train_dataloader(), [0])
    assert {case_id for batch in train for case_id in batch["case_id"]} == set(data.split_result.train)
    assert {site for batch in train for site in batch["site"].tolist()} == {0, 1}
    val = batches_of(data.val_dataloader(), [0])
    assert {case_id for batch in val for case_id in batch["case_id"]} == set(data.split_result.val)


def test_validation_batches_never_change(folder):
    loader = a_module(folder).val_dataloader()
    one, other = batches_of(loader, [0]), batches_of(loader, [5])
    assert all(equal(a, b) for a, b in zip(one, other, strict=True))


def test_nobody_validates(folder):
    assert a_module(folder, LeaveOneSiteOut(1, val_fraction=0)).val_dataloader() == []


def test_volumes_balance_the_folds(folder):
    data = a_module(folder, SizeBalancedKFold(0, 2))
    assert set(data.lesion_volumes) == {case.case_id for case in data.cases}
    assert data.lesion_volumes["031001_t01"] == pytest.approx(3 * 3 * 3 * 8 / 1000)  # voxels of 2 mm
    assert abs(len(data.split_result.test) - 4.5) <= 1


def test_balanced_order_comes_from_the_view(folder):
    data = a_module(folder, LeaveOneSiteOut(1, val_fraction=0), view=small_view(order=SiteBalanced()))
    sites = torch.cat([batch["site"] for batch in batches_of(data.train_dataloader(), range(60))])
    assert len(sites) == 60 * len(data.train_dataloader().dataset)
    assert (sites == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)  # 3 scans of site 1, 4 of site 3


def test_left_out_cases(folder):
    assert len(a_module(folder, exclude=["031001_t01"]).cases) == 8
    assert {c.case_id for c in a_module(folder, limit_per_site=1).cases} == {
        "031000_t01",
        "032000_t01",
        "033000_t01",
        "033000_t02",
    }
    with pytest.raises(ConfigError, match="nobody"):
        _ = a_module(folder, exclude=["nobody"]).cases


def test_unlabelled_cases_can_be_left_out(folder, tmp_path):
    write_cohort(tmp_path / "raw", sites=(3, 3))
    for mask in (tmp_path / "raw" / "Site1" / "031001").rglob("*Lesion*"):
        mask.unlink()
    settings = {"split": LeaveOneSiteOut(1, val_fraction=0), "options": {"include_unlabelled": True}}
    with pytest.raises(DataError, match="031001"):
        a_module(tmp_path, **settings).setup()
    assert len(a_module(tmp_path, labelled_only=True, **settings).volumes("train")) == 2
    held_out = a_module(tmp_path, LeaveOneSiteOut(0, val_fraction=0), options={"include_unlabelled": True})
    assert [case.labelled for case in held_out.volumes("test")] == [True, False, True]


# ---------------------------------------------------------------- what is wrong is said


def test_a_missing_root_names_the_variable(folder):
    data = CohortDataModule("atlas_v1", folder / "nowhere", ["T1w"], small_view(), All())
    with pytest.raises(DataError, match=r"nowhere[\s\S]*STROKELAB_DATA"):
        data.setup()
    with pytest.raises(DataError, match=r"no folder named[\s\S]*data\.root"):
        _ = CohortDataModule("atlas_v1", None, ["T1w"], small_view(), All()).cases


def test_view_and_data_name_the_same_modalities(folder):
    with pytest.raises(ConfigError, match=r"\['T1w'\][\s\S]*\['FLAIR'\]"):
        a_module(folder, modalities=["FLAIR"])


def test_a_modality_no_case_has(folder):
    with pytest.raises(DataError, match=r"\['FLAIR'\]"):
        a_module(folder, modalities=["FLAIR"], view=small_view(("FLAIR",))).setup()


def test_the_number_of_sites_is_checked(folder):
    with pytest.warns(DataWarning, match="3 sites, but data.n_sites says 9"):
        _ = a_module(folder, n_sites=9).cases
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = a_module(folder, n_sites=3).cases


def test_nothing_left(folder):
    with pytest.raises(DataError, match="no case left"):
        _ = a_module(folder, limit_per_site=0).cases


def test_default_store(monkeypatch, tmp_path):
    monkeypatch.setenv("STROKELAB_STORE", str(tmp_path / "s"))
    assert default_store() == tmp_path / "s"
    monkeypatch.delenv("STROKELAB_STORE")
    assert default_store().is_absolute()


def test_faces_name_their_readers(tmp_path):
    settings = {"split": All(), "store": tmp_path}
    modules = [
        ATLASv1(tmp_path, view=small_view(), **settings),
        ATLASv2(tmp_path, view=small_view(), **settings),
        ISLES2015(tmp_path, ("FLAIR",), "siss", view=small_view(("FLAIR",)), **settings),
        ISLES2015(tmp_path, ("Tmax",), "spes", view=small_view(("Tmax",)), **settings),
        ISLES2022(tmp_path, view=small_view(("DWI", "ADC", "FLAIR")), **settings),
        Phantom(tmp_path, layout="atlas_v2", view=small_view(), **settings),
    ]
    readers = ["atlas_v1", "atlas_v2", "isles2015_siss", "isles2015_spes", "isles2022", "atlas_v2"]
    assert [module.dataset for module in modules] == readers


# ---------------------------------------------------------------- exactness


@pytest.mark.slow
def test_workers_change_nothing(folder):
    alone, two = a_module(folder).train_dataloader(), a_module(folder, workers=2).train_dataloader()
    epochs = [0, 1, 2]
    one, other = batches_of(alone, epochs), batches_of(two, epochs)
    assert len(one) == 3 * len(alone)
    assert all(equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_neither_workers_nor_the_reading_thread_change_random_patches(folder):
    patch = (10, 8, 6)
    sampler = ForegroundPatches(patch, iterations_per_epoch=4)
    view = View(Preparation(("T1w",)), sampler, PatchWindows(patch), NNUNetAugmentation(rotation_p=0.5))
    settings = {"view": view, "batch_size": 3}
    loader = a_module(folder, **settings).train_dataloader()
    one = batches_of(loader, [0, 1])
    other = batches_of(a_module(folder, workers=2, **settings).train_dataloader(), [0, 1])
    direct = [loader.dataset.__getitems__([(e, 3 * b + i) for i in range(3)]) for e in (0, 1) for b in range(4)]
    assert all(equal(a, b) and equal(a, c) for a, b, c in zip(one, other, direct, strict=True))


def test_loaders_leave_the_global_random_numbers_alone(folder):
    torch.manual_seed(3)
    batches_of(a_module(folder).train_dataloader(), [0])
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))


class Little(LightningModule):
    """A network of one layer that remembers everything it saw."""

    def __init__(self, layer=torch.nn.Conv2d):
        super().__init__()
        torch.manual_seed(0)
        self.layer = layer(1, 1, 3, padding=1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((batch["case_id"], batch["origin"].tolist()))
        return torch.nn.functional.mse_loss(self.layer(batch["image"]), batch["lesion"].float())

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.layer(batch["image"]).mean(), batch_size=len(batch["image"]))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.96)]


class SaveAt(Callback):
    """Saves after given steps by the rule of the house: never in ``on_train_batch_end`` of an epoch's last batch."""

    def __init__(self, steps, folder):
        self.steps, self.folder = set(steps), folder

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step in self.steps and not trainer.is_last_batch:
            self.save(trainer)

    def on_train_epoch_end(self, trainer, module):
        if trainer.global_step in self.steps:
            self.save(trainer)

    def save(self, trainer):
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def fit(data, folder, *, ckpt_path=None, callbacks=(), layer=torch.nn.Conv2d, **settings):
    model = Little(layer)
    trainer = Trainer(
        **{"max_epochs": 3, **settings},
        accelerator="cpu",
        logger=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return model, trainer


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def unbroken(folder):
    model, trainer = fit(a_module(folder), folder)
    assert trainer.global_step % 3 == 0
    assert trainer.global_step // 3 >= 4  # steps of an epoch: enough for all places to stop at
    return model, trainer.global_step


STOPS = ["first", "middle", "before_end", "epoch_end", "after_end", "second_end"]


@pytest.mark.parametrize("mid_validation", [False, True])
@pytest.mark.parametrize("stops", [[stop] for stop in STOPS] + [["middle", "before_end", "epoch_end"]])
def test_an_interrupted_run_ends_with_the_same_weights(folder, tmp_path, unbroken, stops, mid_validation):
    model, total = unbroken
    epoch = total // 3
    at = {"first": 1, "middle": epoch // 2, "before_end": epoch - 1, "epoch_end": epoch, "after_end": epoch + 1}
    at["second_end"] = 2 * epoch
    settings = {"val_check_interval": 2} if mid_validation else {}
    ckpt, seen = None, []
    for stop in stops:  # each stop is a process that ends there, and the next starts from its checkpoint
        part, _ = fit(a_module(folder), tmp_path, ckpt_path=ckpt, callbacks=[SaveAt([at[stop]], tmp_path)], **settings)
        ckpt = tmp_path / f"{at[stop]}.ckpt"
        seen += part.seen[: at[stop] - len(seen)]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not resumable.*")  # it is: Lightning cannot know
        resumed, trainer = fit(a_module(folder), tmp_path, ckpt_path=ckpt, **settings)
    assert trainer.global_step == total
    assert seen + resumed.seen == model.seen
    assert torch.equal(weights(resumed), weights(model))


@pytest.mark.slow
def test_a_run_resumed_with_workers_ends_with_the_same_weights(folder, tmp_path, unbroken):
    model, total = unbroken
    stop = total // 3 + 1
    fit(a_module(folder, workers=2), tmp_path, callbacks=[SaveAt([stop], tmp_path)], max_steps=stop + 1)
    resumed, trainer = fit(a_module(folder, workers=2), tmp_path, ckpt_path=tmp_path / f"{stop}.ckpt")
    assert trainer.global_step == total
    assert torch.equal(weights(resumed), weights(model))


@pytest.mark.parametrize("fixed", [True, False])
def test_an_interrupted_run_on_random_patches_ends_with_the_same_weights(folder, tmp_path, fixed):
    patch = (10, 8, 6)
    view = View(
        Preparation(("T1w",)),
        ForegroundPatches(patch, iterations_per_epoch=4, validation_iterations=2, fixed_validation=fixed),
        PatchWindows(patch),
        NNUNetAugmentation(rotation_p=0.5),
    )
    settings = {"view": view, "batch_size": 2}
    model, trainer = fit(a_module(folder, **settings), tmp_path, layer=torch.nn.Conv3d)
    assert trainer.global_step == 3 * 4
    assert len({str(batch) for batch in model.seen}) == 12  # each epoch draws its own
    fit(a_module(folder, **settings), tmp_path, callbacks=[SaveAt([6], tmp_path)], max_steps=7, layer=torch.nn.Conv3d)
    resumed, _ = fit(a_module(folder, **settings), tmp_path, ckpt_path=tmp_path / "6.ckpt", layer=torch.nn.Conv3d)
    assert resumed.seen == model.seen[6:]
    assert torch.equal(weights(resumed), weights(model))


def test_where_there_is_a_device_augmentation_waits_for_it(folder):
    patch = (10, 8, 6)
    view = View(Preparation(("T1w",)), ForegroundPatches(patch), PatchWindows(patch), NNUNetAugmentation(rotation_p=1))
    here, there = (a_module(folder, view=view, batch_size=2) for _ in range(2))
    wanted = next(iter(here.train_dataloader()))
    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    there.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1, num_devices=1)
    waiting = next(iter(there.train_dataloader()))
    assert set(waiting["sources"]) == {0, 1}
    assert equal(there.on_after_batch_transfer(waiting, 0), wanted)
    whole = next(iter(there.val_dataloader()))
    assert equal(there.on_after_batch_transfer(whole, 0), next(iter(here.val_dataloader())))


def test_validation_patches_are_fixed_or_drawn_for_each_epoch(folder):
    for fixed in (True, False):
        sampler = ForegroundPatches((10, 8, 6), validation_iterations=2, fixed_validation=fixed)
        loader = a_module(folder, view=View(Preparation(("T1w",)), sampler, PatchWindows((10, 8, 6)))).val_dataloader()
        one, other = batches_of(loader, [0]), batches_of(loader, [5])
        assert len(one) == 2
        assert all(equal(a, b) for a, b in zip(one, other, strict=True)) == fixed


def test_a_finished_run_is_trained_further_without_repeating(folder, tmp_path, unbroken):
    model, total = unbroken
    fit(a_module(folder), tmp_path, callbacks=[SaveAt([2 * total // 3], tmp_path)], max_epochs=2)
    further, _ = fit(a_module(folder), tmp_path, ckpt_path=tmp_path / f"{2 * total // 3}.ckpt")
    assert torch.equal(weights(further), weights(model))


@pytest.mark.parametrize("validates", [True, False])
def test_lightnings_last_checkpoint_of_an_epoch_is_exact(folder, tmp_path, validates):
    split = LeaveOneSiteOut(1, val_fraction=0.1 if validates else 0)
    model, trainer = fit(a_module(folder, split), tmp_path)
    keeper = ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1, save_last=False)
    fit(a_module(folder, split), tmp_path, callbacks=[keeper])
    for epoch in (0, 1):
        resumed, again = fit(a_module(folder, split), tmp_path, ckpt_path=tmp_path / f"epoch={epoch}.ckpt")
        assert again.global_step == trainer.global_step
        assert torch.equal(weights(resumed), weights(model))


def test_the_seed_decides(folder):
    one, other = (batches_of(a_module(folder, seed=s).train_dataloader(), [0])[0] for s in (0, 1))
    assert not torch.equal(one["image"], other["image"])
    again = batches_of(a_module(folder, seed=0).train_dataloader(), [0])[0]
    assert equal(one, again)


@pytest.mark.slow
def test_a_phantom_is_written_once_and_read_like_the_real_dataset(tmp_path):
    def module():
        return Phantom(
            tmp_path / "phantom",
            spacing=6.0,
            sites=2,
            cases_per_site=2,
            view=small_view(crop=(32, 32, None)),
            split=LeaveOneSiteOut(0, val_fraction=0),
            store=tmp_path / "store",
            progress=False,
        )

    data = module()
    data.setup("fit")
    assert {case.site for case in data.cases} == {"Site1", "Site2"}
    image = data.cases[0].reference_image
    written = image.stat().st_mtime_ns
    again = module()
    again.setup("fit")
    assert image.stat().st_mtime_ns == written
    assert [case.case_id for case in again.cases] == [case.case_id for case in data.cases]
    assert len(next(iter(data.train_dataloader()))["case_id"]) == 16


def test_describe_is_enough_to_read_the_cohort_again(folder):
    data = a_module(folder, exclude=["031001_t01"])
    told = data.describe()
    assert told["cases"] == {part: len(getattr(data.split_result, part)) for part in ("train", "val", "test")}
    assert sum(told["training_scans"].values()) == told["cases"]["train"]
    assert read_cases(told["dataset"], told["root"], **told["options"]) == data.cases
    assert a_module(folder, exclude=["031001_t01"]).describe() == told


def test_only_the_named_sites_are_kept_and_unknown_ones_are_refused(folder):
    module = a_module(folder, only_sites=["Site2", "Site1"])
    assert {case.site for case in module.cases} == {"Site1", "Site2"}
    with pytest.raises(ConfigError, match=r"unknown sites \['Site77'\]"):
        _ = a_module(folder, only_sites=["Site77"]).cases
