"""Parts of a model that learn at another rate. Knows parameters by name; knows no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from strokelab.errors import ConfigError


def with_rates(
    make: Callable[[Iterable[Any]], Optimizer], module: nn.Module, factors: Mapping[str, float]
) -> Optimizer:
    """An optimiser over all parameters of a module, some of them at a share of its rate.

    Args:
        make: of an optimiser, from its parameters or groups of them.
        module: whose parameters it changes.
        factors: name of a part, e.g. ``network.trunk`` -> its rate as a multiple of the optimiser's; of a part inside
            another the longer name counts. Empty: one group.

    Raises:
        ConfigError: a name that no parameter has.
    """
    if not factors:
        return make(module.parameters())
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in ("", *factors)}
    for name, parameter in module.named_parameters():
        owners = [part for part in factors if f"{name}.".startswith(f"{part}.")]
        groups[max(owners, key=len, default="")].append(parameter)
    for part in factors:
        if not groups[part]:
            raise ConfigError(
                "model.rate_factors",
                found=f"{part}, of which no parameter is a part",
                expected=f"names of parts, e.g. {', '.join(f'network.{name}' for name, _ in _parts(module)[:3])}",
                remedy="set ++model.rate_factors=null, or name a part of the model",
            )
    named = [name for name in groups if groups[name]]
    optimizer = make([{"params": groups[name]} for name in named])
    for name, group in zip(named, optimizer.param_groups, strict=True):
        group["lr"] *= factors.get(name, 1.0)
    return optimizer


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    network = getattr(module, "network", module)
    return list(network.named_children())
