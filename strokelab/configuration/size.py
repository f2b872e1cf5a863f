"""How large a model is, told before it is built. Allocates nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strokelab.configuration.building import build
from strokelab.errors import ConfigError

MOST = 65_536
"""No width, depth or count of a network is larger; a config that says so wants to fill the memory."""


def model_bytes(node: Mapping[str, Any], where: str | Path = "config") -> int:
    """Bytes of a model's weights and buffers.

    Args:
        node: the section ``model``, late facts bound.
        where: the file it came from, for messages.

    Raises:
        ConfigError: a size beyond ``MOST``, or the model cannot be built.
    """
    import torch

    for part, content in node.items():
        if part not in ("optimizer", "scheduler"):  # these count steps
            _check(content, f"model.{part}", where)
    with torch.device("meta"):  # shapes without memory
        model = build(node)
    if not isinstance(model, torch.nn.Module):
        return 0  # another kind of thing, which whoever wants a model will say
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def _check(value: Any, path: str, where: str | Path) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check(inner, f"{path}.{key}", where)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check(inner, path, where)
    elif isinstance(value, int) and abs(value) > MOST:
        raise ConfigError(
            where,
            found=f"{path}={value}",
            expected=f"sizes of a network, at most {MOST}",
            remedy="do not run this folder unless you trust its author",
        )
