"""Whether the parts of a config agree with one another, found out before any data are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from strokelab.configuration.composition import Settings
from strokelab.configuration.late_facts import MISSING
from strokelab.errors import ConfigError

_SLICES = "strokelab.sampling.slices."


def check_fit(settings: Settings) -> None:
    """Model, view and data must agree; found out before any data are read.

    What a planner will decide is left to it; what stands already is held against the rest.

    Raises:
        ConfigError: samples and network have other dimensions, a side does not divide through the network's poolings
            or cannot be halved, or a part is switched on that the others cannot serve.
    """
    model, view = settings["model"], settings["view"]
    _check_dimensions(model, view, plans=bool(settings.get("planner")))
    _check_classes(model, view)
    if model.get("standardizer") and not _is_slices(view):
        raise ConfigError(
            "standardizer",
            found="a standardizer of whole slices (MAIN) with a view of patches",
            expected="samples that are whole slices, whose statistics it takes",
            remedy="switch it off with standardizer=none, or choose a model of slices, e.g. model=unet2d",
        )
    if model.get("hemispheres"):
        _check_midline(model, view)
    _check_sides(model, view)
    data = settings.get("data") or {}
    sites = len(data["only_sites"]) if data.get("only_sites") else data.get("n_sites")
    if model.get("adversary") and (not data.get("has_sites", True) or sites == 1):
        raise ConfigError(
            "adversary",
            found=f"a site adversary on a dataset {'of one site' if sites == 1 else 'without sites'}",
            expected="at least two training sites",
            remedy="switch it off with adversary=none",
        )


def check_loss(model: Mapping[str, Any]) -> None:
    """There is a loss, and one of a single map has a network of one. Imports the loss.

    Raises:
        ConfigError: there is none, or the network has several maps.
    """
    loss, network = model.get("loss") or {}, model.get("network") or {}
    if not loss:
        raise ConfigError(
            "model.loss", found="none", expected="a loss to train with", remedy="choose one, e.g. loss=dice_ce"
        )
    loss, maps = loss.get("each") or loss, network.get("out_channels")
    module, _, name = str(loss.get("_target_", "")).rpartition(".")
    if isinstance(maps, int) and maps > 1 and getattr(getattr(import_module(module), name), "single_map", False):
        from strokelab.losses.dice import unlike_maps  # here: sweep tables load no torch

        raise unlike_maps(name, maps)


def _check_dimensions(model: Mapping[str, Any], view: Mapping[str, Any], *, plans: bool) -> None:
    network = model.get("network") or {}
    if plans and _is_slices(view):
        raise ConfigError(
            "view",
            found="a view of slices, and a planner, which plans patches",
            expected="a view of patches",
            remedy="leave view=nnunet in place, or plan by hand: planner=null, and give what is ??? yourself",
        )
    strides = network.get("strides")
    dimensions = len(strides[0]) if isinstance(strides, list) else network.get("dimensions")
    expected = 2 if _is_slices(view) else 3 if _is_patches(view) else dimensions
    if dimensions is not None and dimensions != expected:
        seen, other = ("slices", "patches") if expected == 2 else ("patches", "slices")
        raise ConfigError(
            f"model.network.{'strides' if isinstance(strides, list) else 'dimensions'}",
            found=f"a network of {dimensions} dimensions with a view of {seen}",
            expected=f"{expected}",
            remedy=f"choose a view of {other}, or a network of {expected} dimensions",
        )


def _check_classes(model: Mapping[str, Any], view: Mapping[str, Any]) -> None:
    """A network has one map for each class that the view names, and knows which one is the lesion."""
    classes, maps = view.get("classes"), (model.get("network") or {}).get("out_channels")
    if not classes or not isinstance(maps, int):
        return
    if "lesion" not in classes:
        raise ConfigError(
            "view.classes",
            found=f"{list(classes)}",
            expected="a map for each class, lesion among them",
            remedy="add lesion to view.classes",
        )
    wanted = (len(classes), classes.index("lesion"))
    if (maps, model.get("lesion_channel")) != wanted:
        raise ConfigError(
            "view.classes",
            found=f"{list(classes)} with a network of {maps} maps whose lesion is number {model.get('lesion_channel')}",
            expected="a map for each class, lesion among them",
            remedy=f"set model.network.out_channels={wanted[0]} model.lesion_channel={wanted[1]}",
        )


def _check_sides(model: Mapping[str, Any], view: Mapping[str, Any]) -> None:
    """Every known side of a sample divides through the known poolings, and left-right also through two hemispheres."""
    network = model.get("network") or {}
    factors = _factors(network)
    setting, lengths = _sides(view)
    for axis, length in lengths.items():
        halves = 2 if model.get("hemispheres") and axis == "x" else 1
        needed = factors.get(axis, 1) * halves
        if isinstance(length, int) and length % needed:
            depth = network.get("depth")
            poolings = f"depth {depth}" if depth else f"poolings by {factors.get(axis, 1)}"
            raise ConfigError(
                f"{setting} along {axis}",
                found=f"{length} voxels",
                expected=f"a multiple of {needed} ({poolings}{', two hemispheres' if halves == 2 else ''})",
                remedy=f"use {-(-length // needed) * needed}, or "
                + ("a smaller model.network.depth" if depth else "fewer stages in model.network.strides"),
            )


def _check_midline(model: Mapping[str, Any], view: Mapping[str, Any]) -> None:
    """Samples that are cut in two must have the midline in their middle; patches must span the prepared width, too."""
    wrong, remedy = ([], []) if _is_slices(view) else _unlike_halves(model, view)
    augment = view.get("augment") or {}
    turns = any(augment.get(f"{name}_p") for name in ("rotation", "elastic"))
    if turns and not augment.get("keep_midline"):
        wrong.append("augmentation that turns the midline")
        remedy.append("view.augment.keep_midline=true")
    if wrong:
        raise ConfigError(
            "hemispheres",
            found=", ".join(wrong),
            expected="samples that span the prepared width, so that the cut between the hemispheres is their middle",
            remedy=f"add {' '.join(remedy)}, or switch it off with hemispheres=none",
        )


def _unlike_halves(model: Mapping[str, Any], view: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What keeps patches from being two halves, and the settings that mend it."""
    preparation = view.get("preparation") or {}
    width = (preparation.get("crop") or [None])[0]
    patch = (view.get("sampler") or {}).get("patch")
    patch = patch if isinstance(patch, list) else [None] * 3
    side = patch[0]
    fitting = _halvable(int(width or side or 192), model, preparation)
    wrong: list[str] = []
    remedy: list[str] = []
    if preparation.get("box") is not None:
        wrong.append("volumes cut to a box that need not be symmetric")
        remedy.append("view.preparation.box=null")
    if preparation.get("orientation", "RAS") != "RAS":
        wrong.append("axes as in the file")
        remedy.append("view.preparation.orientation=RAS")
    if width is None:
        wrong.append("volumes of any width")
    elif width != fitting:
        wrong.append(f"a width of {width} voxels, whose halves do not divide through the poolings")
    if width != fitting:
        remedy.append(f"view.preparation.crop=[{fitting},null,null]")
    if side is not None and side != fitting:
        wrong.append(f"patches of {side} voxels from left to right")
        sides = f"[{fitting},{patch[1]},{patch[2]}]"
        remedy += [f"view.sampler.patch={sides}", f"view.windows.patch={sides}"]
    return wrong, remedy


