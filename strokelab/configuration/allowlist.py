"""What an untrusted config may build. Looks at names and at where they are defined; builds nothing."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from strokelab.command_words import setting, word
from strokelab.errors import ConfigError

# What the sections of a run folder's config may build: rooms of modules whose sizes `size.py` counts, else exact names.
# Never a prefix of torch: `torch.load` and `torch.hub` run code. No rooms for a view: they have functions that make
# arrays as long as they are told.
_OPTIMIZERS = tuple(
    f"torch.optim.{name}"
    for name in (
        *("SGD", "Adam", "AdamW", "Adadelta", "RMSprop", "NAdam", "RAdam"),
        *("Adagrad", "Adamax", "ASGD", "Adafactor"),
    )
)
_SCHEDULERS = tuple(
    f"torch.optim.lr_scheduler.{name}"
    for name in (
        *("ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR", "LinearLR"),
        *("MultiStepLR", "PolynomialLR", "StepLR", "CyclicLR", "OneCycleLR", "ReduceLROnPlateau"),
    )
)
_POSTPROCESS = tuple(
    f"strokelab.inference.postprocess.{name}" for name in ("threshold", "small_components", "mapping", "argmax")
)
BUILDABLE: Mapping[str, tuple[str, ...]] = {
    "model": (
        *("strokelab.networks.", "strokelab.losses.", "strokelab.models.", "strokelab.metrics.validation."),
        *(*_OPTIMIZERS, *_SCHEDULERS),
    ),
    "view": (
        *("strokelab.view.View", "strokelab.preparation.recipe.Preparation"),
        *(f"strokelab.sampling.{name}" for name in ("slices.Slices", "foreground.ForegroundPatches")),
        *(f"strokelab.sampling.{name}" for name in ("order.InOrder", "order.Shuffle", "site_balanced.SiteBalanced")),
        *("strokelab.inference.slices.SliceWindows", "strokelab.inference.windows.PatchWindows"),
        "strokelab.inference.geometric_mean.GeometricMean",
    ),
    "postprocess": _POSTPROCESS,
}
# What continuing a run (resume=RUN) may build besides.
TRAINING: Mapping[str, tuple[str, ...]] = {
    "view": tuple(
        f"strokelab.augment.{name}"
        for name in (
            *("nnunet.NNUNetAugmentation", "recipes.Recipe", "recipes.Foreign", "spatial.Flip"),
            *("intensity.Contrast", "intensity.Gamma", "intensity.Noise"),
        )
    ),
    "data": (
        *("strokelab.data.datamodule.", "strokelab.data.pseudo.PseudoLabels"),
        "strokelab.sampling.alternate.Alternate",
    ),
    "split": ("strokelab.data.splits.",),
    "planner": ("strokelab.planning.Planner",),
    "trainer": ("lightning.pytorch.Trainer", "strokelab.callbacks.slurm_environment.SlurmEnvironment"),
    "logger": (
        "strokelab.callbacks.weights_and_biases.",
        "strokelab.callbacks.tensor_board.",
        "lightning.pytorch.loggers.TensorBoardLogger",
    ),
    "callbacks": (
        *("strokelab.callbacks.", *_POSTPROCESS),
        *(
            f"lightning.pytorch.callbacks.{name}"
            for name in (
                *("DeviceStatsMonitor", "EMAWeightAveraging", "EarlyStopping", "GradientAccumulationScheduler"),
                *("LearningRateMonitor", "ModelCheckpoint", "RichModelSummary", "RichProgressBar"),
                *("StochasticWeightAveraging", "ThroughputMonitor", "Timer"),
            )
        ),
    ),
}
NEVER = ("strokelab.callbacks.metrics_file.",)
"""Inside these rooms, what writes where its arguments say without being a part of a config."""
_CALLBACKS = "strokelab.callbacks."  # a room with functions that act: of it, only what Lightning calls


def check_buildable(
    node: Any, *, allow: Sequence[str] = (), where: str | Path = "config", training: bool = False
) -> None:
    """Hold a whole config tree against the allow-list without building anything.

    Each section may build its own kind of things only: a logger as a loss is refused. A node that is no section may
    build what any section may.

    Args:
        node: plain data as ``yaml.safe_load`` gives it; sections are its keys.
        allow: further dotted prefixes the caller vouches for.
        where: the file the node came from, for messages.
        training: also allow what continuing a training needs: data, callbacks, loggers, the trainer.

    Raises:
        ConfigError: as ``build_untrusted``.
    """
    for path, key, value in _walk(node):
        if isinstance(value, str) and "${" in value:
            _refuse(where, path, f"an interpolation {value!r}", "plain values only", own="write the value itself")
        if isinstance(key, str) and key.startswith("_") and key not in ("_target_", "_partial_"):
            remedy = "give arguments by name, or let a function of yours call it"
            _refuse(where, path, f"the keyword {key!r}", "_target_ and _partial_ only", own=remedy)
        if key == "_target_" and not any(isinstance(value, str) and value.startswith(prefix) for prefix in allow):
            section = path.split(".")[1]
            if not _is_buildable(value, _listed(section, training)):
                expected = f"a class or function on the allow-list of {section!r}"
                _refuse(where, path, f"the target {value!r}", expected, own=_own(value))


def check_allow(allow: Any) -> tuple[str, ...]:
    """The setting ``allow``: dotted prefixes of classes that the user vouches for.

    Raises:
        ConfigError: it is no list of them.
    """
    names = [allow] if isinstance(allow, str) else allow
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigError(
            "allow",
            found=f"{allow!r}",
            expected="a list of dotted prefixes of your own classes",
            remedy="name your package, e.g. allow=[my_package.]",
        )
    return tuple(names)


def own_targets(node: Any) -> list[str]:
    """What of a whole config only its author's own training may build: the targets on no list of their section."""
    found = (
        value
        for path, key, value in _walk(node)
        if key == "_target_" and isinstance(value, str) and not _is_buildable(value, _listed(path.split(".")[1], True))
    )
    return sorted(set(found))


