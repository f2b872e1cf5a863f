"""Whether what a config names exists and takes what it is given. Imports classes; builds nothing."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strokelab.command_words import value, word
from strokelab.errors import ConfigError


def check_arguments(settings: Mapping[str, Any]) -> None:
    """Every class and function a config names must exist and know every setting it is given.

    Raises:
        ConfigError: naming the setting in full and the nearest known one.
    """
    for path, node in _targets(settings, ""):
        known = parameters(node["_target_"], path)
        surplus = [str(key) for key in node if known is not None and key not in known and str(key)[:1] != "_"]
        if surplus:
            raise _unknown(path, node, surplus, sorted(known or ()))


def _unknown(path: str, node: Mapping[str, Any], surplus: Sequence[str], known: Sequence[str]) -> ConfigError:
    """Settings that a class does not take: a slip, or what stood there for another class."""
    slips = {key: near for key in surplus if (near := difflib.get_close_matches(key, known, n=1, cutoff=0.8))}
    key = surplus[0]
    if key not in slips and (experiment := _experiment()) and not _is_typed(f"{path}.{key}"):
        others = " ".join(f"~{path}.{name}" for name in surplus)
        return ConfigError(
            f"{path}.{key}",
            found=f"a setting of experiment={experiment} that {_choice(path, node)} does not have",
            expected=f"another {path}, or none of the experiment's settings for its own",
            remedy=f"add {others} to the command, which takes them out again, or leave {path}=... to the experiment",
        )
    key = next(iter(slips), key)
    near = slips.get(key) or (difflib.get_close_matches(key, known, n=1) if len(surplus) == 1 else [])
    named = "a setting" if near or len(surplus) == 1 else f"settings ({', '.join(surplus)})"
    remedy = f"did you mean {path}.{near[0]}?" if near else "remove it"
    if not near and "." in path and "[" not in path and not _is_typed(f"{path}.{key}"):
        kept = {name: item for name, item in node.items() if name not in surplus}
        whole = f"{word(f'~{path}')} {word(f'+{path}={value(kept)}')}"  # Hydra cannot take a ??? out by its name
        remedy = f"replace the whole section: add {whole} to the command, with what else {path} is to have"
    return ConfigError(
        path if named != "a setting" else f"{path}.{key}",
        found=f"{named} that {node['_target_']} does not know",
        expected=f"some of {', '.join(known)}",
        remedy=remedy,
    )


def _experiment() -> str:
    """The experiment of the command; "": none."""
    from hydra.core.hydra_config import HydraConfig

    chosen = HydraConfig.get().runtime.choices.get("experiment") if HydraConfig.initialized() else None
    return "" if chosen in (None, "null") else str(chosen)


def _is_typed(key: str) -> bool:
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return False
    return any(item.lstrip("+").startswith(f"{key}=") for item in HydraConfig.get().overrides.task)


def _choice(path: str, node: Mapping[str, Any]) -> str:
    """What stands in a section, as the command says it."""
    from hydra.core.hydra_config import HydraConfig

    option = HydraConfig.get().runtime.choices.get(path)
    return f"{path}={option}" if option else str(node["_target_"])


def _targets(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from _targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{path}[{index}]")


def class_of(target: str) -> Any:
    """The class or function of a full name; raises what its import raises."""
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def parameters(target: Any, path: str) -> set[str] | None:
    """The names a target takes; None where it takes any, or does not tell."""
    try:
        found = class_of(str(target))
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{path}._target_",
            found=f"{target!r} ({error})",
            expected="the full name of a class or function",
            remedy="correct the name, or install the package it comes from",
        ) from error
    # The named datasets hand what they do not know to the class they are made from.
    classes = found.__mro__[:-1] if inspect.isclass(found) else ()
    makers = [vars(base)["__init__"] for base in classes if "__init__" in vars(base)] or [found]
    names: set[str] = set()
    for maker in makers:
        try:
            parameters = inspect.signature(maker).parameters.values()
        except (TypeError, ValueError):
            return None
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names - {"self"}
    return None
