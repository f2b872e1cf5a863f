"""nnU-Net's two networks, 2D or 3D: the plain U-Net and the one with a residual encoder. Knows a plan; knows no data.

Isensee 2021 and Huo 2022 (MAPPING). A "unit" is a convolution with bias, instance norm (eps 1e-5, affine) and leaky
ReLU (0.01). Widths, kernels and strides of the stages come from a plan (``strokelab.planning``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import CONVOLUTION, TRANSPOSED
from strokelab.networks.recompute import joined, not_keeping
from strokelab.networks.residual_units import ResidualBlock, Shortcut
from strokelab.networks.units import Unit

Lengths = Sequence[int]
_LARGE = 2**24  # numbers in a feature map of one sample above which samples of a batch follow one another on a CPU
_MOST_BLOCKS = 64  # in a stage; more is a slip, or meant to keep a machine busy with building them
Biases = Literal["units", "all"]


@buildable("model")
class NNUNet(nn.Module):
    """U-Net of a plan: ``forward(image) == decode(encode(image))``.

    Args:
        in_channels: channels of the image, one per modality.
        out_channels: maps of logits, softmax over them; 2: background and lesion.
        widths: channels of each stage, finest first.
        kernels: kernel sizes of each stage, 2 or 3 lengths each.
        strides: what divides each axis on the way into a stage; the first all 1.
        residual: residual blocks in the encoder, behind a stem of one unit, in place of units.
        blocks_encoder: units (or residual blocks) of each encoder stage: one number for all, or a list of which the
            first ones count when it is longer than the stages, and the last is repeated when it is shorter.
        units_decoder: units of each decoder stage.
        deep_supervision: logits at every decoder stage while training.
        biases: "units": transposed convolutions and heads have no bias (nnU-Net v1, and so MAPPING); "all": they have
            one (nnU-Net v2).
        shortcut: of residual blocks that change stride or width: "strided" convolution (nnU-Net v1), or "pooled" by
            the mean, then a convolution where the width changes (nnU-Net v2).

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first.
        dimensions: 2 or 3, the length of a stride.
        deep_supervision: as given.
        divisors: what each side of the image must be divisible by.

    Raises:
        ConfigError: widths, kernels and strides do not fit together, or a stage has no block or too many.

    Source: Huo 2022, spec of the published weights: 31,194,784 parameters plain, 72,137,888 residual with blocks
    1, 2, 3, 4, 4, 4 and one decoder unit (1 channel in, 2 maps out, widths 32 to 320).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 2,
        *,
        widths: Lengths,
        kernels: Sequence[Lengths],
        strides: Sequence[Lengths],
        residual: bool = False,
        blocks_encoder: int | Lengths = 2,
        units_decoder: int = 2,
        deep_supervision: bool = True,
        biases: Biases = "units",
        shortcut: Shortcut = "strided",
    ) -> None:
        super().__init__()
        _check_plan(widths, kernels, strides)
        self.dimensions = len(strides[0])
        self.feature_channels = tuple(widths)
        self.deep_supervision = deep_supervision
        self.divisors = tuple(math.prod(axis) for axis in zip(*strides, strict=True))
        biased = biases == "all"
        counts = _per_stage(blocks_encoder, len(widths))
        _check_counts(blocks_encoder=counts, units_decoder=[units_decoder])
        if residual:
            self.stem: nn.Module = Unit(in_channels, widths[0], kernel=kernels[0])
        else:
            self.stem = nn.Identity()
        inputs = (widths[0] if residual else in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(
            nn.Sequential(
                *(
                    ResidualBlock(before if first else after, after, kernel=kernel, stride=stride, shortcut=shortcut)
                    if residual
                    else Unit(before if first else after, after, kernel=kernel, stride=stride)
                    for first, stride in _first_strided(stride, count)
                )
            )
            for before, after, kernel, stride, count in zip(inputs, widths, kernels, strides, counts, strict=True)
        )
        convolution, transposed = CONVOLUTION[self.dimensions], TRANSPOSED[self.dimensions]
        ascending = range(len(widths) - 2, -1, -1)  # decoder stages, coarse to fine
        self.ups = nn.ModuleList(
            transposed(widths[k + 1], widths[k], _lengths(strides[k + 1]), stride=_lengths(strides[k + 1]), bias=biased)
            for k in ascending
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(
                *(Unit((1 if unit else 2) * widths[k], widths[k], kernel=kernels[k]) for unit in range(units_decoder))
            )
            for k in ascending
        )
        headed = ascending if deep_supervision else ascending[-1:]
        self.heads = nn.ModuleList(convolution(widths[k], out_channels, kernel_size=1, bias=biased) for k in headed)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights of all convolutions anew, as He does for a slope of 0.01; biases 0, norms the identity."""
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """What ``decode`` makes of an image (B, in_channels, *S)."""
        one_by_one = image.device.type == "cpu" and image[0, 0].numel() * self.feature_channels[0] >= _LARGE
        if len(image) == 1 or not one_by_one:
            return self.decode(self.encode(image))
        # Samples do not know of one another: half of what is needed at a time, where memory is what a step waits for.
        logits = [self.decode(self.encode(sample)) for sample in image.chunk(len(image))]
        if isinstance(logits[0], Tensor):
            return torch.cat(cast(list[Tensor], logits))
        return [torch.cat(resolution) for resolution in zip(*logits, strict=True)]

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every stage, finest first: the k-th is (B, widths[k], *S / the first k + 1 strides).

        Raises:
            ConfigError: an axis of S is not divisible by ``divisors``, or nothing but one voxel is left.
        """
        self._check_size(image)
        x = self.stem(image)
        features: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Logits from what ``encode`` returned.

        Returns:
            (B, out_channels, *S); in training mode with deep supervision one per decoder stage, finest first.
        """
        *skips, x = features
        supervised = self.training and self.deep_supervision
        logits: list[Tensor] = []
        for level, (up, stage, skip) in enumerate(zip(self.ups, self.decoder, reversed(skips), strict=True)):
            with not_keeping(x):
                raised = up(x)
            x = stage(joined(raised, skip))
            if supervised or level == len(self.ups) - 1:
                with not_keeping(x):
                    logits.append(self.heads[level if self.deep_supervision else -1](x))
        return logits[::-1] if supervised else logits[-1]

    def _check_size(self, image: Tensor) -> None:
        size = tuple(image.shape[2:])
        if len(size) != self.dimensions or any(length % by for length, by in zip(size, self.divisors, strict=False)):
            raise ConfigError(
                "NNUNet input",
                found=f"{len(size)} axes of sizes {size}",
                expected=f"{self.dimensions} axes, divisible by {self.divisors} ({len(self.feature_channels)} stages)",
                remedy="change the patch (view.sampler.patch), or let model.network.strides be planned for it; "
                "a hemisphere is half the patch's width",
            )
        if math.prod(size) == math.prod(self.divisors):
            raise ConfigError(
                "NNUNet input",
                found=f"sizes {size}, of which {len(self.feature_channels)} stages leave one voxel",
                expected="at least two voxels at the last stage, whose mean and SD are taken",
                remedy="use a larger patch (view.sampler.patch), or fewer stages",
            )


def _first_strided(stride: Lengths, count: int) -> Iterator[tuple[bool, Lengths]]:
    """(is the first, stride) of the blocks of a stage: the first one brings the sides down."""
    for block in range(count):
        yield block == 0, stride if block == 0 else [1] * len(stride)


def _per_stage(count: int | Lengths, stages: int) -> list[int]:
    if isinstance(count, int):
        return [count] * stages
    return [count[min(stage, len(count) - 1)] for stage in range(stages)]


def _lengths(lengths: Lengths) -> Any:
    """A tuple, of 2 or of 3: torch's types tell the two apart."""
    return tuple(lengths)


def _check_plan(widths: Lengths, kernels: Sequence[Lengths], strides: Sequence[Lengths]) -> None:
    lengths = {len(lengths) for lengths in (*kernels, *strides)}
    fit = len(widths) >= 2 and len(widths) == len(kernels) == len(strides) and lengths in ({2}, {3})
    if fit and set(strides[0]) == {1} and all(length % 2 for kernel in kernels for length in kernel):
        return
    raise ConfigError(
        "NNUNet",
        found=f"widths {list(widths)}, kernels {_listed(kernels)}, strides {_listed(strides)}",
        expected="one of each per stage, two stages or more: odd kernels, strides of 2 or 3 lengths, the first all 1",
        remedy="leave all three to the plan (???), or give all three",
    )


def _check_counts(**counts: Sequence[int]) -> None:
    for name, numbers in counts.items():
        if not all(1 <= number <= _MOST_BLOCKS for number in numbers):
            raise ConfigError(
                f"NNUNet.{name}",
                found=str(list(numbers)),
                expected=f"1 to {_MOST_BLOCKS} in a stage",
                remedy=f"set model.network.{name}=2",
            )


def _listed(rows: Sequence[Lengths]) -> list[list[int]]:
    return [list(row) for row in rows]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.InstanceNorm2d, nn.InstanceNorm3d)):
        module.reset_parameters()
