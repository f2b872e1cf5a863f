"""3D ResU-Net: parameter-free shortcuts, group norm, volumes of any size. Knows volumes; knows no crop and no stage.

Tomita 2020 (arXiv 1911.11209). The paper's figure has no numbers; those here were measured on the released code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from strokelab.buildable import buildable
from strokelab.errors import ConfigError

Recompute = Literal["none", "full_resolution", "all"]
_LEVELS = 4
_SHORTEST = 2 ** (_LEVELS - 1)  # one voxel is left of it at the coarsest level
_NEGATIVE_SHARE = 0.01  # of the voxels, up to which values below 0 are taken for interpolation's and noise


@buildable("model")
class ResUNet3D(nn.Module):
    """Residual U-Net with ``forward(image) == decode(encode(image))``: (B, C, X, Y, Z) -> logits (B, K, X, Y, Z).

    Args:
        in_channels: C, each scaled to 0..1.
        out_channels: K; 1: the lesion's logit, by a sigmoid.
        base: half the channels of the finest level; widths are 2, 4, 8 and 16 times this.
        groups: of every group norm; divides 2 * base.
        recompute: whose activations are made again in the backward pass instead of being kept. "none";
            "full_resolution": of the three blocks at full resolution, more than half of all; "all": of every block. The
            numbers are the same, bit for bit.
        allow_negative: take images with values below 0, of which the first rectifier leaves only the shortcut's part.

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first.
        dimensions: 3.
        divisors: of each axis: 1, for any length of at least 8 voxels serves.
        non_negative: whether images below 0 are refused.

    Raises:
        ConfigError: ``groups`` does not divide the widths, or another word for ``recompute``.

    Source: Tomita 2020; released code: 18,438,561 parameters (1 channel, 1 map, base 16).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        base: int = 16,
        groups: int = 8,
        recompute: Recompute = "none",
        allow_negative: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(base, groups, recompute)
        self.dimensions, self.divisors = 3, (1, 1, 1)
        self.non_negative, self.recompute = not allow_negative, recompute
        self.feature_channels = widths = tuple(2 * base * 2**level for level in range(_LEVELS))
        inputs = (in_channels, *widths[:-1])

        def level(before: int, after: int, blocks: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualBlock(before if k == 0 else after, after, groups) for k in range(blocks))

        self.encoder = nn.ModuleList(
            level(before, after, 2 if depth else 1)
            for depth, (before, after) in enumerate(zip(inputs, widths, strict=True))
        )
        self.bottom = level(widths[-1], widths[-1], 2)
        ascending = range(_LEVELS - 2, -1, -1)  # coarse to fine
        self.ups = nn.ModuleList(Deconvolution(widths[k + 1], widths[k], groups) for k in ascending)
        self.interpolation = Interpolation()
        self.decoder = nn.ModuleList(level(2 * widths[k], widths[k], 2 if k else 1) for k in ascending)
        self.head = nn.ConvTranspose3d(widths[0], out_channels, kernel_size=1)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z) of an image (B, C, X, Y, Z)."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every level, finest first: the k-th is (B, 2 * base * 2**k, X // 2**k, Y // 2**k, Z // 2**k).

        Raises:
            ConfigError: an axis is shorter than 8 voxels, or more than 1 % of the values are below 0.
        """
        _check_size(image)
        if self.non_negative:
            _check_values(image)
        x = image
        features: list[Tensor] = []
        for depth, blocks in enumerate(self.encoder):
            if depth:
                x = functional.max_pool3d(x, 2)
            x = self._through(blocks, depth, x)
            features.append(x)
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, X, Y, Z) from what ``encode`` returned."""
        *skips, x = features
        x = self._through(self.bottom, _LEVELS - 1, x)
        for depth in reversed(range(_LEVELS - 1)):
            up, blocks, skip = self.ups[-1 - depth], self.decoder[-1 - depth], skips[depth]
            x = self._run(up, depth, x)
            if x.shape[2:] != skip.shape[2:]:
                x = self.interpolation(x, skip.shape[2:])
            x = self._through(blocks, depth, x, skip)
        logits: Tensor = self.head(x)
        return logits

    def _through(self, blocks: nn.Module, depth: int, *parts: Tensor) -> Tensor:
        """Blocks one after the other; the first gets the parts."""
        first, *rest = cast(nn.ModuleList, blocks)
        x = self._run(first, depth, *parts)
        for block in rest:
            x = self._run(block, depth, x)
        return x

    def _run(self, block: Callable[..., Tensor], depth: int, *parts: Tensor) -> Tensor:
        again = self.recompute == "all" or (self.recompute == "full_resolution" and depth == 0)
        if not again or not torch.is_grad_enabled():
            return block(*parts)
        return cast(Tensor, checkpoint(block, *parts, use_reentrant=False, preserve_rng_state=False))


