"""CLCI-Net: features of all finer scales joined at every stage, and a recurrent decoder. Knows images.

Yang 2019 ("CLCI-Net: Cross-Level fusion and Context Inference Networks for Lesion Segmentation of Chronic Stroke"), as
the authors' public code has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import KERAS, check_halvings, conv_block, he_normal_
from strokelab.networks.resnet import check_samples

_DILATIONS = (2, 4, 6)


class SameBlock(nn.Module):
    """Convolution, Keras norm and ReLU, padded as TensorFlow's "same": the smaller half of it before the first value.

    Args:
        in_channels: of the input (B, in_channels, Y, X).
        out_channels: of the output, of ceil(Y / stride) x ceil(X / stride).
        kernel: side of the filters.
        stride: of their positions.
        dilation: of their taps.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.reach, self.stride = dilation * (kernel - 1) + 1, stride
        convolution = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, dilation=dilation)
        _, *rest = conv_block(out_channels, out_channels, **KERAS)
        self.layers = nn.Sequential(convolution, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, Y, X) -> (B, out_channels, ceil(Y / stride), ceil(X / stride))."""
        missing = [max((-(-n // self.stride) - 1) * self.stride + self.reach - n, 0) for n in (x.shape[3], x.shape[2])]
        margins = [part for total in missing for part in (total // 2, total - total // 2)]
        y: Tensor = self.layers(F.pad(x, margins) if any(margins) else x)
        return y


class ConvLSTM(nn.Module):
    """Recurrent unit of convolutions over a short sequence of maps; hard sigmoids as gates, as in Keras.

    Args:
        channels: of each map and of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.seen = nn.Conv2d(channels, 4 * channels, kernel_size=3, padding=1)
        self.kept = nn.Conv2d(channels, 4 * channels, kernel_size=3, padding=1, bias=False)

    def initialise(self) -> None:
        """Orthogonal recurrent weights, and a gate that begins by forgetting little."""
        nn.init.orthogonal_(self.kept.weight)
        if self.seen.bias is not None:
            nn.init.ones_(self.seen.bias.data[self.channels : 2 * self.channels])

    def forward(self, sequence: Sequence[Tensor]) -> Tensor:
        """The output after the last of the maps (B, channels, Y, X), of the same shape."""
        state: Tensor | None = None
        output: Tensor | None = None
        for x in sequence:
            gates = self.seen(x) if output is None else self.seen(x) + self.kept(output)
            enter, forget, new, leave = gates.chunk(4, dim=1)
            entered = _hard_sigmoid(enter) * new.tanh()
            state = entered if state is None else _hard_sigmoid(forget) * state + entered
            output = _hard_sigmoid(leave) * state.tanh()
        if output is None:
            raise ValueError("no map in the sequence")
        return output


