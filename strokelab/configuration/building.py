"""Settings become objects here and nowhere else: targets called.

The only caller of ``hydra.utils.instantiate``. Knows no run folders and no training.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from strokelab.configuration.allowlist import check_buildable
from strokelab.configuration.composition import compose, conf_folder, plain
from strokelab.configuration.late_facts import DEFAULT_FACTS, bind
from strokelab.errors import ConfigError, StrokelabError

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter


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
        cause = _cause(error)
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


def build_form(node: Mapping[str, Any]) -> Any:
    """The object of a node on shapes alone, without memory for weights; None where it cannot be built so.

    A class of the user's may look at the values of its weights while it is built, which have none.

    Raises:
        StrokelabError: what the target itself says about its arguments.
    """
    import torch
    from hydra.utils import instantiate

    try:
        with torch.device("meta"):
            return instantiate(dict(node), _convert_="all")
    except Exception as error:  # what is wrong with it, ``build`` will say
        if isinstance(cause := _cause(error), StrokelabError):
            raise cause from error
        return None


def target_of(node: Any) -> Any:
    """The class or function that a node names; None: it names none that exists."""
    module, _, name = str(node.get("_target_", "") if isinstance(node, Mapping) else "").rpartition(".")
    try:
        return getattr(import_module(module), name) if module else None
    except (ImportError, AttributeError):
        return None


def _cause(error: BaseException) -> BaseException:
    """What an error of the config library came from: the first of ours, else the last of all."""
    while error.__cause__ is not None and not isinstance(error, StrokelabError):
        error = error.__cause__
    return error


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
    if "in_channels" not in overrides:  # of slabs, the slices of the one channel
        view = build_form(bind({**composed["view"], "augment": None}, facts, at="view", partly=True))
        facts["in_channels"] *= getattr(getattr(view, "sampler", None), "slices", 1)
    return cast("Segmenter", build(bind(composed["model"], facts, at="model")))