class ResidualBlock(nn.Module):
    """ReLU, then twice convolution, group norm and ReLU, plus the shortcut: (B, C, *S) -> (B, C', *S).

    The shortcut has no parameters: of more channels than C' the last C' are kept; of fewer, zeros stand before them.

    Args:
        in_channels: C.
        out_channels: C'.
        groups: of both norms.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1)
        self.first_norm = nn.GroupNorm(groups, out_channels)
        self.second = nn.Conv3d(out_channels, out_channels, kernel_size=3, padding=1)
        self.second_norm = nn.GroupNorm(groups, out_channels)

    def forward(self, *parts: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C', *S); of several parts, which follow one another along C, the last has all of C' alone.

        Parts are put together in here, so that a block whose activations are made again keeps no copy of them.
        """
        shortcut = parts[-1]  # which must stay as it is: rectified in place is only what was put together here
        x = functional.relu(shortcut) if len(parts) == 1 else functional.relu_(torch.cat(parts, dim=1))
        x = _normalised_and_rectified(self.first(x), self.first_norm)
        x = _normalised_and_rectified(self.second(x), self.second_norm)
        channels = x.shape[1]
        shortcut = shortcut[:, -channels:].to(x.dtype)
        empty = channels - shortcut.shape[1]
        return torch.cat([x[:, :empty], x[:, empty:] + shortcut], dim=1) if empty else x + shortcut


class Deconvolution(nn.Module):
    """Transposed convolution of kernel and stride 2, group norm, ReLU: (B, C, *S) -> (B, C', *(2 S)).

    Args:
        in_channels: C.
        out_channels: C'.
        groups: of the norm.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int = 8) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(in_channels, out_channels, kernel_size=2, stride=2)
        self.norm = nn.GroupNorm(groups, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C', *(2 S))."""
        return _normalised_and_rectified(self.up(x), self.norm)


class Interpolation(nn.Module):
    """Trilinear, corners not aligned; a module, so that its calls can be counted."""

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """(B, C, *S) -> (B, C, *size)."""
        return functional.interpolate(x, size=list(size), mode="trilinear", align_corners=False)


def _normalised_and_rectified(x: Tensor, norm: nn.Module) -> Tensor:
    """Autocast normalises in float32 on a GPU: there x is kept in half precision, and float32 lives for a moment."""
    if x.device.type == "cpu" or x.dtype not in (torch.bfloat16, torch.float16):
        return functional.relu_(norm(x))

    def in_float32(kept: Tensor) -> Tensor:
        return functional.relu_(norm(kept.float())).to(kept.dtype)

    if not torch.is_grad_enabled():
        return in_float32(x)
    return cast(Tensor, checkpoint(in_float32, x, use_reentrant=False, preserve_rng_state=False))


def _initialise(module: nn.Module) -> None:
    """He's normal weights by fan-out; biases stay PyTorch's."""
    if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _check_settings(base: int, groups: int, recompute: str) -> None:
    if base < 1 or groups < 1 or 2 * base % groups:
        raise ConfigError(
            "model.network.base, model.network.groups",
            found=f"{base}, {groups}",
            expected="groups that divide 2 * base, the channels of the finest level",
            remedy="set model.network.base=16 model.network.groups=8",
        )
    if recompute not in get_args(Recompute):
        raise ConfigError(
            "model.network.recompute",
            found=repr(recompute),
            expected=f"one of {', '.join(get_args(Recompute))}",
            remedy="set model.network.recompute=none",
        )


def _check_size(image: Tensor) -> None:
    size = tuple(image.shape[2:])
    if len(size) != 3 or min(size) < _SHORTEST:
        raise ConfigError(
            "ResUNet3D input",
            found=f"{len(size)} axes of sizes {size}",
            expected=f"3 axes of at least {_SHORTEST} voxels, which are halved {_LEVELS - 1} times",
            remedy="enlarge what the view cuts (view.sampler, view.windows); a hemisphere is half of its width",
        )


def _check_values(image: Tensor) -> None:
    if type(image) is not Tensor or image.is_meta or torch.compiler.is_compiling():
        return
    share = (image < 0).float().mean().item()
    if share > _NEGATIVE_SHARE:
        raise ConfigError(
            "ResUNet3D input",
            found=f"{100 * share:.1f} % of the values below 0, as z-scored images have",
            expected=f"at most {100 * _NEGATIVE_SHARE:.0f} %: the network begins with a rectifier, which discards them",
            remedy="train on scans without negative values with view.preparation.normalize=scale255, or with "
            "model.network.allow_negative=true",
        )
