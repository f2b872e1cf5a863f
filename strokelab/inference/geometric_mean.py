"""Windows and mirror images averaged as nnU-Net v2 averages them: logits, not probabilities.

Knows predictions and a window plan; knows no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.inference.scores import Kind
from strokelab.inference.windows import PatchWindows, Predict, log_probabilities

if TYPE_CHECKING:
    from torch import Tensor


@buildable("view")
@dataclass(frozen=True)
class GeometricMean:
    """A window plan whose weighted mean is the geometric one, made to sum to 1 over the classes again.

    It equals the softmax of the mean logits, since log probabilities are logits up to a number that all classes of a
    voxel share. A probability below 1e-38 counts as that.

    Args:
        windows: the plan; every voxel must be predicted.
        scores: ``"logits"`` leaves the mean as logits, which are averaged over members and brought to the native grid,
            where members or the family ask for it, before they become probabilities.

    Raises:
        ConfigError: the plan leaves voxels out, or ``scores`` is another word.
    """

    windows: PatchWindows
    scores: Kind = "probabilities"
    every_class = True  # of a voxel must be known, or the mean could not be made to sum to 1

    def __post_init__(self) -> None:
        if self.scores not in get_args(Kind):
            raise ConfigError(
                "view.windows.scores",
                found=repr(self.scores),
                expected=f"one of {', '.join(get_args(Kind))}",
                remedy="leave it at probabilities",
            )
        if not isinstance(getattr(self.windows, "skip_outside_brain", None), bool):
            raise ConfigError(
                "view.windows.windows",
                found=f"{type(self.windows).__name__}, with a mean of logits",
                expected="PatchWindows: a prediction at every voxel, since 0 has no logarithm",
                remedy="average probabilities: this plan without GeometricMean",
            )
        if getattr(self.windows, "scores", "probabilities") != "probabilities":
            raise ConfigError(
                "view.windows.windows.scores",
                found="logits, inside a mean that makes them of probabilities",
                expected="a plan of probabilities",
                remedy="leave it out; this mean has its own view.windows.scores",
            )
        if self.windows.skip_outside_brain:
            raise ConfigError(
                "view.windows.windows.skip_outside_brain",
                found="true, with a mean of logits",
                expected="a prediction at every voxel: 0 has no logarithm",
                remedy="set it to false, or average probabilities: PatchWindows without GeometricMean",
            )

    @property
    def batch_size(self) -> int:
        """Windows at once: the plan's."""
        return self.windows.batch_size

    def sample_shape(self, crop: object) -> tuple[int, int, int]:
        """Spatial shape S of what ``predict`` is given: the plan's."""
        return self.windows.sample_shape(crop)

    def __call__(
        self, image: NDArray[np.float32] | Tensor, predict: Predict, brain: NDArray[np.bool_] | Tensor
    ) -> Tensor:
        """Scores (K, X, Y, Z) of a volume; arguments as the plan's."""
        total = self.windows(image, log_probabilities(predict), brain)
        if self.scores == "logits":
            return total
        return total.softmax(dim=0) if len(total) > 1 else total.sigmoid()
