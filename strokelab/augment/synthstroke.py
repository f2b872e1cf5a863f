"""What SynthStroke changes in real samples (Chalcroft 2024), in two phases: sample everything, then apply.

Steps, order and ranges are those of the paper and its code. Everything happens within the sample: the crop comes first,
so what a rotation brings in from outside is background, and no larger box is read. Knows volumes; knows no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strokelab.augment.equalisation import equalised
from strokelab.augment.intensity import gamma_, noise_
from strokelab.augment.moving import Boxes, move_alone, seed_of, z_first
from strokelab.augment.value_maps import bias_, bias_terms, histogram_shift_, zscore_
from strokelab.augment.warp import Elastic, Warp, rotation_matrix
from strokelab.buildable import buildable
from strokelab.contract import Batch, Kind, kinds_of
from strokelab.errors import ConfigError

Range = tuple[float, float]
Values = tuple[tuple[float, ...], ...]
"""For each channel."""
_MOST_POINTS = 256


@dataclass(frozen=True)
class RealPlan:
    """What happens to one real sample, in this order; what is None or empty does not happen.

    Args:
        warp: rotation, shear, zoom and elastic deformation.
        shift: the control points of the histogram shift, 0..1, for each channel.
        bias: coefficients of the bias field, for each channel.
        gamma: the exponent, for each channel.
        mirror: axes, e.g. ``"xz"``.
        noise: standard deviation, after the z-score, and seed.
    """

    warp: Warp | None = None
    shift: Values = ()
    bias: Values = ()
    gamma: tuple[float, ...] = ()
    mirror: str = ""
    noise: tuple[float, int] | None = None


@buildable(training="view", most={"control_points": _MOST_POINTS, "bias_degree": 8, "flip_rounds": 64})
@dataclass(frozen=True, kw_only=True)
class SynthStrokeAugment:
    """Random changes of real volumes, then a z-score over the sample; the defaults are the paper's.

    Beyond the sample an image is as dark as its darkest voxel (raw 0), other maps are 0. Histogram equalisation and
    z-score happen to every sample, whatever normalisation it comes with. An image that the preparation has equalised
    (``zscore_equalised``) is equalised again: the first is a monotone map, which the second undoes but for the 256 bins
    of either; only what interpolation puts between two grey values differs from that of raw ones.

    Args:
        deform_p: share of samples that are rotated, sheared, zoomed and deformed, all at once.
        rotation: largest angle about each axis, degrees, either way.
        shear: largest shear of each of the planes xy, xz and yz, either way.
        zoom: largest deviation of the factor of each axis from 1.
        elastic_sigma: range of the standard deviation of the smoothing, voxels.
        elastic_magnitude: range of what noise from -1 to 1 at each voxel, smoothed, is multiplied by, voxels;
            (0, 0): no elastic deformation.
        shift_p: share of samples with a shifted histogram.
        control_points: of the histogram shift.
        bias_p: share of samples with a bias field.
        bias: range of its coefficients.
        bias_degree: of its polynomial; 3 has 20 coefficients.
        contrast_p: share of samples whose range is taken to a power.
        contrast: range of the exponent.
        flip_rounds: rounds, in each of which one axis, all alike, may be flipped.
        flip_p: probability of a round to flip.
        noise_p: share of samples with Gaussian noise after the z-score; the paper has none, its code 0.8.
        noise_sd: its largest standard deviation.

    Raises:
        ConfigError: a probability outside 0..1, a range in the wrong order, or a number out of range.
    """

    deform_p: float = 0.8
    rotation: float = 15.0
    shear: float = 0.012
    zoom: float = 0.15
    elastic_sigma: Range = (5.0, 7.0)
    elastic_magnitude: Range = (50.0, 150.0)
    shift_p: float = 0.8
    control_points: int = 10
    bias_p: float = 0.8
    bias: Range = (0.0, 0.1)
    bias_degree: int = 3
    contrast_p: float = 0.8
    contrast: Range = (0.5, 4.5)
    flip_rounds: int = 3
    flip_p: float = 0.8
    noise_p: float = 0.0
    noise_sd: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_p") and not 0 <= value <= 1:
                _refuse(name, value, "a probability, 0 to 1")
            if isinstance(value, Sequence) and not (len(value) == 2 and value[0] <= value[1]):
                _refuse(name, list(value), "two numbers, the smaller one first")
        if self.elastic_sigma[0] < 1:
            _refuse("elastic_sigma", [*self.elastic_sigma], "at least 1 voxel")
        if self.elastic_magnitude[0] < 0:
            _refuse("elastic_magnitude", [*self.elastic_magnitude], "0 or more")
        if not 0 <= self.zoom < 1:
            _refuse("zoom", self.zoom, "a deviation from 0 to below 1")
        if self.contrast[0] <= 0:
            _refuse("contrast", [*self.contrast], "exponents above 0")
        for name, least in (("control_points", 2), ("bias_degree", 0), ("flip_rounds", 0)):
            if getattr(self, name) < least:
                _refuse(name, getattr(self, name), f"a whole number from {least} on")

    @property
    def keeps_midline(self) -> bool:
        """Whether the mid-sagittal plane stays the sample's middle in every sample."""
        return not self.deform_p

    @property
    def pure(self) -> bool:
        """True: the plan decides everything, on any device and in any thread."""
        return True

    def check_samples(self, sampler: Any) -> None:
        """Refuse slices: bias field and deformation are those of three dimensions.

        Args:
            sampler: that says the spatial ``sample_shape`` of its samples.

        Raises:
            ConfigError: the samples are slices.
        """
        shape = sampler.sample_shape((2, 2, 2))
        if len(shape) < 3 or min(shape) < 2:
            raise ConfigError(
                "view.augment",
                found=f"{type(self).__name__} with the slices of {type(sampler).__name__}",
                expected="volumes: its bias field and its deformation are those of three dimensions",
                remedy="use it with a view of crops or patches, or another augmentation",
            )

    def draw(self, stream: np.random.Generator, channels: int, patch: Sequence[int]) -> RealPlan:
        """Everything that happens to one sample.

        Args:
            stream: the sample's own.
            channels: of the image; each gets grey values of its own.
            patch: voxels (x, y, z).
        """

        def happens(p: float) -> bool:
            return bool(stream.random() < p)

        terms = len(bias_terms(self.bias_degree))
        warp = self._drawn_warp(stream) if happens(self.deform_p) else None
        return RealPlan(
            warp=None if warp == Warp() else warp,
            shift=tuple(self._points(stream) for _ in range(channels)) if happens(self.shift_p) else (),
            bias=tuple(_floats(stream.uniform(*self.bias, terms)) for _ in range(channels))
            if happens(self.bias_p)
            else (),
            gamma=_floats(stream.uniform(*self.contrast, channels)) if happens(self.contrast_p) else (),
            mirror=self._mirror(stream),
            noise=(float(stream.uniform(0, self.noise_sd)), seed_of(stream)) if happens(self.noise_p) else None,
        )

    @torch.no_grad()
    def apply(self, batch: Batch, plans: Sequence[RealPlan]) -> Batch:
        """Do what the plans say, on the device the tensors lie on; a pure function of its arguments.

        Args:
            batch: maps (B, C, X, Y, Z), changed in place where their memory runs along x first, as the store's does.
            plans: one for each sample.
        """
        kinds = kinds_of(batch)
        volumes = {key: z_first(batch[key]) for key in kinds}
        with torch.autocast(volumes["image"].device.type, enabled=False):  # grey values and positions are float32
            for index, plan in enumerate(plans):
                self._apply({key: volume[index] for key, volume in volumes.items()}, kinds, plan)
        return {**batch, **{key: value.permute(0, 1, 4, 3, 2) for key, value in volumes.items()}}

    def _apply(self, sample: Boxes, kinds: Mapping[str, Kind], plan: RealPlan) -> None:
        if plan.warp is not None:
            move_alone(sample, kinds, plan.warp)
        for index, channel in enumerate(sample["image"]):
            self._change_values(channel, plan, index)
        if plan.mirror:
            axes = ["zyx".index(axis) + 1 for axis in plan.mirror]
            for value in sample.values():
                value.copy_(value.flip(axes))
        if plan.noise is not None:
            noise_(sample["image"], *plan.noise)

    def _change_values(self, channel: Tensor, plan: RealPlan, index: int) -> None:
        channel.copy_(equalised(channel))
        if plan.shift:
            histogram_shift_(channel, plan.shift[index])
        if plan.bias:
            bias_(channel, plan.bias[index], self.bias_degree)
        if plan.gamma:
            gamma_(channel, plan.gamma[index], keep_moments=False)
        zscore_(channel)

    def _drawn_warp(self, stream: np.random.Generator) -> Warp:
        angles = np.radians(stream.uniform(-self.rotation, self.rotation, 3))
        shear = np.eye(3)
        shear[np.triu_indices(3, 1)] = stream.uniform(-self.shear, self.shear, 3)
        zoom = np.diag(stream.uniform(1 - self.zoom, 1 + self.zoom, 3))
        sigma, magnitude = float(stream.uniform(*self.elastic_sigma)), float(stream.uniform(*self.elastic_magnitude))
        seed = seed_of(stream)
        elastic = Elastic((sigma,) * 3, (0.0,) * 3, seed, magnitude) if magnitude else None
        return Warp.of(rotation_matrix(angles) @ shear @ zoom, elastic)

    def _points(self, stream: np.random.Generator) -> tuple[float, ...]:
        """Ends of equal parts of a range; each inner one between its new left and its old right neighbour."""
        points = np.linspace(0, 1, self.control_points)
        for place in range(1, self.control_points - 1):
            points[place] = stream.uniform(points[place - 1], points[place + 1])
        return _floats(points)

    def _mirror(self, stream: np.random.Generator) -> str:
        """The axes that are flipped an odd number of times."""
        flipped = [False] * 3
        for _ in range(self.flip_rounds):
            happens, axis = stream.random() < self.flip_p, int(stream.integers(3))
            flipped[axis] ^= bool(happens)
        return "".join(axis for axis, odd in zip("xyz", flipped, strict=True) if odd)


def _floats(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _refuse(name: str, found: object, expected: str) -> None:
    raise ConfigError(f"view.augment.{name}", found=str(found), expected=expected, remedy="correct it in conf/augment")
