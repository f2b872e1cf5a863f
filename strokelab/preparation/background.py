"""What lies around an image: the grey value of its border."""

from __future__ import annotations
import numpy as np
from numpy.typing import NDArray
from strokelab.preparation.brain import border


def background_of(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array([np.median(border(channel)) for channel in image], np.float32)
