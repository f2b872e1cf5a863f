"""What a ``Segmenter`` costs, honestly and in the columns of SG-Net's Tables IV and V. Knows modules; computes nothing.

Everything is counted on PyTorch's ``meta`` device, shapes without numbers, so that a full-size model takes a moment.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from strokelab.models.parts import judged
from strokelab.models.segmenter import Segmenter
from strokelab.networks.cost import TorchstatReading, cost_of, count_parameters, saved_bytes, torchstat_reading


@dataclass(frozen=True)
class ModelCost:
    """Cost of one sample: a whole slice or patch, both hemispheres where they are split."""

    sample: tuple[int, ...]  # its spatial shape
    parameters: int  # of all that is trained
    parameters_inference: int  # without the adversary, which is never run
    macs: int  # multiply-accumulates of a prediction; FLOPs are twice that
    training_macs: int  # of the forward pass in training, adversary included
    activation_bytes: int  # outputs of all layers in a prediction
    saved_bytes: int  # kept for the backward pass in training
    torchstat: Mapping[str, float]  # see ``slice_costs``


def model_cost(model: Segmenter, sample: tuple[int, ...]) -> ModelCost:
    """Count a model on one sample of a shape; its weights are not touched.

    Args:
        model: any ``Segmenter``, 2D or 3D; parts may be absent.
        sample: spatial shape of a whole sample: (rows, columns), or (x, y, z).

    Raises:
        ConfigError: the network cannot take a sample of this shape.
    """
    blank = copy.deepcopy(model).to("meta")
    with torch.device("meta"):
        image = torch.empty(1, channels_of(blank.network), *sample)
        brain = torch.ones(1, 1, *sample, dtype=torch.uint8)
    least = least_samples(model)
    several = (each.expand(least, *each.shape[1:]) for each in (image, brain))
    predicted = cost_of(_Prediction(blank), image, brain)
    return ModelCost(
        sample=tuple(sample),
        parameters=count_parameters(model),
        parameters_inference=count_parameters(model) - _parameters_of(model.adversary),
        macs=predicted.macs,
        training_macs=cost_of(_TrainingForward(blank), image, brain).macs,
        activation_bytes=predicted.activation_bytes,
        saved_bytes=saved_bytes(_TrainingForward(blank).train(), *several) // least,
        torchstat=slice_costs(model, sample),
    )


def slice_costs(model: Segmenter, sample: tuple[int, ...]) -> dict[str, float]:
    """Parameters, memory and operations per sample as the paper counts them (Yu 2022, Tables IV and V).

    Where slices are split the paper prints memory and MACC of one hemisphere and FLOPs of both; "training" is with
    the site classifier. Networks of volumes are counted by the same rules.

    Args:
        model: with a 2D or 3D network; parts may be absent.
        sample: spatial shape of a whole sample, e.g. (rows, columns) of a slice.

    Returns:
        parameters_m (millions, without the site classifier), memory_mb, macc_g, flops_g; with a site classifier also
        training_memory_mb, training_macc_g, training_flops_g.
    """
    with torch.device("meta"):
        network = _AsCounted(copy.deepcopy(model.network)).to("meta").eval()
        channels = channels_of(model.network)
        whole = torch.empty(1, channels, *sample)
        seen = whole if model.hemispheres is None else model.hemispheres.split({"image": whole})["image"][:1]
        trunk = torchstat_reading(network, seen)
        parameters = count_parameters(network)
        before = TorchstatReading(0, 0, 0)
        if model.standardizer is not None:
            standardizer = copy.deepcopy(cast(nn.Module, model.standardizer)).to("meta")
            before = torchstat_reading(standardizer, whole, torch.empty(1, 1, *sample))
            parameters += count_parameters(standardizer)
        halves = 1 if model.hemispheres is None else 2
        costs = {"parameters_m": parameters / 1e6, **_columns(before, trunk, halves)}
        if model.adversary is not None:
            with_heads = trunk
            for head, shown in cast(Any, model.adversary).shown(network.network, seen):
                with_heads += torchstat_reading(copy.deepcopy(head).to("meta"), shown)
            training = _columns(before, with_heads, halves)
            costs |= {f"training_{name}": value for name, value in training.items()}
    return costs


class _AsCounted(nn.Module):
    """A network as it was counted for the paper: with all its heads, and the sigmoid of a single map as a layer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.sigmoid = nn.Sigmoid()

    def forward(self, image: Tensor) -> object:
        self.network.training = bool(getattr(self.network, "deep_supervision", False))  # not its layers
        logits = self.network(image)
        return self.sigmoid(logits) if isinstance(logits, Tensor) and logits.shape[1] == 1 else logits


class _Prediction(nn.Module):
    """``predict_scores`` as a module that can be watched."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, brain: Tensor) -> Tensor:
        return self.model.predict_scores(image, brain)


class _TrainingForward(nn.Module):
    """The forward pass of a training step up to its logits and the site's."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, brain: Tensor) -> object:
        model = self.model
        seen = model.condition({"image": image, "brain": brain, "site": image.new_zeros(len(image), dtype=torch.int64)})
        if model.adversary is None:
            return model.network(seen["image"])
        return judged(model.adversary, model.network, seen["image"], seen["site"])


def least_samples(model: Segmenter) -> int:
    """How many samples a training batch has at least in each process, as the network says; 1 if it says nothing."""
    return int(getattr(model.network, "least_samples", 1))


def channels_of(network: nn.Module) -> int:
    """Channels of the image, from the first convolution."""
    kinds = (nn.Conv2d, nn.Conv3d)
    return next(layer.in_channels for layer in network.modules() if isinstance(layer, kinds))


def _parameters_of(part: object) -> int:
    return count_parameters(part) if isinstance(part, nn.Module) else 0


def _columns(before: TorchstatReading, each: TorchstatReading, halves: int) -> dict[str, float]:
    one = before + each
    flops = before.flops + halves * each.flops
    return {"memory_mb": one.memory_mib, "macc_g": one.madds / 1e9, "flops_g": flops / 1e9}