@buildable("model")
class CLCINet(nn.Module):
    """U-shaped network of slices, ``forward(image) == decode(encode(image))``: (B, C, Y, X) -> logits (B, K, Y, X).

    Args:
        in_channels: C, one per modality.
        out_channels: K; 1 for lesion against the rest.
        base: channels of the first stage; doubled at every further one.
        depth: number of stages; Y and X must be divisible by 2 ** (depth - 1).
        dropout: share of values that training leaves out of the deepest stage and after its context.

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first.
        dimensions: 2.
        divisors: what Y and X must be a multiple of.
        least_samples: of a training batch in each process.

    Raises:
        ConfigError: ``depth`` below 2; in training mode, a batch of one sample.

    Source: Yang 2019, released code (base 32, depth 5: 36,813,025 parameters).
    """

    dimensions = 2
    least_samples = 2

    def __init__(
        self, in_channels: int, out_channels: int = 1, *, base: int = 32, depth: int = 5, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if depth < 2:
            raise ConfigError("CLCINet", found=f"depth={depth}", expected="2 or more stages", remedy="set depth to 5")
        self.divisors = (2 ** (depth - 1),) * 2
        self.feature_channels = tuple(base * 2**level for level in range(depth))
        widths = self.feature_channels
        self.stem = _double(in_channels, base)
        self.joins = nn.ModuleList(_Join(widths[: level + 1]) for level in range(1, depth))
        self.stages = nn.ModuleList(_double(4 * width, width) for width in widths[1:])
        self.dropout = nn.Dropout(dropout)
        self.context = _Context(widths)
        ascending = tuple(reversed(widths[:-1]))  # coarse to fine
        coarser = (2 * widths[-1], *ascending)
        self.ups = nn.ModuleList(SameBlock(*channels, 2) for channels in zip(coarser, ascending, strict=False))
        self.skips = nn.ModuleList(SameBlock(width, width, 1) for width in ascending)
        self.memories = nn.ModuleList(ConvLSTM(width) for width in ascending)
        self.decoder = nn.ModuleList(_double(width, width) for width in ascending)
        self.head = nn.Conv2d(base, out_channels, kernel_size=1)
        he_normal_(self)
        for layer in self.modules():
            if isinstance(layer, ConvLSTM):
                layer.initialise()

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, Y, X) of an image (B, C, Y, X)."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every stage, finest first: the k-th is (B, base * 2**k, Y/2^k, X/2^k).

        Raises:
            ConfigError: an axis cannot be halved ``depth - 1`` times.
        """
        check_halvings(image, self.divisors, "CLCINet", "change view.preparation.crop or model.network.depth")
        features = [self.stem(image)]
        for join, stage in zip(self.joins, self.stages, strict=True):
            features.append(stage(join(features)))
        features[-1] = self.dropout(features[-1])
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, Y, X) from what ``encode`` returned.

        Raises:
            ConfigError: a batch of one sample in training mode, whose mean over all positions has no batch statistics.
        """
        if self.training:
            check_samples(features[-1], self.least_samples, "CLCINet")
        x = self.dropout(self.context(features))
        decoding = zip(reversed(features[:-1]), self.ups, self.skips, self.memories, self.decoder, strict=True)
        for skip, up, side, memory, stage in decoding:
            larger = up(F.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = stage(memory((larger, side(skip))))
        logits: Tensor = self.head(x)
        return logits


class _Join(nn.Module):
    """What a stage begins with: the stage before it pooled, and of every finer one a convolution to its size.

    Args:
        widths: channels of the stages up to this one.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        *finer, own = widths
        self.brought = nn.ModuleList(
            SameBlock(width, finer[-1], 3, stride=2 ** (len(finer) - level)) for level, width in enumerate(finer)
        )
        self.mix = SameBlock((len(finer) + 1) * finer[-1], 4 * own, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features of the finer stages -> (B, 4 * own, ...) at half the size of the last of them."""
        joined = [F.max_pool2d(features[-1], 2)]
        for bring, x in zip(self.brought, features, strict=True):
            joined.insert(0, bring(x))
        y: Tensor = self.mix(torch.cat(joined, dim=1))
        return y


class _Context(nn.Module):
    """Cross-level pyramid: the deepest stage at several reaches, its mean, and all finer stages, side by side.

    Args:
        widths: channels of all stages.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        *finer, own = widths
        width, last = own // 2, len(finer)
        self.brought = nn.ModuleList(
            SameBlock(channels, width, 3, stride=2 ** (last - level)) for level, channels in enumerate(finer)
        )
        self.near = SameBlock(own, width, 1)
        self.far = nn.ModuleList(SameBlock(own, width, 3, dilation=dilation) for dilation in _DILATIONS)
        self.everywhere = SameBlock(own, width, 1)
        self.mix = SameBlock((last + len(_DILATIONS) + 2) * width, 2 * own, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features of all stages -> (B, 2 * own, ...) of the deepest one's size."""
        *finer, x = features
        mean = self.everywhere(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        brought = [bring(each) for bring, each in zip(self.brought, finer, strict=True)]
        y: Tensor = self.mix(torch.cat([*brought, self.near(x), *(far(x) for far in self.far), mean], dim=1))
        return y


def _double(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(SameBlock(in_channels, out_channels, 3), SameBlock(out_channels, out_channels, 3))


def _hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)
