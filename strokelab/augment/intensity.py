"""Changes of grey values: gamma, contrast, noise. Knows images; touches no masks.

Images are (C, *S) float32 in model units (often z-scores, so negative values occur). Functions whose name ends in an
underscore change one channel of any shape in place and never wait for the device it lies on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelab.augment.recipes import Tensors
from strokelab.buildable import buildable


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (of the population) of all values; a tenth of the time of ``torch.std_mean``."""
    mean = values.mean()
    return mean, torch.linalg.vector_norm(values - mean) / values.numel() ** 0.5


def gamma_(channel: Tensor, exponent: float, *, keep_moments: bool = True) -> None:
    """Values, brought to 0..1 by their range, to the power of ``exponent``, and back.

    Args:
        channel: float32, changed in place.
        exponent: above 1 darkens the middle.
        keep_moments: bring mean and standard deviation back to what they were, not the range.
    """
    low, high = channel.aminmax()
    width = high - low
    width = torch.where(width > 0, width, 1)  # a flat channel
    mean, spread = moments(channel)
    channel.sub_(low).div_(width)
    channel.log2_().mul_(exponent).exp2_()  # the power, in two thirds of the time of pow_; 0 stays 0
    if keep_moments:
        new_mean, new_spread = moments(channel)
        factor = torch.where(new_spread > 1e-7, spread / new_spread, 0)  # a flat channel stays what it was
        channel.mul_(factor).add_(mean - new_mean * factor)
    else:
        channel.mul_(width).add_(low)


def contrast_(channel: Tensor, factor: float) -> None:
    """Values stretched by ``factor`` about their mean, clipped to the range they had; in place."""
    low, high = channel.aminmax()
    mean = channel.mean()
    channel.mul_(factor).add_(mean * (1 - factor))
    torch.clamp_(channel, low, high)


def noise_(channel: Tensor, sd: float, seed: int) -> None:
    """Add independent Gaussian noise; a pure function of seed, shape and kind of device. In place."""
    generator = torch.Generator(channel.device).manual_seed(seed)
    channel.add_(torch.randn(channel.shape, generator=generator, device=channel.device), alpha=sd)


def adjust_gamma(image: Tensor, gamma: Sequence[float], *, keep_moments: bool = True) -> Tensor:
    """``gamma_`` of each channel.

    Args:
        image: (C, *S).
        gamma: C exponents.
        keep_moments: as in ``gamma_``.
    """
    return _each_channel(image, gamma, lambda channel, value: gamma_(channel, value, keep_moments=keep_moments))


def adjust_contrast(image: Tensor, factor: Sequence[float]) -> Tensor:
    """``contrast_`` of each channel of (C, *S) with its own factor."""
    return _each_channel(image, factor, contrast_)


def add_noise(image: Tensor, sd: float, seed: int) -> Tensor:
    """Independent Gaussian noise of standard deviation ``sd`` on every value; a pure function of the seed."""
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(image.shape), dtype=np.float32)
    return image + sd * torch.from_numpy(noise).to(image.device)


def half_and_half(stream: np.random.Generator, count: int, low: float, high: float) -> list[float]:
    """``count`` values from low..high, half of them below 1 and half above."""
    below = stream.random(count) < 0.5
    values: NDArray[np.float64] = np.where(below, stream.uniform(low, 1.0, count), stream.uniform(1.0, high, count))
    return [float(value) for value in values]


@buildable(training="view")
@dataclass(frozen=True)
class Gamma:
    """``adjust_gamma`` with exponents of their own for each channel, half of the draws below 1 and half above.

    Args:
        low: smallest exponent, at most 1.
        high: largest exponent, at least 1.
        p: share of samples.
        keep_moments: as in ``adjust_gamma``.
    """

    low: float = 0.7
    high: float = 1.5
    p: float = 0.3
    keep_moments: bool = True

    def draw(self, stream: np.random.Generator, shape: tuple[int, ...]) -> list[float] | None:
        """One exponent per channel."""
        return half_and_half(stream, shape[0], self.low, self.high) if stream.random() < self.p else None

    def apply(self, sample: Tensors, drawn: list[float]) -> Tensors:
        """The sample with its image changed."""
        return {**sample, "image": adjust_gamma(sample["image"], drawn, keep_moments=self.keep_moments)}


@buildable(training="view")
@dataclass(frozen=True)
class Contrast:
    """``adjust_contrast`` with factors of their own for each channel, half of the draws below 1 and half above.

    Args:
        low: smallest factor, at most 1.
        high: largest factor, at least 1.
        p: share of samples.
    """

    low: float = 0.75
    high: float = 1.25
    p: float = 0.15

    def draw(self, stream: np.random.Generator, shape: tuple[int, ...]) -> list[float] | None:
        """One factor per channel."""
        return half_and_half(stream, shape[0], self.low, self.high) if stream.random() < self.p else None

    def apply(self, sample: Tensors, drawn: list[float]) -> Tensors:
        """The sample with its image changed."""
        return {**sample, "image": adjust_contrast(sample["image"], drawn)}


@buildable(training="view")
@dataclass(frozen=True)
class Noise:
    """``add_noise`` with a standard deviation drawn uniformly from 0 to ``sd`` (model units).

    Args:
        sd: largest standard deviation.
        p: share of samples.
    """

    sd: float = 0.1
    p: float = 0.1

    def draw(self, stream: np.random.Generator, shape: tuple[int, ...]) -> tuple[float, int] | None:
        """Standard deviation and the seed of the noise."""
        if stream.random() >= self.p:
            return None
        return float(stream.uniform(0, self.sd)), int(stream.integers(2**63))

    def apply(self, sample: Tensors, drawn: tuple[float, int]) -> Tensors:
        """The sample with its image changed."""
        return {**sample, "image": add_noise(sample["image"], *drawn)}


def _each_channel(image: Tensor, values: Sequence[float], change: Callable[[Tensor, float], None]) -> Tensor:
    out = image.clone()
    for channel, value in zip(out, values, strict=True):
        change(channel, value)
    return out
