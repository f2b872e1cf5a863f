"""Synthetic samples: pure functions of (seed, epoch, index), in the form of the view, of lesions that may be pasted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_cohorts import CLASSES, cohort, made, slices, volumes

from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.data.loaders import batch_loader
from strokelab.data.synthetic import LesionCohort, SyntheticSource, check_held_out
from strokelab.data.synthetic_samples import placed, target_of
from strokelab.errors import ConfigError, DataError
from strokelab.grid import Grid
from strokelab.preparation.mirror import Mirror
from strokelab.preparation.recipe import Preparation
from strokelab.sampling.order import EpochBatchSampler, InOrder
from strokelab.synthesis.generator import Generator
from strokelab.synthesis.lesions import LesionMask, lesion_on


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in ("image", "lesion", "brain"))


@pytest.fixture(scope="module")
def crops(t1_cohort):
    return made(cohort(t1_cohort, volumes(classes=CLASSES)))


# ---------------------------------------------------------------- a pure function of (seed, epoch, index)


def test_same_seed_same_sample_in_whatever_batch(t1_cohort, crops):
    batch = crops.__getitems__([(0, index) for index in range(6)])
    again = made(cohort(t1_cohort, volumes(classes=CLASSES))).__getitems__([(0, index) for index in (5, 0)])
    assert all(torch.equal(again[name], batch[name][[5, 0]]) for name in ("image", "lesion", "brain", "target"))
    assert torch.equal(crops[(0, 3)]["image"], batch["image"][3])
    other = crops.__getitems__([(1, index) for index in range(6)])
    assert len({image.numpy().tobytes() for image in (*batch["image"], *other["image"])}) == 12


def test_workers_make_what_the_training_process_makes(crops):
    served = [
        list(batch_loader(crops, EpochBatchSampler(8, 2, 0, order=InOrder(fixed=False)), workers=workers))
        for workers in (0, 2)
    ]
    assert all(same(one, other) for one, other in zip(*served, strict=True))
    images = [image.numpy().tobytes() for batch in served[1] for image in batch["image"]]
    assert len(set(images)) == 8  # no two workers return the same sequence


def test_slices_of_one_image_follow_one_another(t1_cohort, monkeypatch):
    count, render = [], Generator.made
    monkeypatch.setattr(Generator, "made", lambda self, *a, **k: count.append(1) or render(self, *a, **k))
    source = SyntheticSource(slices_per_volume=8)
    samples = made(cohort(t1_cohort, slices(), source=source))
    batch = samples.__getitems__([(0, index) for index in range(16)])
    assert tuple(batch["image"].shape) == (16, 1, 32, 28)
    made_now = len(count)
    assert 2 <= made_now < 16
    assert (batch["brain"].flatten(1).sum(1) >= 40).all()
    lone = made(cohort(t1_cohort, slices(), source=source)).__getitems__([(0, 13)])
    assert torch.equal(lone["image"][0], batch["image"][13])
    assert torch.equal(samples.__getitems__([(0, 0), (0, 15)])["image"], batch["image"][[0, 15]])


# ---------------------------------------------------------------- the form of the view


def test_targets_by_the_names_of_the_view(crops):
    batch = crops.__getitems__([(0, index) for index in range(6)])
    target = batch["target"]
    assert tuple(target.shape) == (6, 6, 16, 16, 16)
    assert torch.allclose(target.sum(1), torch.ones(()), atol=1e-5)
    assert torch.equal(batch["lesion"], (target[:, -1:] >= 0.5).to(torch.uint8))
    assert batch["site"].tolist() == [-1] * 6
    assert "labelled_classes" not in batch  # all of them are
    assert torch.allclose(target_of(target[0], ("lesion", "background"))[1], 1 - target[0, -1], atol=1e-5)
    named = target_of(target[0], ("WM", "background", "lesion"))
    assert torch.equal(named[0], target[0, 2])
    assert torch.allclose(named.sum(0), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("rule", ["zscore_volume", "zscore_brain", "zscore_nonzero", "scale255", "max255", "none"])
def test_images_by_the_rule_of_the_view(t1_cohort, rule):
    batch = made(cohort(t1_cohort, volumes(normalize=rule))).__getitems__([(0, index) for index in range(3)])
    assert "target" not in batch
    for image, brain in zip(batch["image"], batch["brain"], strict=True):
        if not rule.startswith("zscore"):
            assert (float(image.min()) >= 0, float(image.max()) <= 1) == (True, True)
            continue
        values = image[brain != 0] if rule == "zscore_brain" else image[image != 0] if "nonzero" in rule else image
        assert abs(float(values.mean())) < 1e-4 or not len(values)
        assert float(values.std(correction=0)) == pytest.approx(1, abs=1e-3)


def test_one_channel_for_each_modality_or_one_in_all(isles_cohort):
    three = ("DWI", "ADC", "FLAIR")
    several = made(cohort(isles_cohort, volumes(three, size=(12, 12, 12)), dataset="isles2022"))
    batch = several.__getitems__([(0, 0)])
    assert tuple(batch["image"].shape) == (1, 3, 12, 12, 12)
    assert len({channel.numpy().tobytes() for channel in batch["image"][0]}) == 3
    any_contrast = volumes(three, size=(12, 12, 12), any_contrast=True)
    lone = made(cohort(isles_cohort, any_contrast, dataset="isles2022")).__getitems__([(0, 0)])
    assert tuple(lone["image"].shape) == (1, 1, 12, 12, 12)


@pytest.mark.parametrize(
    ("setting", "change"),
    [
        ("mirror", {"mirror": Mirror(enabled=True)}),
        ("orientation", {"orientation": "file"}),
        ("spacing", {"spacing": (1.0, 1.0, 3.0)}),
    ],
)
def test_views_that_no_synthetic_image_fits(setting, change):
    view = volumes()
    with pytest.raises(ConfigError, match=rf"view\.preparation\.{setting}"):
        SyntheticSource().view_of(replace(view, preparation=replace(view.preparation, **change)))


@pytest.mark.parametrize("change", [{"slices_per_volume": 1}, {"validation": -1}, {"validation": 1.5}])
def test_settings_out_of_range(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        SyntheticSource(**change)


@pytest.mark.parametrize("change", [{"dataset": "atlas_v1"}, {"root": "somewhere"}])
def test_another_cohort_has_a_name_and_a_folder(change):
    with pytest.raises(ConfigError, match="lesions"):
        LesionCohort(**change)


# ---------------------------------------------------------------- lesions


def test_a_part_of_a_mask_is_placed_as_the_whole():
    rng = np.random.default_rng(0)
    mask = np.zeros((40, 44, 36), dtype=np.uint8)
    mask[10:22, 13:25, 9:20] = rng.random((12, 12, 11)) < 0.7
    source = Grid.of(mask.shape, [[-2, 0, 0, 38], [0, 2, 0, -45], [0, 0, 2, -30], [0, 0, 0, 1]])
    for target in (source, Grid.of((30, 35, 25), [[3, 0, 0, -41], [0, 3, 0, -44], [0, 0, 3, -31], [0, 0, 0, 1]])):
        whole = lesion_on(mask, source, target)
        assert whole.any()
        cut = np.s_[8:24, 12:27, 8:22]
        affine = source.matrix.copy()
        affine[:3, 3] += affine[:3, :3] @ [8, 12, 8]
        part = LesionMask("one", mask[cut], Grid.of(mask[cut].shape, affine))
        assert np.array_equal(placed(part, target), whole)


def test_training_pastes_lesions_of_training_cases_alone(t1_cohort):
    data = cohort(t1_cohort, volumes())
    split = data.split_result
    train, val = made(data), made(data, "val", length=4)
    less = SyntheticSource(lesions=LesionCohort(exclude=split.train[:1]))
    without = made(cohort(t1_cohort, volumes(), source=less))
    assert {case.case_id for case in train.cases} <= set(split.train)
    assert {case.case_id for case in val.cases} <= set(split.val)
    assert {case.case_id for case in without.cases} == {*split.train[1:]}
    assert len({train.rows_of([(0, index)])[0] for index in range(40)}) == len(train.cases)
    assert not same(train.__getitems__([(0, 0)]), val.__getitems__([(0, 0)]))


def test_lesions_of_another_cohort(t1_cohort):
    """Here the same files: those of cases that validate or test must be left out by name."""
    split = cohort(t1_cohort, volumes()).split_result
    source = SyntheticSource(lesions=LesionCohort("atlas_v1", str(t1_cohort)))
    data = cohort(t1_cohort, volumes(), source=source)
    with pytest.raises(DataError) as caught:
        data.setup()
    aside = {*split.val, *split.test}
    assert any(case_id in caught.value.where for case_id in aside)
    assert "lesions.exclude" in caught.value.remedy
    left = LesionCohort("atlas_v1", str(t1_cohort), exclude=sorted(aside))
    data = cohort(t1_cohort, volumes(), source=replace(source, lesions=left))
    data.setup()
    assert {case.case_id for case in made(data).cases} == set(split.train)
    told = data.describe()["synthetic"]
    assert (told["lesions"], told["tissue_maps"]) == (len(split.train), 1)


def a_case(case_id, subject, dataset="atlas_v2"):
    return Case(case_id, subject, dataset, None, {})


def test_another_scan_of_a_subject_is_held_out_too():
    aside = [a_case("b_ses-1", "b")]
    check_held_out([a_case("a_ses-1", "a"), a_case("c", "b", "isles2022")], aside)
    with pytest.raises(DataError, match="b_ses-2"):
        check_held_out([a_case("a_ses-1", "a"), a_case("b_ses-2", "b")], aside)


def test_lesions_lie_in_mni_space(t1_cohort):
    data = cohort(t1_cohort, volumes())
    data.setup()
    case = data.volumes("train")[0]
    moved = np.eye(4)
    moved[:3, 3] = 60
    elsewhere = Grid.of(case.native.shape, moved @ case.native.matrix)
    source = data.training.makers["synthetic"]
    wanted = data.training.wanted("synthetic", "train", data._means)
    wanted = replace(wanted, means=replace(wanted.means, prepare=lambda *_: [replace(case, native=elsewhere)]))
    with pytest.raises(DataError, match=case.case_id):
        source.check(wanted)


# ---------------------------------------------------------------- in a datamodule


def test_validation_mixes_real_and_synthetic_samples(t1_cohort):
    data = cohort(t1_cohort, volumes(classes=CLASSES), fraction=0.4)
    data.setup()
    epochs = [list(data.val_dataloader()) for _ in range(2)]
    names = [name for batch in epochs[0] for name in batch["case_id"]]
    real = data.split_result.val
    assert len(real) % 2 == 1  # a batch of both
    assert names == [*real, *["synthetic"] * len(real)]
    assert all(same(one, other) for one, other in zip(*epochs, strict=True))
    known = torch.cat([batch["labelled_classes"] for batch in epochs[0] if "labelled_classes" in batch])
    assert known[: len(real)].tolist() == [[True, False, False, False, False, True]] * len(real)
    assert known[len(real) :].all()
    few = cohort(t1_cohort, volumes(), source=SyntheticSource(validation=0), fraction=0.4)
    assert [name for batch in few.val_dataloader() for name in batch["case_id"]] == [*real]


def test_a_resumed_training_gets_the_batches_of_an_unbroken_one(t1_cohort):
    view = volumes(classes=CLASSES)
    unbroken, resumed = cohort(t1_cohort, view), cohort(t1_cohort, view)
    loader = unbroken.train_dataloader()
    loader.batch_sampler.set_epoch(3)
    batches = list(loader)
    resumed.load_state_dict({"epoch": 3, "batch": 2, "processes": 1})
    rest = list(resumed.train_dataloader())
    assert len(rest) == len(batches) - 2
    for one, other in zip(batches[2:], rest, strict=True):
        assert one["case_id"] == other["case_id"]
        assert same(one, other)


def test_preparations_of_one_case_do_not_mix(t1_cohort):
    data = cohort(t1_cohort, volumes())
    data.setup()
    case = read_cases("atlas_v1", t1_cohort)[0]
    plain, cropped = (data._prepared([case], Preparation(("T1w",), crop=crop))[0] for crop in (None, (8, 8, 8)))
    assert (plain.grid.shape, cropped.grid.shape) == ((25, 29, 24), (8, 8, 8))
