"""Changes of grey values: gamma, contrast, noise. Knows images; touches no masks.

Images are (C, *S) float32 in model units (often z-scores, so negative values occur).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelab.augment.recipes import Tensors


def adjust_gamma(image: Tensor, gamma: Sequence[float], *, keep_moments: bool = True) -> Tensor:
    """Each channel's values, brought to 0..1 by its range, to the power of its gamma, and back.

    Args:
        image: (C, *S).
        gamma: C exponents; above 1 darkens the middle.
        keep_moments: bring mean and standard deviation of each channel back to what they were.
    """
    flat = image.flatten(1)
    low = flat.amin(1, keepdim=True)
    width = (flat.amax(1, keepdim=True) - low).clamp_min(1e-7)
    power = torch.tensor(list(gamma), dtype=image.dtype, device=image.device)[:, None]
    out = ((flat - low) / width) ** power * width + low
    if keep_moments:
        spread = out.std(1, keepdim=True, correction=0).clamp_min(1e-7)
        out = (out - out.mean(1, keepdim=True)) / spread * flat.std(1, keepdim=True, correction=0)
        out = out + flat.mean(1, keepdim=True)
    return out.reshape(image.shape)


def adjust_contrast(image: Tensor, factor: Sequence[float]) -> Tensor:
    """Each channel (C, *S) stretched by its factor about its mean, clipped to the range it had."""
    flat = image.flatten(1)
    mean = flat.mean(1, keepdim=True)
    stretch = torch.tensor(list(factor), dtype=image.dtype, device=image.device)[:, None]
    out = (flat - mean) * stretch + mean
    return torch.clamp(out, flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)).reshape(image.shape)


def add_noise(image: Tensor, sd: float, seed: int) -> Tensor:
    """Independent Gaussian noise of standard deviation ``sd`` on every value; a pure function of the seed."""
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(image.shape), dtype=np.float32)
    return image + sd * torch.from_numpy(noise).to(image.device)


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
        return _half_and_half(stream, shape[0], self.low, self.high) if stream.random() < self.p else None

    def apply(self, sample: Tensors, drawn: list[float]) -> Tensors:
        """The sample with its image changed."""
        return {**sample, "image": adjust_gamma(sample["image"], drawn, keep_moments=self.keep_moments)}


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
        return _half_and_half(stream, shape[0], self.low, self.high) if stream.random() < self.p else None

    def apply(self, sample: Tensors, drawn: list[float]) -> Tensors:
        """The sample with its image changed."""
        return {**sample, "image": adjust_contrast(sample["image"], drawn)}


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


def _half_and_half(stream: np.random.Generator, count: int, low: float, high: float) -> list[float]:
    below = stream.random(count) < 0.5
    values: NDArray[np.float64] = np.where(below, stream.uniform(low, 1.0, count), stream.uniform(1.0, high, count))
    return [float(value) for value in values]
