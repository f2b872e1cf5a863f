"""A network that gives other shapes than its target's, or raises, is named with its shapes; nothing else is touched."""

from __future__ import annotations

import inspect

import pytest
import torch
from small_segmenter import SITES, batch_of, build
from torch import nn

from strokelab.errors import ConfigError
from strokelab.losses.dice import DiceLoss
from strokelab.models.unlearning import Unlearning
from strokelab.networks.unet import UNet

pytestmark = pytest.mark.filterwarnings("ignore:.*self.trainer.*")


class Half(UNet):
    """Logits of every second column."""

    def decode(self, features):
        return super().decode(features)[..., ::2]


class Unequal(nn.Module):
    """Joins maps of two resolutions."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)

    def forward(self, image):
        deep = nn.functional.avg_pool2d(self.layer(image), 2)
        return torch.cat([image, deep], dim=1)


class Gives(nn.Module):
    """A network that gives what a function makes of its logits."""

    def __init__(self, form, maps=1):
        super().__init__()
        self.layer, self.form = nn.Conv2d(1, maps, 1), form

    def forward(self, image):
        return self.form(self.layer(image))


class Calls(nn.Module):
    """A loss of a function."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def error_of(model, *, step="training_step", batch=None):
    with pytest.raises(ConfigError) as caught:
        getattr(model, step)(batch or batch_of(), 0)
    return caught.value


@pytest.mark.parametrize("parts", [(False, False, False), (True, True, True)])
@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_logits_of_another_length_are_named_with_the_image_and_what_is_expected(parts, step):
    error = error_of(build(*parts, network=Half(1, base=4, depth=3)), step=step)
    image, logits = ((12, 1, 16, 12), (12, 1, 16, 6)) if parts[1] else ((6, 1, 16, 24), (6, 1, 16, 12))
    assert error.where == f"network {__name__}.Half"
    assert error.found == f"logits {logits} for an image {image}"
    assert str((*logits[:3], 2 * logits[3])) in error.expected


def test_an_adversary_that_trains_itself_is_no_way_around():
    model = build(False, False, False, network=Half(1, base=4, depth=3))
    unlearning = Unlearning(model.network.feature_channels[-1], n_sites=SITES, dimensions=2)
    batch = batch_of()
    with pytest.raises(ConfigError, match=r"logits \(\d, 1, 16, 12\)"):
        unlearning._by_site(model, model.network(batch["image"]), batch)


def test_a_batch_of_one_is_no_broadcast():
    """(1, 1, Y, 1) against (1, 1, Y, X): a Dice would broadcast it and learn something else."""
    model = build(False, False, False, network=Gives(lambda logits: logits[..., :1]))
    assert "logits (1, 1, 16, 1)" in error_of(model, batch=batch_of(1)).found


@pytest.mark.parametrize(
    ("form", "found"),
    [
        (lambda logits: {"out": logits}, "a dict"),
        (lambda logits: None, "a NoneType"),
        (lambda logits: (logits, logits), "a tuple of logits, of which DiceLoss raises"),
        (lambda logits: logits.flatten(1), "logits (6, 384)"),
        (lambda logits: logits[:3], "logits (3, 1, 16, 24)"),
        (lambda logits: logits.sum(), "logits ()"),
        (lambda logits: (logits > 0).long(), "logits of torch.int64"),
    ],
)
def test_what_is_no_tensor_of_maps_is_named(form, found):
    assert error_of(build(False, False, False, network=Gives(form))).found.startswith(found)


def test_maps_with_which_a_foreign_loss_raises_are_named():
    model = build(False, False, False, network=Gives(lambda logits: logits, maps=3))
    model.loss = nn.BCEWithLogitsLoss()
    error = error_of(model)
    assert "logits (6, 3, 16, 24), of which BCEWithLogitsLoss raises ValueError" in error.found
    assert "logits (6, 1, 16, 24)" in error.expected


def test_several_logits_are_those_of_training_alone():
    model = build(False, False, False, network=Gives(lambda logits: [logits, logits[..., ::2]]))
    model.loss = Calls(lambda logits, target: DiceLoss()(logits[0], target))
    assert model.training_step(batch_of(), 0)["loss"].isfinite()
    model.eval()
    assert error_of(model, step="validation_step").found.startswith("a list")


def test_the_finest_of_several_logits_is_as_long_as_the_target():
    network = Gives(lambda logits: [logits[..., ::2], logits[..., ::4]])
    network.deep_supervision = True  # each would be compared with a target brought down to it
    assert error_of(build(False, False, False, network=network)).found.startswith("logits (6, 1, 16, 12)")


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_a_network_that_raises_is_named_with_its_file_line_and_image(step):
    error = error_of(build(False, True, False, network=Unequal()), step=step)
    lines, first = inspect.getsourcelines(Unequal.forward)
    line = first + next(number for number, text in enumerate(lines) if "torch.cat" in text)
    assert error.where == f"network {__name__}.Unequal"
    assert error.found.startswith(f"{__file__}, line {line}, raises for an image (12, 1, 16, 12): RuntimeError: Sizes")
    assert isinstance(error.__cause__, RuntimeError)


def test_a_network_that_raises_in_prediction_is_named_as_well():
    batch = batch_of(2)
    with pytest.raises(ConfigError, match=r"test_models_output\.py, line \d+, raises for an image \(2, 1, 16, 24\)"):
        build(False, False, False, network=Unequal()).predict_scores(batch["image"], batch["brain"])


@pytest.mark.parametrize(
    "error",
    [
        *(torch.OutOfMemoryError("CUDA out of memory."), torch.AcceleratorError("device-side assert"), ConfigError),
        RuntimeError("gloo/transport/tcp/pair.cc: Read error: Connection reset by peer"),  # a process that is gone
    ],
)
def test_memory_devices_and_own_errors_keep_their_words(error):
    def failing(logits):
        raise error("x", found="y", expected="z", remedy="w") if error is ConfigError else error

    with pytest.raises(error if error is ConfigError else type(error)) as caught:
        build(False, False, False, network=Gives(failing)).training_step(batch_of(), 0)
    assert "Gives" not in str(caught.value)


def test_an_error_elsewhere_is_none_of_the_network():
    model = build(False, False, False)
    model.loss = Calls(lambda logits, target: torch.cat(1))
    with pytest.raises(TypeError):
        model.training_step(batch_of(), 0)
