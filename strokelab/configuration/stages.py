"""Stages of a training: each is the run's settings with some changed. Knows settings; builds and trains nothing.

The settings of a run are those of its last stage, and ``stages`` says by name and in order what each stage changes of
them: so whatever reads a run's config sees the model as it is evaluated. In yaml and on a command line a stage changes
the settings as they stand there; ``normalised`` brings both to the one form.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from strokelab.errors import ConfigError

Settings = dict[str, Any]

STAGES = "stages"
_OUT = "~"  # before a key that a stage takes out
INIT_WEIGHTS = "init_weights"
"""In a stage: the checkpoint of the stage before whose weights it starts from, ``last`` or ``best``."""

_TRAINER = (
    *("max_epochs", "max_steps", "min_epochs", "min_steps", "max_time", "overfit_batches", "num_sanity_val_steps"),
    *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "limit_train_batches"),
    *("limit_val_batches", "check_val_every_n_epoch", "val_check_interval", "log_every_n_steps"),
)
# What a stage may change: the keys of a section; None: all. The network, its parts, the cases and the devices are the
# whole training's.
CHANGEABLE: Mapping[str, tuple[str, ...] | None] = {
    "view": None,
    "data": ("batch_size", "drop_last", "workers", "mixing"),
    "model": ("optimizer", "scheduler", "scheduler_interval", "loss", "validation_metrics"),
    "trainer": _TRAINER,
    "callbacks": None,
}


def stage_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the stages in their order; one without a name where the training has no stages."""
    return tuple(settings.get(STAGES) or ("",))


def of_stage(settings: Settings, name: str) -> Settings:
    """The settings of one stage, without ``stages``.

    Args:
        settings: of a run.
        name: of the stage; "": of a training without stages.
    """
    changes = (settings.get(STAGES) or {}).get(name) or {}
    own = {key: value for key, value in settings.items() if key != STAGES}
    changed: Settings = overlaid(own, {key: value for key, value in changes.items() if key != INIT_WEIGHTS})
    return changed


def of_stages(settings: Settings) -> list[Settings]:
    """The settings of every stage, in order; those of the run itself where it has no stages."""
    return [of_stage(settings, name) for name in stage_names(settings)]


def joined(settings: Settings, stages: Iterable[Settings]) -> Settings:
    """The settings of a run whose stages have these settings: the inverse of ``of_stages``.

    Args:
        settings: of the run, with its ``stages``, whose names and starting weights stay.
        stages: the settings of every stage, in order.
    """
    every, names = list(stages), stage_names(settings)
    last = every[-1]
    if names == ("",):
        return {**last, STAGES: settings[STAGES]} if STAGES in settings else last
    changes = {name: difference(last, one) for name, one in zip(names, every, strict=True)}
    for name, node in settings[STAGES].items():
        changes[name] |= {INIT_WEIGHTS: node[INIT_WEIGHTS]} if INIT_WEIGHTS in (node or {}) else {}
    return {**last, STAGES: changes}


def normalised(raw: Settings, resolve: Callable[[Settings], Settings]) -> Settings:
    """Settings as the yaml files and the command line give them, in the form of a run.

    Args:
        raw: interpolations unresolved: in a stage they see the stage's own settings.
        resolve: interpolations.

    Raises:
        ConfigError: ``stages`` holds no stages.
    """
    check_form(raw[STAGES])
    return joined(raw, [resolve(one) for one in of_stages(raw)])


def overlaid(settings: Any, changes: Any) -> Any:
    """Settings with changes. ``~key`` takes a key out; a node with another ``_target_`` replaces the whole node."""
    if not isinstance(changes, Mapping):
        return copy.deepcopy(changes)
    new = {key: value for key, value in changes.items() if not str(key).startswith(_OUT)}
    if not isinstance(settings, Mapping) or new.get("_target_", here := settings.get("_target_")) != here:
        return copy.deepcopy(new)
    kept = {key: value for key, value in settings.items() if f"{_OUT}{key}" not in changes}
    return {key: overlaid(kept.get(key), new[key]) if key in new else copy.deepcopy(kept[key]) for key in kept | new}


