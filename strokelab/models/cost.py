"""What a ``Segmenter`` of slices costs, in the columns of SG-Net's Tables IV and V. Knows modules; runs nothing."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import nn

from strokelab.models.segmenter import Segmenter, u_shaped
from strokelab.networks.cost import TorchstatReading, count_parameters, torchstat_reading
from strokelab.networks.site_classifier import SiteClassifier


def slice_costs(model: Segmenter, plane: tuple[int, int]) -> dict[str, float]:
    """Parameters, memory and operations per slice as the paper counts them (Yu 2022, Tables IV and V).

    Where slices are split the paper prints memory and MACC of one hemisphere and FLOPs of both; "training" is with
    the site classifier.

    Args:
        model: with a 2D U-shaped network; parts may be absent.
        plane: (rows, columns) of a whole slice.

    Returns:
        parameters_m (millions, without the site classifier), memory_mb, macc_g, flops_g; with a site classifier also
        training_memory_mb, training_macc_g, training_flops_g.
    """
    with torch.device("meta"):
        network = nn.Sequential(copy.deepcopy(model.network), nn.Sigmoid()).to("meta")
        channels = next(network.parameters()).shape[1]
        whole = torch.empty(1, channels, *plane)
        seen = whole if model.hemispheres is None else torch.empty(1, channels, plane[0], plane[1] // 2)
        trunk = torchstat_reading(network, seen)
        parameters = count_parameters(network)
        before = TorchstatReading(0, 0, 0)
        if model.standardizer is not None:
            standardizer = copy.deepcopy(cast(nn.Module, model.standardizer)).to("meta")
            before = torchstat_reading(standardizer, whole, torch.empty(1, 1, *plane))
            parameters += count_parameters(standardizer)
        halves = 1 if model.hemispheres is None else 2
        costs = {"parameters_m": parameters / 1e6, **_columns(before, trunk, halves)}
        if model.adversary is not None:
            parts = cast(nn.Module, model.adversary).modules()
            classifier = next(part for part in parts if isinstance(part, SiteClassifier))
            deepest = u_shaped(network[0]).encode(seen)[-1]
            head = torchstat_reading(copy.deepcopy(classifier).to("meta"), deepest)
            training = _columns(before, trunk + head, halves)
            costs |= {f"training_{name}": value for name, value in training.items()}
    return costs


def _columns(before: TorchstatReading, each: TorchstatReading, halves: int) -> dict[str, float]:
    one = before + each
    flops = before.flops + halves * each.flops
    return {"memory_mb": one.memory_mib, "macc_g": one.madds / 1e9, "flops_g": flops / 1e9}
