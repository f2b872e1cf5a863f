"""What an untrusted config may build: what says so of itself (``strokelab.buildable``), and named things of libraries.

Looks at names and at where they are defined; builds nothing.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import strokelab
from strokelab.buildable import Leave, leave_of
from strokelab.command_words import setting, word
from strokelab.configuration.stages import STAGES, check_form, of_stages
from strokelab.errors import ConfigError

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
# The sections of a run folder's config that predicting with it builds, and those that continuing it builds besides.
_EVALUATED = ("model", "view", "postprocess")
_TRAINED = ("data", "split", "planner", "trainer", "logger", "callbacks")
# In ``stages`` lie, stage by stage, nodes of the same sections; nothing else in it may be built.
_LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "model": (*_OPTIMIZERS, *_SCHEDULERS),
    "trainer": ("lightning.pytorch.Trainer",),
    "logger": ("lightning.pytorch.loggers.TensorBoardLogger",),
    "callbacks": tuple(
        f"lightning.pytorch.callbacks.{name}"
        for name in (
            *("DeviceStatsMonitor", "EMAWeightAveraging", "EarlyStopping", "GradientAccumulationScheduler"),
            *("LearningRateMonitor", "ModelCheckpoint", "RichModelSummary", "RichProgressBar"),
            *("StochasticWeightAveraging", "ThroughputMonitor", "Timer"),
        )
    ),
}
"""Of other libraries: exact names by section. Never a prefix: ``torch.load`` and ``torch.hub`` run code."""
_OURS = re.compile(r"strokelab(?:\.[a-z][a-z0-9_]*)+\.[A-Za-z][A-Za-z0-9_]*", re.ASCII)


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
    for section, path, key, value, parent in _walk_sections(node):
        if isinstance(value, str) and "${" in value:
            _refuse(where, path, f"an interpolation {value!r}", "plain values only", own="write the value itself")
        if isinstance(key, str) and key.startswith("_") and key not in ("_target_", "_partial_"):
            remedy = "give arguments by name, or let a function of yours call it"
            _refuse(where, path, f"the keyword {key!r}", "_target_ and _partial_ only", own=remedy)
        if key == "_target_" and not any(isinstance(value, str) and value.startswith(prefix) for prefix in allow):
            if not _may_build(value, section, training):
                expected = f"a class or function on the allow-list of {section!r}"
                _refuse(where, path, f"the target {value!r}", expected, own=_own(value))
            for found, expected in _beyond(value, parent):
                _refuse(where, path.removesuffix("._target_"), found, expected, own=_own(value))
    for one in _as_trained(node):
        check_buildable(one, allow=allow, where=where, training=training)


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
    """What of a whole config only its author's own training may build: targets that no section of it may, or not so."""
    found = (
        value
        for one in (node, *_as_trained(node))
        for section, _, key, value, parent in _walk_sections(one)
        if key == "_target_"
        and isinstance(value, str)
        and (not _may_build(value, section, True) or any(_beyond(value, parent)))
    )
    return sorted(set(found))


def _as_trained(node: Any) -> list[dict[str, Any]]:
    """The settings of every stage, if there are stages: what one changes counts together with what it leaves."""
    if not isinstance(node, Mapping) or not node.get(STAGES):
        return []
    check_form(node[STAGES])
    return of_stages(dict(node))


def _may_build(target: Any, section: str, training: bool) -> bool:
    """Whether a section may build a target; what is no section may build what any section may."""
    sections = (*_EVALUATED, *(_TRAINED if training else ()))
    known = section in (*_EVALUATED, *_TRAINED, STAGES)
    if any(target == name for one in sections if one == section or not known for name in _LIBRARIES.get(one, ())):
        return True
    leave = _leave(target)
    return leave is not None and leave.serves(section if known else None, training=training)


def _beyond(target: Any, node: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """(found, expected) of the settings of a target that are beyond the limits it states."""
    if (leave := _leave(target)) is None:
        return
    for name in {*leave.most, *leave.least}:
        most, least = leave.most.get(name, math.inf), leave.least.get(name, -math.inf)
        if not all(least <= number <= most for number in _numbers(node.get(name))):
            expected = f"at most {most:,g}" if name in leave.most else f"at least {least:,g}"
            yield f"{name}={str(node[name])[:60]}", f"{expected}, which takes no more memory than a training needs"


def _leave(target: Any) -> Leave | None:
    """The mark of an object of ours under the name that it is defined under; imports no module without marks.

    ``strokelab.networks.unet.torch.load`` begins like a class of ours as well, and a module may act on import.
    """
    if not isinstance(target, str) or not _OURS.fullmatch(target):
        return None
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if _marks(module) else None
    except (ImportError, AttributeError):
        return None
    defined = (getattr(found, "__module__", None), getattr(found, "__qualname__", None))
    return leave_of(found) if defined == (module, name) else None


@cache
def _marks(module: str) -> bool:
    """Whether the file of a module of ours marks something; opens it and imports nothing."""
    place = Path(strokelab.__file__).parent.joinpath(*module.split(".")[1:])
    files = (place.with_suffix(".py"), place / "__init__.py")
    return any("\n@buildable(" in file.read_text(encoding="utf-8") for file in files if file.is_file())


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


def _walk_sections(node: Any, at: str = "") -> Iterator[tuple[str, str, Any, Any, Any]]:
    """(section, and as ``_walk``) of everything in a config; what a stage holds is of the section it stands in for.

    The section is that of the place in the tree, never read from a path: a key may hold dots.
    """
    if not isinstance(node, Mapping):
        yield from ((STAGES if at else "", *item) for item in _walk(node, at))
        return
    for key, value in node.items():
        path, section = f"{at}.{key}", str(key).partition(".")[0]
        if at and section not in (*_EVALUATED, *_TRAINED):
            section = STAGES
        yield section, path, key, value, node
        if section == STAGES and not at and isinstance(value, Mapping):
            for name, overlay in value.items():
                yield STAGES, f"{path}.{name}", name, overlay, value
                yield from _walk_sections(overlay, f"{path}.{name}")
        else:
            yield from ((section, *item) for item in _walk(value, path))


def _walk(node: Any, path: str = "") -> Iterator[tuple[str, Any, Any, Any]]:
    """(path, key, value, the node that holds it) of everything in a tree; items of lists have no key."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{path}.{key}", key, value, node
            yield from _walk(value, f"{path}.{key}")
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield f"{path}[{index}]", None, value, node
            yield from _walk(value, f"{path}[{index}]")


def _numbers(value: Any) -> Iterator[float]:
    """Every number in a setting, also in lists and mappings; of a text that is one, too. A NaN is beyond any limit."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with suppress(ValueError):  # a word
            yield math.inf if isinstance(value, int) and abs(value) > sys.maxsize else float(value)
