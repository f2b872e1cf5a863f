"""How large a model and its samples are, computed before they are built. Allocates nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strokelab.configuration.building import build
from strokelab.configuration.forms import samples_of, view_of
from strokelab.errors import ConfigError, RunError

MOST = 65_536
"""No width, depth or count of a network is larger; a config that says so wants to fill the memory."""


MOST_VOXELS = 2**28
"""No batch of an untrusted config holds more: 1 GB a channel, 128 patches of 128 x 128 x 128."""
_UNKNOWN = 256  # voxels of a side that is the case's


def check_voxels(view: Mapping[str, Any], where: Path, *, batch_size: Any = 0) -> None:
    """Refuse a view that gives a network more voxels at once than any training of ours needs.

    The view's parts are asked, whatever their settings are called: sampler and windows for their ``sample_shape``,
    windows for how many of them go through the network at once, ``batch_size``.

    Args:
        view: the section ``view``.
        where: the config's file, for messages.
        batch_size: samples of a training step; 0: no training.

    Raises:
        ConfigError: naming the setting, and the largest number.
    """
    built = view_of(view)
    at_once = {"data.batch_size": ("sampler", batch_size)}
    at_once["view.windows.batch_size"] = ("windows", getattr(getattr(built, "windows", None), "batch_size", 1))
    for setting, (part, count) in at_once.items():
        samples = samples_of(built, view, part)
        voxels = math.prod(side or _UNKNOWN for side in samples.sides.values()) if samples else 1
        if not isinstance(count, int) or count * voxels > MOST_VOXELS:
            raise ConfigError(
                where,
                found=f"{setting}={str(count)[:60]}, with {voxels:,} voxels in each of view.{part}'s",
                expected=f"at most {max(MOST_VOXELS // voxels, 1):,}",
                remedy="do not run this folder unless you trust its author",
            )


def check_size(node: Mapping[str, Any], checkpoint: Path | None, where: Path) -> None:
    """Refuse a model that its checkpoint cannot hold, or without one, that this machine cannot.

    Args:
        node: the section ``model``, late facts bound.
        checkpoint: which holds every weight of its model; None: there is none yet.
        where: the config's file, for messages.

    Raises:
        RunError: it is larger than its checkpoint.
        ConfigError: it is larger than the memory, or as ``model_bytes``.
    """
    needed = model_bytes(node, where)
    if checkpoint is None and needed > (memory := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise ConfigError(
            where,
            found=f"a model of {needed / 1e9:,.1f} GB",
            expected=f"one that fits into {memory / 1e9:,.1f} GB of memory",
            remedy="do not run this folder unless you trust its author, or use a larger machine",
        )
    if checkpoint is not None and needed > (there := checkpoint.stat().st_size):
        raise RunError(
            checkpoint,
            found=f"weights of another model: {there / 1e6:,.3f} MB, and config.yaml asks for {needed / 1e6:,.3f} MB",
            expected="every weight of the model in config.yaml",
            remedy="copy the run again; its config.yaml and its checkpoint do not belong together",
        )


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
        return 0  # no model: what builds it says so
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
