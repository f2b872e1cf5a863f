"""Nothing may look at cases that test: what would choose by them is refused by name before training."""

import copy

import pytest

from strokelab import runs
from strokelab.configuration import compose, plain
from strokelab.errors import ConfigError
from strokelab.training.trainer import check_monitors

MAPPING = ["experiment=mapping_default", "data.root=/cohort"]
STOP = {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}
PLATEAU = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "_partial_": True}
REMEDY = "set split.val_fraction=0.1"


@pytest.fixture(scope="module")
def composed():
    return plain(compose("train", MAPPING))


def changed(settings, path, value):
    settings = copy.deepcopy(settings)
    *parents, last = path.split(".")
    node = settings
    for name in parents:
        node = node[name]
    node[last] = value
    return settings


CHOOSING = {
    "early stopping": ("callbacks.stop", {**STOP, "monitor": "val/loss"}, "callbacks.stop.monitor"),
    "a checkpoint": (
        "callbacks.mine",
        {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "monitor": "val/dice"},
        "callbacks.mine.monitor",
    ),
    "the rate": ("model.scheduler", PLATEAU, "model.scheduler"),
    "a new beginning": ("callbacks.rescue.restart", True, "callbacks.rescue.restart"),
}


@pytest.mark.parametrize(("path", "value", "where"), CHOOSING.values(), ids=CHOOSING)
def test_what_would_choose_needs_a_validation_part(composed, path, value, where):
    settings = changed(composed, path, value)
    with pytest.raises(ConfigError) as refused:
        check_monitors(settings, validates=False)
    assert (refused.value.where, refused.value.remedy) == (where, REMEDY)
    assert "no case to validate on" in refused.value.found
    check_monitors(settings, validates=True)


@pytest.mark.parametrize("validates", [True, False])
@pytest.mark.parametrize("name", ["best", "mine"])
def test_no_monitor_may_name_the_curves(composed, name, validates):
    node = {**(composed["callbacks"].get(name) or STOP), "monitor": "curves_only/pooled_dice"}
    with pytest.raises(ConfigError) as refused:
        check_monitors(changed(composed, f"callbacks.{name}", node), validates=validates)
    assert refused.value.where == f"callbacks.{name}.monitor"
    assert "curves_only/pooled_dice" in refused.value.found


def test_what_is_not_asked_for_is_left_out_and_training_numbers_may_be_followed(composed):
    check_monitors(composed, validates=False)  # ``best`` of conf/callbacks, which ``checkpoint=last`` does not use
    check_monitors(changed(composed, "callbacks.stop", {**STOP, "monitor": "train/loss"}), validates=False)
    check_monitors(changed(composed, "model.scheduler", {**PLATEAU, "monitor": "train/loss"}), validates=False)


def test_the_remedy_works_as_pasted(composed):
    assert runs.validation_remedy(composed) == REMEDY
    assert plain(compose("train", [*MAPPING, REMEDY.removeprefix("set ")]))["split"]["val_fraction"] == 0.1
    everything = plain(compose("train", [*MAPPING, "split=all"]))
    assert "split=holdout" in runs.validation_remedy(everything)


@pytest.mark.parametrize("objective", ["val/pooled_dice", "curves_only/pooled_dice"])
def test_no_objective_without_a_validation_part(composed, objective):
    with pytest.raises(ConfigError) as refused:
        runs.check_objective({**composed, "objective": objective}, validates=False)
    assert objective in refused.value.found
