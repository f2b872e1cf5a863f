"""Whether the parts of a config agree with one another, found out before any data are read."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from strokelab.configuration.composition import Settings
from strokelab.errors import ConfigError


def check_fit(settings: Settings) -> None:
    """Model, view and data must agree; found out before any data are read.

    Raises:
        ConfigError: the slice size does not divide through the network's poolings or cannot be halved, or a part
            is switched on that the others cannot serve.
    """
    model, view = settings["model"], settings["view"]
    preparation = view.get("preparation") or {}
    crop = preparation.get("crop")
    network = model.get("network") or {}
    depth = network.get("depth")
    if crop is None or depth is None:
        return
    is_slices = str((view.get("sampler") or {}).get("_target_", "")).startswith("strokelab.sampling.slices.")
    factor = 2 ** (int(depth) - 1)
    halves = 2 if model.get("hemispheres") else 1
    lengths = {"x": crop[0], "y": crop[1]} if is_slices else dict(zip("xyz", crop, strict=False))
    for axis, length in lengths.items():
        needed = factor * (halves if axis == "x" else 1)
        if length is not None and length % needed:
            raise ConfigError(
                f"view.preparation.crop along {axis}",
                found=f"{length} voxels",
                expected=f"a multiple of {needed} (depth {depth}{', two hemispheres' if halves == 2 else ''})",
                remedy=f"use {-(-length // needed) * needed}, or a smaller model.network.depth",
            )
    if is_slices and network.get("dimensions", 2) != 2:
        raise ConfigError(
            "model.network.dimensions",
            found=f"{network['dimensions']} with a view of slices",
            expected="2",
            remedy="choose a view of patches, or dimensions=2",
        )
    if model.get("adversary") and not (settings.get("data") or {}).get("has_sites", True):
        raise ConfigError(
            "adversary",
            found="a site adversary on a dataset without sites",
            expected="at least two training sites",
            remedy="switch it off with adversary=none",
        )


def check_arguments(settings: Mapping[str, Any]) -> None:
    """Every class and function a config names must exist and know every setting it is given.

    Raises:
        ConfigError: naming the setting in full and the nearest known one.
    """
    for path, node in _targets(settings, ""):
        known = _parameters(node["_target_"], path)
        for key in node:
            if known is None or key in known or str(key).startswith("_"):
                continue
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            raise ConfigError(
                f"{path}.{key}",
                found=f"a setting that {node['_target_']} does not know",
                expected=f"some of {', '.join(sorted(known))}",
                remedy=f"did you mean {path}.{near[0]}?" if near else "remove it",
            )


def _targets(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from _targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{path}[{index}]")


def _parameters(target: Any, path: str) -> set[str] | None:
    """The names a target takes; None where it takes any, or does not tell."""
    module, _, name = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
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
