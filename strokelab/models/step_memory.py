"""How much memory a training step of a ``Segmenter`` takes: counted on tensors without numbers. Knows no case."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from strokelab.models.cost import channels_of, least_samples
from strokelab.models.parts import judged
from strokelab.models.segmenter import Segmenter, compared
from strokelab.networks.peak_memory import Ledger, without_numbers


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step on one sample, the second and any later one; ``peak`` is what a device must have.

    On two samples where a network trains on no fewer.
    """

    weights: int
    gradients: int
    optimizer: int  # its state
    kept: int  # activations at the end of the forward pass
    peak: int  # of all at one moment, with the workspace of convolutions


def step_memory(model: Segmenter, sample: tuple[int, ...], *, half: bool = False, device: str = "cpu") -> StepMemory:
    """Count a training step; the model is left as it is.

    Args:
        model: any ``Segmenter``.
        sample: spatial shape of the samples of the batch: one, or as many as the network trains on at least.
        half: in bf16 by autocast.
        device: "cpu", or "cuda", which need not be there.

    Raises:
        ConfigError: the network cannot take a sample of this shape.
    """
    blank = copy.deepcopy(model).train()
    with without_numbers(blank, device, half=half) as forward:
        ledger = Ledger(blank)
        weights = ledger.held
        with ledger:
            batch = _batch(least_samples(blank), channels_of(blank.network), sample)
            given = ledger.held
            with forward:
                loss = step_loss(blank, batch)
            kept = ledger.held - given
            loss.backward()  # type: ignore[no-untyped-call]
    state = _state_bytes(model)
    gradients = sum(_bytes(weight) for weight in model.parameters() if weight.requires_grad)
    return StepMemory(weights, gradients, state, kept, max(ledger.peak, weights + gradients) + state)


def step_loss(model: Segmenter, batch: dict[str, Any]) -> Tensor:
    """The loss of a training step, site included, without a trainer: scalar."""
    seen = model.condition(batch)
    if model.adversary is None:
        return cast(Tensor, model.loss(model.network(seen["image"]), *compared(seen)))
    logits, site_loss, _ = judged(model.adversary, model.network, seen["image"], seen["site"])
    loss: Tensor = model.loss(logits, *compared(seen)) + site_loss
    return loss


def _batch(count: int, channels: int, sample: tuple[int, ...]) -> dict[str, Any]:
    image = torch.empty(count, channels, *sample)
    mask = torch.ones(count, 1, *sample, dtype=torch.uint8)
    return {"image": image, "brain": mask, "lesion": mask, "site": torch.zeros(count, dtype=torch.int64)}


def _state_bytes(model: Segmenter) -> int:
    """What the optimizer remembers between steps."""
    weights = [nn.Parameter(torch.empty_like(weight, device="meta")) for weight in model.parameters()]
    for weight in weights:
        weight.grad = torch.empty_like(weight)
    optimizer = model.optimizer(weights)
    optimizer.step()
    states = (value for state in optimizer.state.values() for value in state.values())
    return sum(_bytes(value) for value in states if isinstance(value, Tensor))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
