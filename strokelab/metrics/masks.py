"""What counts as lesion in the masks that people score: arrays, tensors and files. Knows no metric and no second mask.

A mask holds 0 and one other value, whatever that is (1, 255, True). Anything else needs a word from the caller: a
probability map its ``threshold``, a label map the ``labels`` that mean lesion. Nothing is guessed. (Datasets on disk
have their own, older rule: ``nifti.binarize``.)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Prediction
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.grid import Grid
from strokelab.metrics.overlap import Mask
from strokelab.nifti import as_file, as_image, is_image, read_voxels

ROUNDING = 1e-3
"""How far interpolation and header scaling may take a probability out of 0..1, or a label off its whole number."""


def read_mask(
    source: Any, name: str, *, threshold: float | None = None, labels: Sequence[int] | None = None
) -> tuple[Mask, Grid | None]:
    """A boolean mask (X, Y, Z) from an array, a tensor, an image or a NIfTI file, by the rule of ``binary_mask``.

    Args:
        source: array or tensor of any dtype, leading axes of length 1 allowed; or a NIfTI file's path, an image of
            nibabel or an array with its affine, whose NaN and Inf become 0 with a warning (``nifti.read_voxels``); or a
            ``Prediction``.
        name: what an error message calls an array; a file is called by its path.
        threshold: as for ``binary_mask``.
        labels: as for ``binary_mask``.

    Returns:
        The mask, which may share memory with ``source``: read only; and the grid of a file.

    Raises:
        DataError: not a volume, not readable, or no mask by the rule.
        ConfigError: as ``binary_mask``.
    """
    if isinstance(source, Prediction):
        return source.mask != 0, source.grid
    source = as_image(source)
    if isinstance(source, str | os.PathLike):
        voxels, grid = read_voxels(Path(source))
        return binary_mask(voxels, str(source), threshold=threshold, labels=labels), grid
    if is_image(source):
        with as_file(source, name) as path:
            voxels, grid = read_voxels(path)
        return binary_mask(voxels, name, threshold=threshold, labels=labels), grid
    return binary_mask(_volume(source, name), name, threshold=threshold, labels=labels), None


def binary_mask(
    voxels: NDArray[Any], name: str, *, threshold: float | None = None, labels: Sequence[int] | None = None
) -> Mask:
    """Lesion voxels of a volume (X, Y, Z).

    Args:
        voxels: boolean, integer or real; a single value beside 0 is the lesion, whatever it is.
        name: what an error message calls the volume.
        threshold: probabilities (0 to 1) of at least this are lesion; masks of one value above 1 stay masks.
        labels: label values that mean lesion; all others are background, with a warning when none of these but some
            other occurs. Boolean volumes are masks already.

    Raises:
        DataError: complex, infinite, undefined or negative values; several values and neither ``threshold`` nor
            ``labels``; probabilities where labels are asked for, or labels where probabilities are.
        ConfigError: both are given, the threshold is not in (0, 1], or a label is no positive whole number.
    """
    check_rule(threshold, labels)
    if voxels.dtype == bool:
        return voxels
    if voxels.dtype.kind not in "iuf":
        raise _no_mask(name, f"values of type {voxels.dtype}", "convert it to boolean, whole or real numbers")
    low, high = voxels.min(initial=0), voxels.max(initial=0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise _no_mask(name, "NaN or Inf", "replace them by 0 or 1 first")
    if low < 0:
        raise _no_mask(name, f"negative values down to {low:g}", "binarise it first; scores (logits) need a sigmoid")
    if labels is not None:
        return _of_labels(voxels, name, labels)
    if threshold is not None and high <= 1 + ROUNDING:
        return np.asarray(voxels >= threshold)
    mask: Mask = voxels == high if high > 0 else np.zeros(voxels.shape, dtype=bool)
    if np.count_nonzero(mask) != np.count_nonzero(voxels):
        raise _several_values(voxels, name, thresholded=threshold is not None)
    return mask


def check_rule(threshold: float | None, labels: Sequence[int] | None) -> None:
    """The two keywords of ``binary_mask`` make sense.

    Raises:
        ConfigError: as ``binary_mask``.
    """
    if threshold is not None and labels is not None:
        found, expected = "threshold and labels", "one of the two: a map holds probabilities or labels"
    elif threshold is not None and not 0 < threshold <= 1:
        found, expected = f"threshold {threshold}", "a probability above 0, up to 1"
    elif labels is not None and (not len(labels) or any(label != int(label) or label < 1 for label in labels)):
        found, expected = f"labels {list(labels)}", "positive whole numbers, at least one; 0 is background"
    else:
        return
    raise ConfigError("masks", found=found, expected=expected, remedy="e.g. threshold=0.5, or labels=(1, 2)")


def _volume(source: Any, name: str) -> NDArray[Any]:
    if hasattr(source, "detach"):  # a tensor, without importing torch for it
        source = source.detach().cpu()
        source = (source.float() if str(source.dtype) == "torch.bfloat16" else source).numpy()
    try:
        array = np.asarray(source)
    except (TypeError, ValueError):  # ragged lists
        array = np.empty(())
    if array.ndim == 0:
        raise _no_mask(name, f"a {type(source).__name__}", "give an array, a tensor or the path of a NIfTI file")
    while array.ndim > 3 and array.shape[0] == 1:  # (1, X, Y, Z), (1, 1, X, Y, Z)
        array = array[0]
    if array.ndim != 3:
        raise _no_mask(
            name,
            f"{array.ndim} dimensions, shape {array.shape}",
            "score one volume at a time; give a slice as (X, Y, 1)",
        )
    return array


def _of_labels(voxels: NDArray[Any], name: str, labels: Sequence[int]) -> Mask:
    whole = np.rint(voxels) if voxels.dtype.kind == "f" else voxels
    if voxels.dtype.kind == "f" and np.abs(voxels - whole).max(initial=0) > ROUNDING:
        raise _no_mask(name, "values that are no whole numbers", "give labels= for label maps only, or threshold=0.5")
    mask: Mask = np.isin(whole, list(labels))
    if not mask.any() and whole.any():
        warnings.warn(
            f"{name}: holds {_listed(whole)} but none of the labels {list(labels)}, so it has no lesion",
            DataWarning,
            stacklevel=2,
        )
    return mask


def _several_values(voxels: NDArray[Any], name: str, *, thresholded: bool) -> DataError:
    if thresholded:
        found = f"several values up to {voxels.max():g}"
        return _no_mask(name, found, "a threshold needs probabilities from 0 to 1; use labels= for label maps")
    if np.all(np.mod(voxels, 1) == 0):
        return _no_mask(name, _listed(voxels), "say which of them mean lesion, e.g. labels=(1, 2)")
    found = f"values between 0 and {voxels.max():g} that are no whole numbers: probabilities, or a resampled mask"
    return _no_mask(name, found, "say from which probability on a voxel is lesion, e.g. threshold=0.5")


def _listed(voxels: NDArray[Any]) -> str:
    values = np.unique(voxels[voxels != 0])
    shown = ", ".join(f"{value:g}" for value in values[:6])
    return f"label values {shown}{f' .. {values[-1]:g} ({len(values)} in all)' if len(values) > 6 else ''}"


def _no_mask(name: str, found: str, remedy: str) -> DataError:
    return DataError(name, found=found, expected="a binary mask (X, Y, Z): 0 and one other value", remedy=remedy)
