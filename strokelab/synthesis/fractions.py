"""Tissue fractions of a brain: what is missing is derived, what cannot be is refused (Chalcroft 2024). Knows no files.

Arrays are float32 (X, Y, Z), values 0 to 1; GM is grey and WM white matter, PV the partial volume of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import BACKGROUND
from strokelab.errors import DataError

TISSUES = ("GM", "WM", "PV", "CSF")
ROUNDING = 0.01
"""How far values may lie outside 0..1: fractions come from registrations and 8-bit files (``preparation.maps``)."""

Maps = Mapping[str, NDArray[np.float32]]


def four_tissues(given: Maps, brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """GM, WM, PV and CSF (4, X, Y, Z) of maps that have at least GM and WM.

    Where PV or CSF is missing, all four are 0 outside the brain and sum inside it to what the further classes leave:
    ``c = clip(b - g - w, 0, 1)``, ``pv = 2 min(g, w)``, ``g -= pv / 2``, ``w -= pv / 2``, then divided by their sum.
    Four that were given are kept as they are.

    Args:
        given: fractions by class, GM and WM among them; classes other than the tissues lie outside the brain.
        brain: the brain mask.
    """
    if set(TISSUES) <= given.keys():
        return np.clip(np.stack([given[name] for name in TISSUES]), 0, 1)
    inside = brain.astype(np.float32)
    grey, white = given["GM"] * inside, given["WM"] * inside
    fluid = given["CSF"] * inside if "CSF" in given else np.clip(inside - grey - white, 0, 1)
    mixed = given["PV"] * inside if "PV" in given else 2 * np.minimum(grey, white)
    if "PV" not in given:
        grey, white = grey - mixed / 2, white - mixed / 2
    tissues = np.clip(np.stack([grey, white, mixed, fluid]), 0, 1)
    further = [values for name, values in given.items() if name not in TISSUES]
    left = np.clip(inside - sum(further, start=np.float32(0)), 0, 1)
    total = tissues.sum(axis=0)
    share: NDArray[np.float32] = np.divide(left, total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(tissues * share, dtype=np.float32)


def one_hot(labels: NDArray[np.float32], legend: Mapping[int, str], where: Path) -> dict[str, NDArray[np.float32]]:
    """The classes of an integer label map (X, Y, Z) as fractions 0 and 1, in the order of the legend; PV is empty.

    Args:
        labels: the map; 0 is background.
        legend: the class of each label; several labels may be of one class. ``background`` is none.
        where: the file, for the error.

    Raises:
        DataError: the map holds labels that the legend does not name, or values that are no whole numbers.
    """
    found = np.unique(labels)
    unknown = [f"{value:g}" for value in found if value != 0 and value not in legend]
    if unknown:
        raise DataError(
            where,
            found=f"the labels {', '.join(unknown[:10])}{' ...' if len(unknown) > 10 else ''}",
            expected=f"0 and those of the legend: {', '.join(f'{key}: {name}' for key, name in legend.items())}",
            remedy="name them in the setting legend; background leaves a label out",
        )
    classes = dict.fromkeys(name for name in legend.values() if name != BACKGROUND)
    maps = {
        name: np.isin(labels, [key for key, of in legend.items() if of == name]).astype(np.float32) for name in classes
    }
    empty = np.zeros(labels.shape, dtype=np.float32)
    return {name: maps.pop(name, empty) for name in TISSUES} | maps


def check_fractions(maps: Mapping[str, tuple[NDArray[np.float32], Path]]) -> None:
    """Fractions by class, each with its file: real numbers from 0 to 1 that sum to 1 at most.

    Raises:
        DataError: a map is not finite, negative or larger than 1, or all of them sum to more than 1, beyond rounding.
    """
    total: NDArray[np.float32] | None = None
    for name, (values, path) in maps.items():
        count = int(values.size - np.count_nonzero(np.isfinite(values)))
        if count:
            raise _wrong(path, f"{name}: {count} voxels that are NaN or Inf", "finite numbers")
        low, high = float(values.min()), float(values.max())
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise _wrong(path, f"{name}: values from {low:.4g} to {high:.4g}", "fractions from 0 to 1")
        total = values.copy() if total is None else total + values
    if total is not None and float(total.max()) > 1 + ROUNDING:
        path = next(iter(maps.values()))[1]
        found = f"{' + '.join(maps)} sum to {float(total.max()):.4g} in {np.count_nonzero(total > 1 + ROUNDING)} voxels"
        raise _wrong(path, found, "fractions that sum to 1 at most")


def _wrong(path: Path, found: str, expected: str) -> DataError:
    return DataError(path, found=found, expected=expected, remedy="write the maps anew, or leave the set out")
