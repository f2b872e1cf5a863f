"""Grey values to model units; knows arrays and brain masks, no files and no grids.

Volumes are (X, Y, Z) in any memory order; those whose slices ``[:, :, z]`` lie together in memory (NIfTI's order, and
the store's) are fastest. Statistics are accumulated in float64, standard deviations are the population's (ddof 0).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Normalization = Literal["zscore_slice_brain", "zscore_brain", "zscore_volume", "none"]
NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)
FLAT = 1e-6  # a standard deviation below this is no contrast (Yu 2022, section "Data protocol", our decision)


def normalize(
    image: NDArray[np.float32], brain: NDArray[np.bool_], how: Normalization = "zscore_slice_brain"
) -> NDArray[np.float32]:
    """One channel (X, Y, Z) in model units.

    Args:
        image: grey values.
        brain: the pixels whose statistics count, (X, Y, Z).
        how: ``"zscore_slice_brain"``: each axial slice by mean and SD of its own brain pixels (SG-Net);
            ``"zscore_brain"``: the volume by those of its brain; ``"zscore_volume"``: by those of all its voxels;
            ``"none"``: as it is.
    """
    if how == "zscore_slice_brain":
        return zscore_slices(image, brain)
    if how == "zscore_brain":
        return zscore(image, image.T[brain.T])
    if how == "zscore_volume":
        return zscore(image, image)
    return image


def zscore_slices(image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Each axial slice ``[:, :, z]``: minus the mean, over the SD of its brain pixels, applied to every pixel.

    Slices without brain, and slices whose brain is flat (SD below ``FLAT``), become 0 (Yu 2022, SG-Net).
    """
    out = np.zeros_like(image)
    for pixels, inside, result in zip(image.T, brain.T, out.T, strict=True):
        values = pixels[inside]
        if values.size:
            _standardize(pixels, values, result)
    return out


def zscore(image: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The volume minus the mean, over the SD of ``values``; 0 everywhere when these are flat."""
    out = np.zeros_like(image)
    if values.size:
        _standardize(image, values, out)
    return out


def _standardize(pixels: NDArray[np.float32], values: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    mean = float(values.mean(dtype=np.float64))
    # Deviations from a mean known to float64 are small, so squaring them in float32 loses nothing that counts, and
    # spares a float64 copy; their sum is again float64.
    deviations = values - np.float32(mean)
    sd = float(np.sqrt(np.mean(np.square(deviations, out=deviations), dtype=np.float64)))
    if sd < FLAT:
        return
    np.subtract(pixels, np.float32(mean), out=out)
    np.multiply(out, np.float32(1.0 / sd), out=out)
