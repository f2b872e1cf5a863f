"""What a stranger's config may build. Looks at names and at where they are defined; builds nothing."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from strokelab.errors import ConfigError

# What a run folder's config may build: our own rooms without side effects, and these names of PyTorch.
# Never a prefix of torch: `torch.load` and `torch.hub` run code.
BUILDABLE_ROOMS = (
    "strokelab.networks.",
    "strokelab.losses.",
    "strokelab.models.",
    "strokelab.sampling.",
    "strokelab.inference.",
    "strokelab.view.View",
    "strokelab.preparation.recipe.Preparation",
)
# Inside these rooms, what writes files: nobody's config may choose where.
WRITERS = ("strokelab.inference.derivative.",)
BUILDABLE_NAMES = frozenset(
    [f"torch.optim.{name}" for name in ("SGD", "Adam", "AdamW", "Adadelta", "RMSprop", "NAdam", "RAdam")]
    + [
        f"torch.optim.lr_scheduler.{name}"
        for name in (
            "ConstantLR",
            "CosineAnnealingLR",
            "CosineAnnealingWarmRestarts",
            "ExponentialLR",
            "LinearLR",
            "MultiStepLR",
            "PolynomialLR",
            "StepLR",
        )
    ]
)
# What continuing a run (resume=RUN) may build besides.
TRAINING_ROOMS = ("strokelab.data.datamodule.", "strokelab.data.splits.", "strokelab.callbacks.", "strokelab.augment.")
TRAINING_NAMES = frozenset(
    [
        "lightning.pytorch.Trainer",
        "lightning.pytorch.loggers.TensorBoardLogger",
        "lightning.pytorch.loggers.WandbLogger",
    ]
    + [
        f"lightning.pytorch.callbacks.{name}"
        for name in (
            "DeviceStatsMonitor",
            "EMAWeightAveraging",
            "EarlyStopping",
            "GradientAccumulationScheduler",
            "LearningRateMonitor",
            "ModelCheckpoint",
            "RichModelSummary",
            "RichProgressBar",
            "StochasticWeightAveraging",
            "ThroughputMonitor",
            "Timer",
        )
    ]
)


def check_buildable(
    node: Any, *, allow: Sequence[str] = (), where: str | Path = "config", training: bool = False
) -> None:
    """Hold a whole config tree against the allow-list without building anything.

    Args:
        node: plain data as ``yaml.safe_load`` gives it.
        allow: further dotted prefixes the caller vouches for.
        where: the file the node came from, for messages.
        training: also allow what continuing a training needs: data, callbacks, loggers, the trainer.

    Raises:
        ConfigError: as ``build_untrusted``.
    """
    for path, key, value in _walk(node):
        if isinstance(value, str) and "${" in value:
            _refuse(where, path, f"an interpolation {value!r}", "plain values only")
        if isinstance(key, str) and key.startswith("_") and key not in ("_target_", "_partial_"):
            _refuse(where, path, f"the keyword {key!r}", "_target_ and _partial_ only")
        if key == "_target_" and not _is_buildable(value, allow, training):
            _refuse(where, path, f"the target {value!r}", "a class or function on the allow-list")


def _is_buildable(target: Any, allow: Sequence[str], training: bool) -> bool:
    if not isinstance(target, str):
        return False
    names = BUILDABLE_NAMES | TRAINING_NAMES if training else BUILDABLE_NAMES
    if target in names or any(target.startswith(prefix) for prefix in allow):
        return True
    rooms = BUILDABLE_ROOMS + TRAINING_ROOMS if training else BUILDABLE_ROOMS
    if not target.startswith(rooms) or target.startswith(WRITERS):
        return False
    # The name must be where it is defined: `strokelab.networks.unet.torch.load` starts with a room, too.

    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    defined_here = getattr(found, "__module__", None) == module and not name.startswith("_")
    return defined_here and (inspect.isclass(found) or inspect.isfunction(found))


def _refuse(where: str | Path, path: str, found: str, expected: str) -> None:
    raise ConfigError(
        where,
        found=f"{found} at {path}",
        expected=expected,
        remedy="do not run this folder unless you trust its author; own classes are allowed with allow=[package.]",
    )


def _walk(node: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{path}.{key}", key, value
            yield from _walk(value, f"{path}.{key}")
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield f"{path}[{index}]", None, value
            yield from _walk(value, f"{path}[{index}]")