def _listed(section: str, training: bool) -> tuple[str, ...]:
    """Rooms and names for a section; of all sections for what is none."""
    lists = (BUILDABLE, TRAINING) if training else (BUILDABLE,)
    known = section in BUILDABLE or section in TRAINING
    return tuple(
        name for table in lists for key, names in table.items() if key == section or not known for name in names
    )


def _is_buildable(target: Any, listed: Sequence[str]) -> bool:
    if not isinstance(target, str) or target.startswith(NEVER):
        return False
    exact = [name for name in listed if not name.endswith(".")]
    if target in exact and not target.startswith("strokelab."):
        return True
    if target not in exact and not target.startswith(tuple(name for name in listed if name.endswith("."))):
        return False
    # The name must be where it is defined: `strokelab.networks.unet.torch.load` starts with a room, too.
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    if getattr(found, "__module__", None) != module or name.startswith("_"):
        return False
    if target.startswith(_CALLBACKS):
        return _is_called_by_lightning(found)
    return inspect.isclass(found) or inspect.isfunction(found)


def _is_called_by_lightning(found: Any) -> bool:
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger

    return inspect.isclass(found) and issubclass(found, (Callback, Logger, ClusterEnvironment))


def _own(target: Any) -> str:
    """How to vouch for a class: for a package of the user's, or this one class of a library."""
    package = str(target).partition(".")[0]
    if not isinstance(target, str) or package in sys.stdlib_module_names:
        return ""
    name = target if package in ("strokelab", "torch", "lightning", "hydra", "numpy") else f"{package}."
    return f"if it is yours, add {setting('allow', [name])} to the command (strokelab predict: --allow {word(name)})"


def _refuse(where: str | Path, path: str, found: str, expected: str, *, own: str) -> None:
    raise ConfigError(
        where,
        found=f"{found} at {path.lstrip('.')}",
        expected=expected,
        remedy="; ".join(filter(None, ("do not run this folder unless you trust its author", own))),
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
