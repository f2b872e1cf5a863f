"""Windows and mirror images averaged as nnU-Net v2 averages them: logits, not probabilities.

Knows predictions and a window plan; knows no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from strokelab.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from strokelab.inference.windows import PatchWindows, Predict


@dataclass(frozen=True)
class GeometricMean:
    """A window plan whose weighted mean is the geometric one, made to sum to 1 over the classes again.

    It equals the softmax of the mean logits, since log probabilities are logits up to a number that all classes of a
    voxel share. A probability below 1e-38 counts as that.

    Args:
        windows: the plan; every voxel must be predicted.

    Raises:
        ConfigError: the plan leaves voxels out.
    """

    windows: PatchWindows
    every_class = True  # of a voxel must be known, or the mean could not be made to sum to 1

    def __post_init__(self) -> None:
        if self.windows.skip_outside_brain:
            raise ConfigError(
                "view.windows.windows.skip_outside_brain",
                found="true, with a mean of logits",
                expected="a prediction at every voxel: 0 has no logarithm",
                remedy="set it to false, or average probabilities: PatchWindows without GeometricMean",
            )

    @property
    def patch(self) -> tuple[int, int, int]:
        """The window in voxels (x, y, z)."""
        return self.windows.patch

    def __call__(
        self, image: NDArray[np.float32] | Tensor, predict: Predict, brain: NDArray[np.bool_] | Tensor
    ) -> Tensor:
        """Scores (K, X, Y, Z) of a volume; arguments as the plan's."""

        def logarithm(samples: Tensor, inside: Tensor) -> Tensor:
            scores = predict(samples, inside).float()
            return scores.clamp_min(torch.finfo(torch.float32).tiny).log()

        return self.windows(image, logarithm, brain).softmax(dim=0)
