"""What lies around an image: the value of its own border. Knows arrays; knows no grid and no brain mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strokelab.preparation.brain import border


def background_of(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The median of the six faces of each channel: raw 0 in normalised units where an image is skull-stripped.

    Args:
        image: (C, X, Y, Z), model units.

    Returns:
        (C,), model units.
    """
    return np.array([np.median(border(channel)) for channel in image], np.float32)
