"""nnU-Net's augmentation in two phases: draw everything, then apply. Knows patches and streams; knows no files.

Steps, order and ranges: Isensee 2021; as MAPPING uses them: Huo 2022. Drawing comes first so that the reader knows
which box a patch needs: patches that neither rotate nor zoom nor deform are read at their own size and never
interpolated. A slice is a patch of one voxel along z that moves in its plane; beyond it nothing is read, its border is
repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from strokelab.augment.axis_filters import blur, low_resolution
from strokelab.augment.intensity import contrast_, gamma_, half_and_half, noise_
from strokelab.augment.moving import TAPS, Boxes, move, seed_of, z_first
from strokelab.augment.patch_plan import PatchPlan, PerChannel
from strokelab.augment.warp import Elastic, Warp, rotation_matrix
from strokelab.buildable import buildable
from strokelab.contract import Batch, Kind, kinds_of
from strokelab.errors import ConfigError

Range = tuple[float, float]
Size = tuple[int, int, int]


@buildable(training="view", most={"zoom": 2, "elastic_scale": 0.5, "elastic_shift": 1})
@dataclass(frozen=True, kw_only=True)
class NNUNetAugmentation:
    """nnU-Net's random changes of 3D patches and of slices; the defaults are its standard set.

    Every ``..._p`` is a share of samples. Ranges around 1 marked (*) are sampled half below and half above 1.

    Args:
        elastic_p: deformation by smoothed noise.
        elastic_scale: its smoothness, standard deviation in shares of the patch's sides.
        elastic_shift: its largest shift along each axis, in shares of that standard deviation.
        rotation_p: rotation about all three axes; of slices in their plane.
        rotation: largest angle, degrees, either way.
        zoom_p: scaling.
        zoom: range (*) of its factor on coordinates: above 1 the head appears smaller.
        zoom_per_axis_p: share of the scaled samples with a factor of its own for each axis.
        noise_p: Gaussian noise.
        noise_sd: its largest standard deviation, model units.
        blur_p: Gaussian blur.
        blur_channel_p: share of channels of such samples, here and in ``low_resolution_channel_p``.
        blur_sd: range of its standard deviation, voxels.
        brightness_p: multiplication.
        brightness: range of its factor.
        contrast_p: stretching about the mean, clipped to the old range.
        contrast: range (*) of its factor.
        low_resolution_p: down by nearest neighbour and up again by cubic convolution.
        low_resolution_channel_p: see ``blur_channel_p``.
        low_resolution: range of the share of the sides that is kept.
        gamma_inverted_p: gamma of the negated image; mean and standard deviation stay.
        gamma_inverted: range (*) of its exponent.
        shift_p: addition.
        shift_sd: standard deviation of what is added, model units.
        gamma_p: gamma; mean and standard deviation stay.
        gamma: range (*) of its exponent.
        mirror_p: for each axis of ``mirror``.
        mirror: axes, e.g. ``"xyz"``.
        interpolation: of images, ``"linear"`` (nnU-Net v2) or ``"cubic"`` (v1; several times the time). Masks are
            always linear.
        keep_midline: the mid-sagittal plane stays the patch's middle (for models that split hemispheres): rotation
            about x alone (slices: none), no elastic deformation.
        normalize: of the preparation, one rule or one for each channel; with ``"zscore_nonzero"`` voxels that are 0 in
            all channels after the change of place are 0 again at the end.

    Raises:
        ConfigError: a probability outside 0..1, a range in the wrong order, an unknown axis or interpolation.
    """

    elastic_p: float = 0.0
    elastic_scale: Range = (0.0, 0.25)
    elastic_shift: Range = (0.125, 0.5)
    rotation_p: float = 0.2
    rotation: float = 30.0
    zoom_p: float = 0.2
    zoom: Range = (0.7, 1.4)
    zoom_per_axis_p: float = 0.0
    noise_p: float = 0.1
    noise_sd: float = 0.1
    blur_p: float = 0.2
    blur_channel_p: float = 0.5
    blur_sd: Range = (0.5, 1.0)
    brightness_p: float = 0.15
    brightness: Range = (0.75, 1.25)
    contrast_p: float = 0.15
    contrast: Range = (0.75, 1.25)
    low_resolution_p: float = 0.25
    low_resolution_channel_p: float = 0.5
    low_resolution: Range = (0.5, 1.0)
    gamma_inverted_p: float = 0.1
    gamma_inverted: Range = (0.7, 1.5)
    shift_p: float = 0.0
    shift_sd: float = 0.2
    gamma_p: float = 0.3
    gamma: Range = (0.7, 1.5)
    mirror_p: float = 0.5
    mirror: str = "xyz"
    interpolation: str = "linear"
    keep_midline: bool = False
    normalize: str | Mapping[str, str] = "zscore_volume"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_p") and not 0 <= value <= 1:
                _refuse(name, value, "a probability, 0 to 1")
            if isinstance(value, Sequence) and not isinstance(value, str) and not 0 <= value[0] <= value[1]:
                _refuse(name, list(value), "two numbers from 0 on, the smaller one first")
        for name in ("zoom", "contrast", "gamma_inverted", "gamma"):
            low, high = getattr(self, name)
            if not 0 < low <= 1 <= high:
                _refuse(name, [low, high], "a range around 1, above 0")
        if not set(self.mirror) <= set("xyz"):
            _refuse("mirror", self.mirror, "some of the letters x, y and z")
        if self.interpolation not in TAPS:
            _refuse("interpolation", self.interpolation, "linear or cubic")

    @property
    def keeps_midline(self) -> bool:
        """Whether the mid-sagittal plane stays the patch's middle in every sample."""
        return self.keep_midline or not (self.rotation_p or self.elastic_p)

    @property
    def pure(self) -> bool:
        """True: the plan decides everything, on any device and in any thread."""
        return True

    def draw(self, stream: np.random.Generator, channels: int, patch: Sequence[int]) -> PatchPlan:
        """Everything that happens to one sample.

        Args:
            stream: the sample's own.
            channels: of the image.
            patch: voxels (x, y, z).
        """
        size = (int(patch[0]), int(patch[1]), int(patch[2]))
        warp = self._draw_warp(stream, size)

        def happens(p: float) -> bool:
            return bool(stream.random() < p)

        def each(values: Sequence[float], p: float = 1.0) -> PerChannel:
            chosen = stream.random(channels) < p
            return tuple((i, float(value)) for i, value in enumerate(values) if chosen[i])

        def uniform(limits: Range) -> list[float]:
            return list(stream.uniform(*limits, channels))

        def around_one(limits: Range) -> list[float]:
            return half_and_half(stream, channels, *limits)

        return PatchPlan(
            patch=size,
            source=size if warp is None or size[2] == 1 else warp.source(size, TAPS[self.interpolation]),
            warp=warp,
            noise=(float(stream.uniform(0, self.noise_sd)), seed_of(stream)) if happens(self.noise_p) else None,
            blur=each(uniform(self.blur_sd), self.blur_channel_p) if happens(self.blur_p) else (),
            brightness=each(uniform(self.brightness)) if happens(self.brightness_p) else (),
            contrast=each(around_one(self.contrast)) if happens(self.contrast_p) else (),
            low_resolution=each(uniform(self.low_resolution), self.low_resolution_channel_p)
            if happens(self.low_resolution_p)
            else (),
            gamma_inverted=each(around_one(self.gamma_inverted)) if happens(self.gamma_inverted_p) else (),
            shift=each(list(stream.normal(0, self.shift_sd, channels))) if happens(self.shift_p) else (),
            gamma=each(around_one(self.gamma)) if happens(self.gamma_p) else (),
            mirror="".join(axis for axis in self.mirror if happens(self.mirror_p)),
        )

    @torch.no_grad()
    def apply(self, batch: Batch, plans: Sequence[PatchPlan]) -> Batch:
        """Do what the plans say, on the device the tensors lie on; a pure function of its arguments.

        Args:
            batch: maps (B, C, X, Y, Z), or slices (B, C, Y, X); changed in place where their memory runs along x
                first, as the store's does. ``sources`` holds, for each sample whose plan reads a larger box,
                {index: {map: (C, *source)}}.
            plans: one for each sample.

        Returns:
            The batch of the contract, without ``sources``.

        Raises:
            ValueError: a sample's box is missing or is not of its plan's size.
        """
        sources, kinds = batch.get("sources") or {}, kinds_of(batch)
        flat = batch["image"].ndim == 4
        volumes = {key: batch[key].unsqueeze(2).contiguous() if flat else z_first(batch[key]) for key in kinds}
        with torch.autocast(volumes["image"].device.type, enabled=False):  # grey values and positions are float32
            for index, plan in enumerate(plans):
                sample = {key: volume[index] for key, volume in volumes.items()}
                self._apply(sample, kinds, sources.get(index), plan, index)
        rest = {key: value for key, value in batch.items() if key != "sources"}
        changed = {key: value.squeeze(2) if flat else value.permute(0, 1, 4, 3, 2) for key, value in volumes.items()}
        return {**rest, **changed}

    def _apply(
        self, sample: Boxes, kinds: Mapping[str, Kind], source: Boxes | None, plan: PatchPlan, index: int
    ) -> None:
        if plan.warp is not None:
            reach = plan.warp.source(plan.patch, TAPS[self.interpolation])
            box = _read(sample, source, plan, reach, index)
            move(sample, kinds, box, plan.warp, interpolation=self.interpolation)
        self._change_values(sample["image"], plan)
        if plan.mirror:
            axes = ["zyx".index(axis) + 1 for axis in plan.mirror]
            for value in sample.values():
                value.copy_(value.flip(axes))

    def _draw_warp(self, stream: np.random.Generator, patch: tuple[int, int, int]) -> Warp | None:
        elastic: Elastic | None = None
        matrix: NDArray[np.float64] = np.eye(3)
        if stream.random() < self.elastic_p:
            scale = stream.uniform(*self.elastic_scale)
            sigma = [float(scale * side) for side in patch]
            shift = [float(stream.uniform(*self.elastic_shift) * sd) for sd in sigma]
            seed = seed_of(stream)
            elastic = Elastic((sigma[0], sigma[1], sigma[2]), (shift[0], shift[1], shift[2]), seed)
        flat = patch[2] == 1
        if stream.random() < self.rotation_p:
            angles = np.radians(stream.uniform(-self.rotation, self.rotation, 3))
            about = (not flat, not (flat or self.keep_midline), not self.keep_midline)
            matrix = rotation_matrix(angles * about)
        if stream.random() < self.zoom_p:
            alike = stream.random() >= self.zoom_per_axis_p
            factors = half_and_half(stream, 3, *self.zoom)
            matrix = np.diag([factors[0]] * 3 if alike else factors) @ matrix
        if self.keep_midline:
            elastic = None
        warp = Warp.of(matrix, elastic)
        return None if warp == Warp() else warp

    def _change_values(self, image: Tensor, plan: PatchPlan) -> None:
        """Steps after the change of place, on (C, Z, Y, X), in place."""
        rules = [self.normalize] if isinstance(self.normalize, str) else [*self.normalize.values()]
        outside = (image == 0).all(0) if "zscore_nonzero" in rules else None
        if plan.noise is not None:
            noise_(image, *plan.noise)
        for channel, sd in plan.blur:
            image[channel] = blur(image[channel], sd)
        for channel, factor in plan.brightness:
            image[channel].mul_(factor)
        for channel, factor in plan.contrast:
            contrast_(image[channel], factor)
        for channel, zoom in plan.low_resolution:
            image[channel] = low_resolution(image[channel], zoom)
        for channel, exponent in plan.gamma_inverted:
            gamma_(image[channel].neg_(), exponent)
            image[channel].neg_()
        for channel, value in plan.shift:
            image[channel].add_(value)
        for channel, exponent in plan.gamma:
            gamma_(image[channel], exponent)
        if outside is not None:
            image.masked_fill_(outside, 0)


