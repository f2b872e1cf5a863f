"""Whether the parts of a config agree with one another, found out before any data are read."""

from __future__ import annotations

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
