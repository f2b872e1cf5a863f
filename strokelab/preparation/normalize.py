"""Grey values to model units; knows arrays and brain masks, no files and no grids.

Volumes are (X, Y, Z) in any memory order; those whose slices ``[:, :, z]`` lie together in memory (NIfTI's order, and
the store's) are fastest. Statistics are accumulated in float64, standard deviations are the population's (ddof 0).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Normalization = Literal[
    "zscore_slice_brain",
    "zscore_pixel",
    "zscore_pixel_slice",
    "zscore_brain",
    "zscore_volume",
    "zscore_nonzero",
    "zscore_equalised",
    "scale255",
    "max255",
    "none",
]
NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)
FLAT = 1e-6
"""A standard deviation below this share of the image's own grey values is no contrast but rounding (our decision)."""
BRIGHTEST = 255.0
"""What ``scale255`` and ``max255`` make 1: the brightest grey value of images of 8 bits (ATLAS)."""
_ROBUST_PERCENT = 99.9  # of the voxels, below the value that ``max255`` makes 1 in images of another range
_BINS = 256  # of the histogram that ``equalised`` flattens
_SQUARABLE = (1e-15, 1e15)  # between these, squares keep their digits in float32

Volume = NDArray[np.float32]


def normalize(
    image: Volume, brain: NDArray[np.bool_], how: Normalization = "zscore_slice_brain", out: Volume | None = None
) -> Volume:
    """One channel (X, Y, Z) in model units.

    Args:
        image: grey values.
        brain: the pixels whose statistics count, (X, Y, Z); for ``"zscore_nonzero"`` the region that is not zero.
        how: ``"zscore_slice_brain"``: each axial slice by mean and SD of its own brain pixels (SG-Net);
            ``"zscore_pixel"``: each pixel of the slices by mean and SD of its own values in all of them, and
            ``"zscore_pixel_slice"``: the same, then as ``"zscore_slice_brain"`` (multi-path 2.5D, Xue 2020);
            ``"zscore_brain"``: the volume by those of its brain; ``"zscore_volume"``: by those of all its voxels;
            ``"zscore_nonzero"``: the region by its own, 0 outside (nnU-Net, where a crop saves much);
            ``"zscore_equalised"``: as ``"zscore_volume"``, of the ``equalised`` volume (SynthStroke);
            ``"scale255"``: divided by 255 (Tomita 2020); ``"max255"``: the same, but images of another range
            (``of_another_range``) by their 99.9th percentile;
            ``"none"``: as it is.
        out: where the result goes (may be ``image`` itself); None makes an array.
    """
    out = np.empty_like(image) if out is None else out
    if how == "zscore_slice_brain":
        zscore_slices(image, brain, out)
    elif how in ("zscore_pixel", "zscore_pixel_slice"):
        zscore_pixels(image, out)
        if how == "zscore_pixel_slice":
            zscore_slices(out, brain, out)
    elif how == "none":
        out[...] = image
    elif how in ("scale255", "max255"):
        np.divide(image, np.float32(BRIGHTEST if how == "scale255" else brightest(image)), out=out)
    else:
        image = equalised(image) if how == "zscore_equalised" else image
        values = image.T.ravel() if how in ("zscore_volume", "zscore_equalised") else image.T[brain.T]
        mean, sd = _mean_and_sd(values)
        _standardize(image, mean, sd, out, FLAT * math.hypot(mean, sd))
        if how == "zscore_nonzero":
            out[~brain] = 0
    return out


def equalised(image: Volume) -> Volume:
    """Grey values by their ranks, 0 to 255: histogram equalisation of all voxels, as MONAI's ``HistogramNormalize``.

    Of 256 bins between the least and the largest value, the cumulative counts are stretched to 0..255; a value takes
    what is interpolated linearly between the bins' centres. Monotone; a constant image becomes 0.

    Args:
        image: (X, Y, Z).
    """
    low, high = float(image.min()), float(image.max())
    if low == high:
        return np.zeros_like(image)
    counts, edges = np.histogram(image, bins=_BINS)
    cumulative = counts.cumsum()
    heights = (cumulative - cumulative[0]) / (cumulative[-1] - cumulative[0]) * BRIGHTEST
    # Transposed, so that the result has the memory order of the store.
    grey: Volume = np.interp(image.T, (edges[:-1] + edges[1:]) / 2, heights).astype(np.float32)
    return grey.T


def of_another_range(image: Volume) -> bool:
    """Whether grey values cannot be meant as 0..255: none above 1, or one above 4 x 255."""
    return not 1 < float(image.max()) <= 4 * BRIGHTEST


def brightest(image: Volume) -> float:
    """The grey value that ``max255`` makes 1: 255, or the 99.9th percentile of an image of another range."""
    if not of_another_range(image):
        return BRIGHTEST
    robust = float(np.percentile(image, _ROBUST_PERCENT))
    return robust if robust > 0 else float(np.abs(image).max()) or 1.0


def zscore_slices(image: Volume, brain: NDArray[np.bool_], out: Volume) -> None:
    """Each axial slice ``[:, :, z]``: minus the mean, over the SD of its brain pixels, applied to every pixel.

    Slices without brain, and slices whose brain is flat (SD below ``FLAT`` times the grey values of the brightest
    slice), become 0 (Yu 2022, SG-Net).
    """
    found = [_mean_and_sd(pixels[inside]) for pixels, inside in zip(image.T, brain.T, strict=True)]
    flat = FLAT * max((math.hypot(mean, sd) for mean, sd in found), default=0.0)
    for pixels, (mean, sd), result in zip(image.T, found, out.T, strict=True):
        _standardize(pixels, mean, sd, result, flat)


def zscore_pixels(image: Volume, out: Volume) -> None:
    """Each pixel ``[x, y, :]``: minus the mean, over the SD of its values in all slices, background included.

    Pixels that are flat (SD below ``FLAT`` times the grey values of the brightest pixel) become 0.
    """
    means = image.mean(axis=2, dtype=np.float64)
    squares = np.zeros_like(means)
    for pixels in image.T:  # slice by slice: no copy of the volume
        squares += np.square(pixels.T - means)
    sds = np.sqrt(squares / image.shape[2])
    flat = sds <= FLAT * float(np.hypot(means, sds).max(initial=0.0))
    scale = np.divide(1.0, sds, out=np.zeros_like(sds), where=~flat)
    for pixels, result in zip(image.T, out.T, strict=True):
        result[...] = ((pixels.T - means) * scale).T


def _mean_and_sd(values: NDArray[np.float32]) -> tuple[float, float]:
    if values.size == 0:
        return 0.0, 0.0
    mean = float(values.mean(dtype=np.float64))
    # Deviations from a mean known to float64 are small: float32 loses nothing that counts, and spares a copy twice
    # as large. Pairwise summation keeps the sum's error near 1e-7.
    deviations = values - np.float32(mean)
    with np.errstate(over="ignore"):
        sd = float(np.sqrt(np.square(deviations, out=deviations).mean()))
    if not _SQUARABLE[0] < sd < _SQUARABLE[1]:
        sd = float(np.sqrt(np.square(values - np.float64(mean)).mean()))
    return mean, sd


def _standardize(pixels: Volume, mean: float, sd: float, out: Volume, flat: float) -> None:
    if sd <= flat:
        out[...] = 0
        return
    # Slab by slab, so that both passes find the values in the processor's cache.
    for slab, result in zip(pixels.T, out.T, strict=True) if pixels.ndim == 3 else [(pixels, out)]:
        np.subtract(slab, np.float32(mean), out=result)
        np.multiply(result, np.float32(1.0 / sd), out=result)
