"""The masks of the cases a report shows: kept while they are predicted, so that none is predicted twice."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Prediction


class KeptMasks:
    """The masks of many cases at a few kilobytes each.

    Args:
        probabilities: keep them, too, in steps of 1/255: some hundred kilobytes each.
        labels: keep the most probable class of each voxel, too, of predictions that have all named classes.

    Attributes:
        class_names: of the labels.
    """

    def __init__(self, *, probabilities: bool = False, labels: bool = False) -> None:
        self._labels: dict[str, bytes] | None = {} if labels else None
        self.class_names: tuple[str, ...] = ()
        self._masks: dict[str, tuple[tuple[int, ...], bytes]] = {}
        self._probabilities: dict[str, bytes] | None = {} if probabilities else None

    def keep(self, prediction: Prediction) -> None:
        """Remember a case's mask (X, Y, Z)."""
        if self._probabilities is not None and prediction.probability is not None:
            steps = np.rint(255 * prediction.probability.astype(np.float32)).astype(np.uint8)
            self._probabilities[prediction.case_id] = zlib.compress(steps.tobytes(), level=1)
        if self._labels is not None and prediction.classes is not None and prediction.class_names:
            labels = prediction.classes.argmax(axis=0).astype(np.uint8)
            self._labels[prediction.case_id] = zlib.compress(labels.tobytes(), level=1)
            self.class_names = prediction.class_names
        packed = np.packbits(prediction.mask.astype(bool), axis=None)
        self._masks[prediction.case_id] = (prediction.mask.shape, zlib.compress(packed.tobytes(), level=1))

    def __contains__(self, case_id: str) -> bool:
        return case_id in self._masks

    def mask(self, case_id: str) -> NDArray[np.uint8]:
        """The mask (X, Y, Z) of a case, 0 or 1."""
        shape, content = self._masks[case_id]
        bits = np.frombuffer(zlib.decompress(content), dtype=np.uint8)
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape)

    def labels(self, case_id: str) -> NDArray[np.uint8] | None:
        """The most probable class (X, Y, Z) of a case's voxels; None where it was not kept."""
        content = (self._labels or {}).get(case_id)
        if content is None:
            return None
        return np.frombuffer(zlib.decompress(content), dtype=np.uint8).reshape(self._masks[case_id][0])

    def probability(self, case_id: str) -> NDArray[np.float32] | None:
        """The probability (X, Y, Z) of a case, in steps of 1/255; None where it was not kept."""
        content = (self._probabilities or {}).get(case_id)
        if content is None:
            return None
        steps = np.frombuffer(zlib.decompress(content), dtype=np.uint8).reshape(self._masks[case_id][0])
        return (steps / 255).astype(np.float32)
