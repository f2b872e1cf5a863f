"""What a training has otherwise than its paper's recipe, and what tells trainings of one name apart."""

import copy

import pytest

from strokelab.configuration import bind, compose, plain
from strokelab.configuration.late_facts import DEFAULT_FACTS
from strokelab.runs.recipe import differences_of, kind_of, unlike


def a_training(experiment, dataset, val=0, precision=None):
    settings = bind(plain(compose("train", [f"experiment={experiment}"])), DEFAULT_FACTS)
    settings["trainer"]["precision"] = precision or settings["trainer"]["precision"]
    if settings["data"]["batch_size"] is None:
        settings["data"]["batch_size"] = 2
    return settings | {"cohort": {"dataset": dataset, "cases": {"val": val}}}


@pytest.fixture(scope="module")
def unet():
    return a_training("sgnet_raw_unet2d", "atlas_v1") | {"name": "unet2d"}


@pytest.fixture(scope="module")
def baseline():
    switches = [f"{part}=none" for part in ("hemispheres", "adversary", "standardizer")]
    return plain(compose("train", ["experiment=sgnet_atlas", *switches]))


def changed(settings, path, value):
    settings = copy.deepcopy(settings)
    *parents, last = path.split(".")
    node = settings
    for name in parents:
        node = node[name]
    node[last] = value
    return settings


OTHER = {
    "length": ("trainer.max_epochs", 5, "length: max_epochs 5, not 50"),
    "steps": ("trainer.limit_train_batches", 0.5, "length: limit_train_batches 0.5, not 1"),
    "loss": (
        "model.loss",
        {"_target_": "strokelab.losses.compound.DiceBCELoss", "over": "batch"},
        "loss: loss DiceBCELoss, not DiceLoss",
    ),
    "setting of the loss": ("model.loss.over", "batch", "loss: over batch, not sample"),
    "optimiser": ("model.optimizer.momentum", 0.0, "optimiser: momentum 0, not 0.9"),
    "schedule": ("model.scheduler.gamma", 0.6, "optimiser: gamma 0.6, not 0.96"),
    "batch": ("data.batch_size", 32, "optimiser: batch_size 32, not 16"),
    "network": ("model.network.base", 12, "network: base 12, not 64"),
    "precision": ("trainer.precision", "bf16-mixed", "precision: bf16-mixed, not 32-true"),
    "data": ("cohort.dataset", "atlas_v2", "data: trained on atlas_v2, not atlasv1"),
    "sites": ("data.only_sites", ["Site1"], 'data: only_sites ["Site1"], not none'),
    "validation": ("cohort.cases.val", 20, "data: 20 cases validate and do not train, none of the recipe's"),
    "split": ("split._target_", "strokelab.data.splits.KFold", "split: KFold, not LeaveOneSiteOut"),
    "checkpoint": ("checkpoint", "best", "weights: checkpoint best, not last"),
}


@pytest.mark.parametrize(("path", "value", "words"), OTHER.values(), ids=OTHER)
def test_each_fact_that_differs_is_told(unet, baseline, path, value, words):
    same = changed(unet, "view.preparation.normalize", "zscore_slice_brain")
    assert unlike(same, baseline) == ()
    assert unlike(changed(same, path, value), baseline) == (words,)


def test_the_raw_unet_is_no_baseline(unet, baseline):
    assert unlike(unet, baseline) == ("normalisation: normalize none, not zscore_slice_brain",)


def test_mapping_is_its_plan_and_mixed_precision():
    recipe = plain(compose("train", ["experiment=mapping_default"]))
    run = a_training("mapping_default", "atlas_v2", precision="bf16-mixed")
    assert unlike(run, recipe) == ()
    assert unlike(changed(run, "trainer.precision", "32-true"), recipe) == ("precision: 32-true, not mixed",)
    assert unlike(changed(run, "view.sampler.patch", [32, 32, 32]), recipe) == (
        "samples: patch [32, 32, 32], not [128, 128, 128]",
    )
    printed = a_training("mapping_dtk10_printed", "atlas_v2", precision="16-mixed")
    released = plain(compose("train", ["experiment=mapping_dtk10"]))
    assert [phrase.partition(":")[0] for phrase in unlike(printed, released)] == ["length", "loss", "optimiser"]


def test_trainings_of_one_name_are_told_apart_by_what_they_are(unet):
    longer = changed(unet, "trainer.max_epochs", 80)
    assert differences_of([unet, unet]) == [(), ()]
    assert differences_of([unet, longer]) == [("max_epochs=50",), ("max_epochs=80",)]
    seeds = [unet, changed(unet, "seed", 3), changed(unet, "split.fold", 2), changed(unet, "trainer.precision", "auto")]
    assert differences_of(seeds) == [()] * 4
    older = {key: value for key, value in unet.items() if key not in ("stages", "init_weights")}
    assert differences_of([unet, older]) == [(), ()], "a member of a sweep that was begun before these settings"
    assert kind_of(unet) == kind_of(older)
    words = differences_of([unet, changed(unet, "cohort.cases.val", 20)])
    assert words == [("validation=false",), ("validation=true",)]


def test_mirrored_channels_that_are_off_are_what_older_runs_lack(unet):
    older = copy.deepcopy(unet)
    del older["view"]["preparation"]["mirror"]
    assert kind_of(unet) == kind_of(older)
    assert set(differences_of([unet, older])) == {()}
    mirrored = changed(unet, "view.preparation.mirror.enabled", True)
    assert kind_of(mirrored) != kind_of(unet)
    assert unlike(mirrored, plain(compose("train", ["experiment=sgnet_raw_unet2d"])))


def test_folds_differ_in_their_steps_and_are_of_one_recipe(unet):
    """Steps of an epoch, of the run and of a stage with its own batch; an epoch's schedule is as long as it says."""

    def fold(steps, interval="step", epochs=150):
        rates = {"scheduler": {"_target_": "x.y", "steps_per_epoch": steps, "T_max": epochs}}
        stage = {"model": {"scheduler": {"steps_per_epoch": 2 * steps, "T_max": epochs}}}
        model = {**unet["model"], **rates, "scheduler_interval": interval}
        return {**unet, "model": model, "stages": {"first": stage, "second": {}}}

    assert differences_of([fold(182), fold(181)]) == [(), ()]
    assert kind_of(fold(182)) == kind_of(fold(181))
    assert all(differences_of([fold(182, "epoch"), fold(182, "epoch", epochs=100)]))
