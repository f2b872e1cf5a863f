"""What a scanner makes of fractional maps: random intensities, bias, gamma, blur, low resolution, noise, percentiles.

SynthStroke, section 3, steps 5 to 7. A picture is made on the box that the crop needs. Blur, downsampling and
upsampling are one matrix along each axis (``axis_products``), so the crop has the values of the whole image. Where the
method asks for an extreme or a percentile of the whole image, those of the box stand for it, and all voxels beyond
the box count as background (``rendering.ends``). Over 24 samples (crops of 72 from 96 voxels a side, all else the
paper's) this moved the mean grey value of a class by 0.01 of the crop's standard deviation on average, by 0.06 in one
of twenty and by 0.09 at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelab.buildable import buildable
from strokelab.synthesis.axis_products import Box, gaussian, linear, needed
from strokelab.synthesis.fields import Floats, Range, Size, checked, points_sampled

Sizes = tuple[float, float, float]


@dataclass(frozen=True)
class Noise:
    """Chi-distributed noise on the coarse grid.

    Args:
        sd: its standard deviation, shares of the image's 1-99 % range.
        gain: control points of the field that scales it.
    """

    sd: float
    gain: Floats


@dataclass(frozen=True)
class Look:
    """All that was sampled for one image; what is None does not happen.

    Args:
        means: of each channel and the lesion.
        deviations: the same, standard deviations.
        smoothing: FWHM of the mixture's noise, voxels.
        bias: control points of the factor.
        gamma: exponent.
        blur: FWHM, voxels.
        factors: by how much the resolution is lower along x, y, z.
        thickness: FWHM of the blur before that along x, y, z, voxels.
        noise: chi-distributed.
        seed: of all white noise.
    """

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    smoothing: float
    bias: Floats | None
    gamma: float | None
    blur: float
    factors: tuple[float, float, float]
    thickness: tuple[float, float, float]
    noise: Noise | None
    seed: int

    def axes(self, grid: Size, crop: Box) -> list[Axis]:
        """What happens along each axis to give a crop."""
        facts = zip(grid, crop, self.factors, self.thickness, strict=True)
        return [Axis.of(side, span, self.blur, factor, thickness) for side, span, factor, thickness in facts]


@dataclass(frozen=True)
class Axis:
    """Blur, downsampling and upsampling along an axis, as far as a crop needs them.

    Args:
        box: the voxels needed.
        down: (coarse voxels needed, voxels needed).
        coarse: which coarse voxels.
        few: coarse voxels of the whole axis.
        up: (voxels of the crop, coarse voxels needed).
    """

    box: tuple[int, int]
    down: Tensor
    coarse: tuple[int, int]
    few: int
    up: Tensor

    @classmethod
    def of(cls, side: int, crop: tuple[int, int], blur: float, factor: float, thickness: float) -> Axis:
        """From the settings of the whole axis of ``side`` voxels."""
        few = max(2, math.ceil(side / factor)) if factor > 1 else side
        down, up = gaussian(side, blur), torch.eye(side)
        if factor > 1:
            down = linear(few, side) @ gaussian(side, thickness) @ down
            up = linear(side, few)
        coarse = needed(up, crop)
        box = needed(down, coarse)
        return cls(box, down[slice(*coarse), slice(*box)], coarse, few, up[slice(*crop), slice(*coarse)])


@buildable(training="data", most={"resolution": 64, "bias_points": 64, "noise_points": 64, "noise_channels": 64})
@dataclass(frozen=True, kw_only=True)
class Appearance:
    """Ranges (low, high) of the appearance; the defaults are the paper's, sampled uniformly unless said otherwise.

    Every ``..._p`` is a share of images.

    Args:
        mean: of each channel, grey values.
        deviation: standard deviation of each channel.
        smoothing: FWHM of the noise within a channel, voxels; one for an image.
        bias_p: multiplication by a cubic B-spline field.
        bias: how far the field may leave 1, either way.
        bias_points: its control points along each axis, whole numbers.
        gamma_p: the image to the power q between its extremes.
        gamma: standard deviation of the logarithm of q, whose mean is 0.
        blur_p: isotropic Gaussian blur.
        blur: its FWHM, voxels.
        resolution_p: low resolution: fewer voxels, then as many as before.
        resolution: factor by which there are fewer.
        slice_p: share of these images with thick slices along one random axis; the others are coarse along all.
        thickness: of slices, shares of their distance.
        noise_p: noise at the lower resolution.
        noise: its standard deviation, shares of the image's range from the 1st to the 99th percentile.
        noise_channels: degrees of freedom of the chi distribution.
        noise_gain: of the field that scales the noise.
        noise_points: its control points along each axis, whole numbers.
        percentiles: between which the image is clipped and mapped to 0..1; None = grey values stay what they are.

    Raises:
        ConfigError: a number beyond its limits, a range in the wrong order.
    """

    mean: Range = (0.0, 255.0)
    deviation: Range = (0.0, 16.0)
    smoothing: Range = (0.0, 2.0)
    bias_p: float = 1.0
    bias: Range = (0.0, 0.5)
    bias_points: Range = (2, 7)
    gamma_p: float = 1.0
    gamma: float = 0.6
    blur_p: float = 1.0
    blur: Range = (0.0, 3.0)
    resolution_p: float = 1.0
    resolution: Range = (1.0, 8.0)
    slice_p: float = 0.5
    thickness: Range = (0.1, 1.0)
    noise_p: float = 1.0
    noise: Range = (0.0, 0.1)
    noise_channels: int = 8
    noise_gain: Range = (0.5, 1.5)
    noise_points: Range = (2, 5)
    percentiles: Range | None = (1.0, 99.0)

    def __post_init__(self) -> None:
        shares = tuple(name for name in vars(self) if name.endswith("_p"))
        checked(self, least=0, most=1, names=(*shares, "bias", "noise", "thickness"))
        checked(self, least=0, most=1e6, names=("mean", "deviation"))
        checked(self, least=0, most=16, names=("smoothing", "gamma"))
        checked(self, least=0, most=32, names=("blur", "noise_gain"))
        checked(self, least=1, most=64, names=("resolution", "noise_channels"))
        checked(self, least=2, most=64, names=("bias_points", "noise_points"))
        checked(self, least=0, most=100, names=("percentiles",) if self.percentiles is not None else ())

    def sampled(self, stream: np.random.Generator, channels: int) -> Look:
        """Everything that happens to one image.

        Args:
            stream: the sample's own.
            channels: of the generator, with the lesion.
        """
        bias, gamma, blur, resolution, noise = stream.random(5) < (
            self.bias_p,
            self.gamma_p,
            self.blur_p,
            self.resolution_p,
            self.noise_p,
        )
        means, deviations = stream.uniform(*self.mean, channels), stream.uniform(*self.deviation, channels)
        smoothing = float(stream.uniform(*self.smoothing))
        span = float(stream.uniform(*self.bias))
        factor = stream.uniform(1 - span, 1 + span, points_sampled(stream, self.bias_points))
        exponent = float(stream.lognormal(0, self.gamma))
        width = float(stream.uniform(*self.blur))
        factors, thickness = self._resolution(stream)
        sd = float(stream.uniform(*self.noise))
        gain = stream.uniform(*self.noise_gain, points_sampled(stream, self.noise_points))
        return Look(
            means=means,
            deviations=deviations,
            smoothing=smoothing,
            bias=factor if bias else None,
            gamma=exponent if gamma else None,
            blur=width if blur else 0.0,
            factors=factors if resolution else (1.0, 1.0, 1.0),
            thickness=thickness if resolution else (0.0, 0.0, 0.0),
            noise=Noise(sd, gain) if noise and sd > 0 else None,
            seed=int(stream.integers(2**63)),
        )

    def _resolution(self, stream: np.random.Generator) -> tuple[Sizes, Sizes]:
        sliced, axis = stream.random() < self.slice_p, int(stream.integers(3))
        factor, share = float(stream.uniform(*self.resolution)), float(stream.uniform(*self.thickness))
        if not sliced:
            return (factor, factor, factor), (factor, factor, factor)
        factors, thickness = [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
        factors[axis], thickness[axis] = factor, factor * share
        return (factors[0], factors[1], factors[2]), (thickness[0], thickness[1], thickness[2])