def difference(settings: Mapping[str, Any], others: Mapping[str, Any]) -> Settings:
    """The changes that make ``others`` of ``settings``, as ``overlaid`` takes them; neither is a node itself."""
    changes: Settings = {f"{_OUT}{key}": None for key in settings if key not in others}
    for key, other in others.items():
        own = settings.get(key)
        if key in settings and own == other and type(own) is type(other):
            continue
        if (
            isinstance(own, Mapping)
            and isinstance(other, Mapping)
            and other.get("_target_") in (None, own.get("_target_"))
        ):
            changes[key] = difference(own, other)
        else:
            changes[key] = copy.deepcopy(other)
    return changes


def check_stages(settings: Settings) -> None:
    """Whether the stages of a run change only what a stage may change.

    Raises:
        ConfigError: a name that cannot be a file's, a setting of the whole training, or other starting weights.
    """
    check_form(settings.get(STAGES))
    for place, name in enumerate(stage_names(settings)):
        changes = (settings.get(STAGES) or {}).get(name) or {}
        weights = changes.get(INIT_WEIGHTS)
        if INIT_WEIGHTS in changes and (place == 0 or weights not in ("last", "best")):
            raise ConfigError(
                f"{STAGES}.{name}.{INIT_WEIGHTS}",
                found=repr(weights) + (" in the first stage" if place == 0 else ""),
                expected="last or best: a checkpoint of the stage before",
                remedy="leave it out; init_weights=RUN says what the first stage starts from"
                if place == 0
                else f"set {STAGES}.{name}.{INIT_WEIGHTS}=last",
            )
        for section, content in changes.items():
            if section != INIT_WEIGHTS:
                _check_section(f"{STAGES}.{name}", section, content)


def _check_section(where: str, section: str, content: Any) -> None:
    allowed = CHANGEABLE.get(section, ())
    if section not in CHANGEABLE or not isinstance(content, Mapping):
        raise ConfigError(
            f"{where}.{section}",
            found="a setting of the whole training" if section not in CHANGEABLE else f"{content!r}",
            expected=f"what a stage may change: {', '.join(CHANGEABLE)}, {INIT_WEIGHTS}",
            remedy=f"set {section} for the whole training, or start another run with init_weights=RUN",
        )
    for key in () if allowed is None else content:
        if str(key).removeprefix(_OUT) not in (allowed or ()):
            raise ConfigError(
                f"{where}.{section}.{key}",
                found="a setting of the whole training",
                expected=f"what a stage may change of {section}: {', '.join(allowed or ())}",
                remedy=f"set {section}.{key} for the whole training, or start another run with init_weights=RUN",
            )


def check_heeded(raw: Settings, typed: Iterable[str]) -> None:
    """Whether every typed setting holds in some stage at least.

    Args:
        raw: settings as composed, before ``normalised``.
        typed: keys of the command line, in full.

    Raises:
        ConfigError: every stage changes the setting, so that what was typed would be ignored.
    """
    stages = raw.get(STAGES) or {}
    for key in typed:
        path = key.lstrip("+~").split(".")
        if stages and path[0] != STAGES and all(_changes(node, path) for node in stages.values()):
            first = next(iter(stages))
            raise ConfigError(
                key,
                found="a setting that every stage changes",
                expected="the setting of a stage",
                remedy=f"say which stage is meant: {STAGES}.{first}.{key.lstrip('+~')}=...",
            )


def _changes(node: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return not isinstance(node, Mapping) or "_target_" in node


def check_form(stages: Any) -> None:
    """Whether something is stages: sections by names that may be those of checkpoints.

    Raises:
        ConfigError: it is not.
    """
    if stages is None or stages == {}:
        return
    named = isinstance(stages, Mapping) and all(
        re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", str(name)) for name in stages
    )
    if not named or not all(isinstance(node, (Mapping, type(None))) for node in stages.values()):
        raise ConfigError(
            STAGES,
            found=f"{str(stages)[:80]!r}",
            expected="names of letters, digits, - and _, each with the settings that the stage changes",
            remedy="see docs/stages.md",
        )
    if reserved := {"last", "best", "previous"} & set(stages):
        raise ConfigError(
            STAGES,
            found=f"a stage named {min(reserved)!r}, which is the name of a checkpoint",
            expected="another name",
            remedy="rename the stage",
        )
