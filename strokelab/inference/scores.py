"""Scores of a case, what is averaged and then finished: one lesion map or the maps of all classes. Knows arrays alone.

A member's windows say by an attribute ``scores`` what they give: ``"probabilities"`` (where they say nothing) or
``"logits"``, which become probabilities after the mean, and after the way back where that comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from strokelab.grid import Step
from strokelab.preparation.restore import restore

Kind = Literal["probabilities", "logits"]
NEVER = float(np.log(np.finfo(np.float32).tiny))
"""The logit of what is impossible, as a score that can still be averaged."""


@dataclass(frozen=True)
class Scores:
    """Scores of a case on one grid.

    Args:
        values: (X, Y, Z) of the lesion, or (K, X, Y, Z) of all classes; float32.
        kind: what they are.
        lesion_channel: which of the K classes is the lesion.
        disagreement: standard deviation of the members' lesion probabilities (X, Y, Z); None: not known.
        native: they lie on the case's own grid, not on the prepared one.
        seen: the voxels (X, Y, Z) that the model's image covers, where it is one of several; None: all.
    """

    values: NDArray[np.float32]
    kind: Kind = "probabilities"
    lesion_channel: int = 0
    disagreement: NDArray[np.float32] | None = None
    native: bool = False
    seen: NDArray[np.bool_] | None = None

    @property
    def lesion(self) -> NDArray[np.float32]:
        """The scores of the lesion (X, Y, Z)."""
        return self.values if self.values.ndim == 3 else self.values[self.lesion_channel]

    @property
    def classes(self) -> NDArray[np.float32] | None:
        """The scores of all classes (K, X, Y, Z), where they are known."""
        return self.values if self.values.ndim == 4 else None

    def finished(self, *, classes: bool = True) -> Scores:
        """The same as probabilities: sigmoid of a single map, softmax over several.

        Args:
            classes: of all classes, as far as they are known; else of the lesion alone.
        """
        values = self.values
        if self.kind == "logits":
            values = expit(values) if values.ndim == 3 or len(values) == 1 else softmax(values, axis=0)
        made = replace(self, values=values, kind="probabilities")
        return made if classes else replace(made, values=made.lesion)

    def restored(self, steps: Sequence[Step]) -> Scores:
        """All maps brought to the case's own grid. Outside the prepared grid there is no lesion.

        Args:
            steps: of the prepared case.
        """
        values = _home(self.values, steps)
        if self.kind == "logits":
            inside = restore(np.ones(self.values.shape[-3:], np.uint8), steps, "nearest")
            outside = np.float32(NEVER) if values.ndim == 3 else _outside(len(values), self.lesion_channel)
            values = np.where(inside, values, outside)
        disagreement = None if self.disagreement is None else _home(self.disagreement, steps)
        return replace(self, values=values, disagreement=disagreement, native=True)


def _home(maps: NDArray[np.float32], steps: Sequence[Step]) -> NDArray[np.float32]:
    return restore(maps, steps).astype(np.float32, copy=False)


def _outside(classes: int, lesion_channel: int) -> NDArray[Any]:
    """Logits (K, 1, 1, 1) of a voxel that no window saw: background, which is the first class but the lesion."""
    logits = np.full((classes, 1, 1, 1), NEVER, np.float32)
    background = 1 if lesion_channel % classes == 0 else 0
    logits[background : background + 1] = 0
    return logits
