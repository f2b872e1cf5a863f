"""Settings become objects here and nowhere else: late facts bound, targets called.

The only caller of ``hydra.utils.instantiate``. Knows no run folders and no training.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from strokelab.configuration.allowlist import check_buildable
from strokelab.configuration.composition import Settings, compose, conf_folder, plain
from strokelab.errors import ConfigError, StrokelabError

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter

MISSING = "???"
# What the planner decides from a cohort's geometry (`strokelab.planning`), by the keys it fills in.
PLANNED = ("patch", "spacing", "batch_size", "normalize", "widths", "kernels", "strides")
# What the length of a training decides (`training.length`), by the keys of `model.scheduler` that may be left open.
LENGTHS = ("total_iters", "total_steps", "T_max", "steps_per_epoch")
# Facts of the default cohort (data=phantom, the grid of ATLAS) for models built by hand.
DEFAULT_FACTS: Mapping[str, Any] = {
    **{"in_channels": 1, "n_sites": 8, "plane": (224, 192)},
    **{"patch": (128, 128, 128), "spacing": (1.0, 1.0, 1.0), "batch_size": 2, "normalize": "zscore_volume"},
    "widths": (32, 64, 128, 256, 320, 320),
    "kernels": ((3, 3, 3),) * 6,
    "strides": ((1, 1, 1), *((2, 2, 2),) * 5),
    **dict.fromkeys(LENGTHS, 1000),  # any number: a model built by hand has no training
}


def bind(settings: Settings, facts: Mapping[str, Any], *, partly: bool = False) -> Settings:
    """A copy in which every ``???`` is replaced by the fact of its key's name (``in_channels``, ``n_sites``, ...).

    Args:
        settings: plain data.
        facts: by name.
        partly: leave open what has no fact yet.

    Raises:
        ConfigError: a ``???`` is left for which the data have no fact, or whose fact is None.
    """

    def fill(node: Any, path: str) -> Any:
        if isinstance(node, Mapping):
            return {key: fill(value, f"{path}.{key}" if path else str(key)) for key, value in node.items()}
        if isinstance(node, list):
            return [fill(value, f"{path}[{index}]") for index, value in enumerate(node)]
        if node == MISSING:
            fact = facts.get(path.rpartition(".")[2])
            if fact is None and partly:
                return node
            if fact is None:
                raise ConfigError(
                    path,
                    found="no value",
                    expected="a value on the command line, or one that the data give",
                    remedy=f"add {path}=... to the command; facts known from the data: {sorted(facts)}",
                )
            return _plain(fact)
        return node

    return cast(Settings, fill(settings, ""))


def _plain(fact: Any) -> Any:
    """A fact as a yaml file holds it: lists for tuples."""
    return [_plain(item) for item in fact] if isinstance(fact, tuple) else fact


def build(node: Mapping[str, Any], **arguments: Any) -> Any:
    """Instantiate a config node (``_target_``) of the user's own command; arguments are added to its keys.

    Raises:
        ConfigError: a target does not exist or refuses its arguments; the message names both.
        StrokelabError: what a target itself says about its arguments.
    """
    from hydra.utils import instantiate

    try:
        if not arguments:
            return instantiate(dict(node), _convert_="all")
        # Objects do not pass through OmegaConf (it takes dataclasses for schemas): they join at the call.
        return instantiate({**node, "_partial_": True}, _convert_="all")(**arguments)
    except Exception as error:  # a target may refuse its arguments in any way; HYDRA_FULL_ERROR=1 shows where
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, StrokelabError):
            raise cause from error
        place = re.search(r"full_key: (\S+)", str(error))
        target, given = _blamed(node, place[1] if place else "")
        reason = (str(cause).strip().splitlines() or [""])[0]
        raise ConfigError(
            target + (f" ({place[1]})" if place else ""),
            found=f"{type(cause).__name__}: {reason}" + (f" (given {given})" if given else ""),
            expected="settings that it accepts",
            remedy="correct the setting; the file conf/<group>/<option>.yaml shows the defaults",
        ) from error


def _blamed(node: Mapping[str, Any], place: str) -> tuple[str, str]:
    """The target at a place inside a node, and the plain settings it was given."""
    for key in place.split("."):
        inner = node.get(key)
        node = inner if isinstance(inner, Mapping) else node
    given = [f"{key}={value!r}" for key, value in node.items() if not str(key).startswith("_")]
    return str(node.get("_target_", "config")), ", ".join(item for item in given if len(item) < 60)


def build_untrusted(node: Mapping[str, Any], *, allow: Sequence[str] = (), where: str | Path = "config") -> Any:
    """Instantiate a node of somebody's run folder, after the whole tree was held against the allow-list.

    Args:
        node: plain data as ``yaml.safe_load`` gives it.
        allow: further dotted prefixes the caller vouches for, e.g. ``("my_package.networks.",)``.
        where: the file the node came from, for messages.

    Raises:
        ConfigError: a target, interpolation or Hydra keyword outside the allow-list; nothing was built then.
    """
    check_buildable(node, allow=allow, where=where)
    return build(node)


def build_model(name: str, **overrides: Any) -> Segmenter:
    """See ``strokelab.build_model``."""
    options = sorted(path.stem for path in (conf_folder() / "model").glob("*.yaml"))
    if name not in options:
        near = difflib.get_close_matches(name, options, n=1)
        raise ConfigError(
            f"model {name!r}",
            found="no such file in conf/model",
            expected=f"one of {options}",
            remedy=f"did you mean {near[0]!r}?" if near else "choose one of them",
        )
    facts = {**DEFAULT_FACTS, **{key: value for key, value in overrides.items() if key in DEFAULT_FACTS}}
    settings = [
        f"model.{key.replace('__', '.')}={value}" for key, value in overrides.items() if key not in DEFAULT_FACTS
    ]
    composed = plain(compose("train", [f"model={name}", *settings]))
    return cast("Segmenter", build(bind(composed["model"], facts)))