def _read(sample: Boxes, source: Boxes | None, plan: PatchPlan, reach: Size, index: int) -> Boxes:
    """The box to interpolate in, memory along x first: what was read for it, or a copy of the patch."""
    if plan.source != reach:  # a slice: nothing is read beyond it
        return {key: _with_border(value, plan.patch, reach) for key, value in sample.items()}
    if source is None:
        if plan.source != plan.patch:
            raise ValueError(f"sample {index}: no source box, its plan needs {plan.source}")
        return {key: value.clone() for key, value in sample.items()}
    found = tuple(source["image"].shape[1:])
    if found != plan.source:
        raise ValueError(f"sample {index}: a source box of {found}, its plan needs {plan.source}")
    return {key: source[key].permute(0, 3, 2, 1).contiguous() for key in sample}


def _with_border(volume: Tensor, patch: Size, reach: Size) -> Tensor:
    """A slice (C, 1, Y, X) in the box (C, Z, Y, X) that its warp reads, its border repeated."""
    margins = [(long - side) // 2 for long, side in zip(reach, patch, strict=True) for _ in range(2)]
    padded = pad(volume[None].float(), margins, mode="replicate")[0]
    return padded.to(volume.dtype).contiguous()


def _refuse(name: str, found: object, expected: str) -> None:
    raise ConfigError(f"view.augment.{name}", found=str(found), expected=expected, remedy="correct it in conf/augment")
