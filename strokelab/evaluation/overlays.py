"""The masks of the cases a report shows: kept while they are predicted, so that none is predicted twice."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Prediction


class KeptMasks:
    """The masks of many cases at a few kilobytes each."""

    def __init__(self) -> None:
        self._masks: dict[str, tuple[tuple[int, ...], bytes]] = {}

    def keep(self, prediction: Prediction) -> None:
        """Remember a case's mask (X, Y, Z)."""
        packed = np.packbits(prediction.mask.astype(bool), axis=None)
        self._masks[prediction.case_id] = (prediction.mask.shape, zlib.compress(packed.tobytes(), level=1))

    def __contains__(self, case_id: str) -> bool:
        return case_id in self._masks

    def mask(self, case_id: str) -> NDArray[np.uint8]:
        """The mask (X, Y, Z) of a case, 0 or 1."""
        shape, content = self._masks[case_id]
        bits = np.frombuffer(zlib.decompress(content), dtype=np.uint8)
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape)
