"""MAIN: masked adaptive instance normalisation. Knows slices and brain masks; knows no sites.

Yu 2022, section II-B, equation 2, Fig. 2(a): a tiny network reads the masked, z-scored slice and returns one scale
and one shift for it. Both are averages of ReLU outputs, hence not negative: the order of tissue intensities is kept.

**The wipe-out trap.** The running variances of MAIN's batch norms start at 1 while the true ones are near 1e-3. With
the usual momentum 0.1 it takes a few hundred steps until evaluation mode sees what training mode saw; before that,
evaluation-mode gamma is almost 0 and the image is wiped out. Runs shorter than ``SETTLING_STEPS`` must therefore use
``bn_momentum=None`` (statistics are the mean over all batches); ``check_length`` warns of it, and
the training log carries the mean and the minimum of gamma and beta.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import conv_block

SETTLING_STEPS = 200


@buildable("model")
class MaskedAdaIN(nn.Module):
    """One MAIN per channel: (image (B, C, H, W), brain (B, 1, H, W)) -> image (B, C, H, W), exactly 0 off the brain.

    Args:
        in_channels: channels of the image, one per modality.
        plane: (H, W) of the whole slice, before hemispheres are split; fixes the size of the fully connected layer.
        head_blocks: blocks per head; with 0 scale and shift would be equal, since the layer before them is shared.
        last_relu: whether the last block of a head ends with its ReLU; without it scale and shift may be negative.
        bn_momentum: of MAIN's batch norms; None for short runs (see the module's text).
        patch: side of the square map that the fully connected layer is folded into (16: 256 outputs).

    Attributes:
        gamma: scales of the latest forward pass, (B, C) float32, detached; empty before the first.
        beta: shifts, alike.

    Raises:
        ConfigError: ``plane`` is not two sizes of at least 4, or ``head_blocks`` is below 1.

    Source: Yu 2022, section II-E (688,494 parameters for one channel of 224 x 192); four blocks per head are the
    count that fits the published memory figures.
    """

    whole_slices: ClassVar[bool] = True
    """It reads statistics of whole slices, and so needs samples that are."""
    gamma: Tensor
    beta: Tensor

    def __init__(
        self,
        in_channels: int,
        plane: Sequence[int],
        *,
        head_blocks: int = 4,
        last_relu: bool = True,
        bn_momentum: float | None = 0.1,
        patch: int = 16,
    ) -> None:
        super().__init__()
        if len(plane) != 2 or min(plane) < 4:
            raise ConfigError(
                "MAIN",
                found=f"plane {tuple(plane)}",
                expected="(rows, columns) of a whole slice, 4 or more each",
                remedy="MAIN reads slices: choose a view of slices, or switch it off with standardizer=none",
            )
        if head_blocks < 1:
            raise ConfigError(
                "MAIN", found=f"head_blocks={head_blocks}", expected="1 or more", remedy="the paper's count is 4"
            )
        self.plane = (int(plane[0]), int(plane[1]))
        self.bn_momentum = bn_momentum
        self.gauges = nn.ModuleList(
            _Gauge(self.plane, head_blocks=head_blocks, last_relu=last_relu, bn_momentum=bn_momentum, patch=patch)
            for _ in range(in_channels)
        )
        self.gamma = torch.empty(0, in_channels)
        self.beta = torch.empty(0, in_channels)

    def forward(self, image: Tensor, brain: Tensor) -> Tensor:
        """``(gamma * image + beta) * brain`` with gamma and beta read from the masked slice.

        Args:
            image: (B, C, H, W), z-scored inside the brain; anything (NaN too) outside.
            brain: (B, 1, H, W), non-zero inside.

        Raises:
            ConfigError: the slices are not of the size MAIN was built for.
        """
        if tuple(image.shape[2:]) != self.plane:
            raise ConfigError(
                "MAIN",
                found=f"slices of {tuple(image.shape[2:])}",
                expected=f"whole slices of {self.plane}",
                remedy="bind model.standardizer.plane to the view's slice size; MAIN stands before the split",
            )
        inside = brain != 0
        with _full_precision(image.device.type):  # tiny and delicate: never in half precision
            image = _at_least_float32(image)
            masked = torch.where(inside, image, 0.0)  # not a product: 0 * NaN is NaN, in the gradient too
            readings = [gauge(masked[:, channel : channel + 1]) for channel, gauge in enumerate(self.gauges)]
            gamma = torch.stack([scale for scale, _ in readings], dim=1)
            beta = torch.stack([shift for _, shift in readings], dim=1)
            self.gamma, self.beta = gamma.detach(), beta.detach()
            return torch.where(inside, gamma[..., None, None] * masked + beta[..., None, None], 0.0)

    def check_length(self, steps: float) -> None:
        """Warn when a training of ``steps`` steps is too short for the running statistics to settle."""
        if self.bn_momentum is not None and steps < SETTLING_STEPS:
            warnings.warn(
                f"MAIN: {steps:g} training steps are too few for bn_momentum={self.bn_momentum}; predictions may be "
                "wiped out. Set model.standardizer.bn_momentum=null for runs this short.",
                stacklevel=2,
            )


class _Gauge(nn.Module):
    """Scale and shift of one channel: masked slice (B, 1, H, W) -> gamma (B,), beta (B,)."""

    def __init__(
        self, plane: tuple[int, int], *, head_blocks: int, last_relu: bool, bn_momentum: float | None, patch: int
    ) -> None:
        super().__init__()

        def head() -> nn.Sequential:
            last = head_blocks - 1
            return nn.Sequential(
                *(conv_block(1, 1, bn_momentum=bn_momentum, relu=last_relu or i < last) for i in range(head_blocks))
            )

        self.trunk = nn.Sequential(
            conv_block(1, 1, bn_momentum=bn_momentum),
            nn.MaxPool2d(2),
            conv_block(1, 1, bn_momentum=bn_momentum),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear((plane[0] // 4) * (plane[1] // 4), patch * patch),
            nn.Unflatten(1, (1, patch, patch)),
        )
        self.scale = head()
        self.shift = head()

    def forward(self, masked: Tensor) -> tuple[Tensor, Tensor]:
        summary = self.trunk(masked)
        return self.scale(summary).mean(dim=(1, 2, 3)), self.shift(summary).mean(dim=(1, 2, 3))


def _full_precision(device: str) -> AbstractContextManager[object]:
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()  # devices without autocast: "meta"


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