def _halvable(width: int, model: Mapping[str, Any], preparation: Mapping[str, Any]) -> int:
    """The next width whose halves can be pooled as often as their length allows."""
    network = model.get("network") or {}
    factor = _factors(network).get("x")
    if factor is None:
        from strokelab.planning.topology import topology_of  # here: who only asks how a sweep stands loads no NumPy

        stages = len(network["widths"]) if isinstance(network.get("widths"), list) else None
        spacing = preparation.get("spacing")
        mm: Sequence[float] = spacing if isinstance(spacing, list) else (1.0, 1.0, 1.0)
        factor = topology_of((-(-width // 2),) * 3, mm, most_stages=stages).divisors[0]
    return -(-width // (2 * factor)) * 2 * factor


def _factors(network: Mapping[str, Any]) -> dict[str, int]:
    """What each axis is divided by inside the network, where that is known."""
    if network.get("depth") is not None:
        return dict.fromkeys("xyz", 2 ** (int(network["depth"]) - 1))
    strides = network.get("strides")
    if not isinstance(strides, list):
        return {}
    axes = "yx" if len(strides[0]) == 2 else "xyz"  # slices are rows, columns
    return {axis: math.prod(stage[index] for stage in strides) for index, axis in enumerate(axes)}


def _sides(view: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The setting that says how long a sample's sides are, and the sides; None or ``???``: not known yet."""
    if _is_patches(view):
        patch = view["sampler"]["patch"]
        return "view.sampler.patch", {} if patch in (None, MISSING) else dict(zip("xyz", patch, strict=False))
    crop = (view.get("preparation") or {}).get("crop")
    axes = "xy" if _is_slices(view) else "xyz"
    return "view.preparation.crop", dict(zip(axes, crop or (), strict=False))


def _is_slices(view: Mapping[str, Any]) -> bool:
    return str((view.get("sampler") or {}).get("_target_", "")).startswith(_SLICES)


def _is_patches(view: Mapping[str, Any]) -> bool:
    return "patch" in (view.get("sampler") or {})
