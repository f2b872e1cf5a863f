"""One synthetic sample from tissue maps and a lesion outline (Chalcroft 2024, SynthStroke, sections 3 to 5).

Everything random is sampled before anything is computed, except white noise, whose seed is sampled. Only what the crop
keeps is computed: the maps are read once, through one coordinate field, at the voxels of the crop and as many around it
as blur and low resolution reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.synthesis.anatomy_rows import Rows, cut, extent, offset_of, united
from strokelab.synthesis.appearance import Appearance, Look, Size
from strokelab.synthesis.axis_products import Box
from strokelab.synthesis.deformation import Deformation, Warp
from strokelab.synthesis.fields import Floats, checked
from strokelab.synthesis.lesion_paste import LesionPaste, grown
from strokelab.synthesis.rendering import Content, rendered
from strokelab.synthesis.skull_strip import SkullStrip, Strip

_IDENTITY = Warp(np.eye(3), np.zeros(3))


@dataclass(frozen=True)
class Plan:
    """All that was sampled for one sample: plain data, small enough to travel between processes.

    Args:
        size: voxels of the crop.
        channels: of the generator, without the lesion.
        fading: of the lesion; None = none.
        warp: of generator and target; None = none.
        looks: one for each image.
        crops: first voxels of the crop; each further one replaces the one before where that has too little lesion.
        strip: skull stripping; None = none.
        flips: whether x, y and z are flipped.
    """

    size: Size
    channels: int
    fading: Floats | None
    warp: Warp | None
    looks: tuple[Look, ...]
    crops: tuple[Size, ...]
    strip: Strip | None
    flips: tuple[bool, bool, bool]


@dataclass(frozen=True)
class Made:
    """One sample.

    Args:
        image: (images, X, Y, Z) float32, 0..1, before any z-score.
        target: (tissues + 2, X, Y, Z) float32: background, tissues, lesion; sums to 1.
        lesion: (1, X, Y, Z) uint8: where the target's lesion is at least a half.
        brain: (1, X, Y, Z) uint8: the warped brain mask.
    """

    image: Tensor
    target: Tensor
    lesion: Tensor
    brain: Tensor


@buildable(training="data", most={"grid": 512, "flip_rounds": 20}, least={"grid": 32})
@dataclass(frozen=True, kw_only=True)
class Generator:
    """The generator of SynthStroke; the defaults are the paper's.

    Args:
        grid: voxels (x, y, z) of the grid that maps and lesions are laid on, centre on centre.
        paste: soft edge, fading, target.
        deformation: affine and elastic.
        deformation_p: share of samples that are deformed.
        appearance: intensities and corruptions.
        strip: skull stripping.
        least_lesion: a crop with fewer voxels of lesion than this is sampled again ...
        again_p: ... with this probability.
        flip_rounds: rounds of flipping ...
        flip_p: ... each of which, with this probability, flips one axis, chosen uniformly.

    Raises:
        ConfigError: a number beyond its limits.
    """

    grid: Size = (256, 256, 256)
    paste: LesionPaste = field(default_factory=LesionPaste)
    deformation: Deformation = field(default_factory=Deformation)
    deformation_p: float = 1.0
    appearance: Appearance = field(default_factory=Appearance)
    strip: SkullStrip = field(default_factory=SkullStrip)
    least_lesion: int = 10
    again_p: float = 0.5
    flip_rounds: int = 3
    flip_p: float = 0.8

    def __post_init__(self) -> None:
        checked(self, least=0, most=1, names=("deformation_p", "flip_p"))
        checked(self, least=0, most=0.99, names=("again_p",))
        checked(self, least=0, most=20, names=("flip_rounds",))
        checked(self, least=0, names=("least_lesion",))
        self._check_size("grid", self.grid, 512)
        object.__setattr__(self, "grid", tuple(int(side) for side in self.grid))

    def _check_size(self, name: str, size: Size, most: int | Size) -> None:
        limits = (most,) * 3 if isinstance(most, int) else most
        if len(size) != 3 or not all(2 <= int(side) <= limit for side, limit in zip(size, limits, strict=True)):
            raise ConfigError(
                f"Generator.{name}",
                found=" x ".join(str(side) for side in size),
                expected=f"three sides of 2 to {' x '.join(str(limit) for limit in limits)} voxels",
                remedy="choose a smaller crop, or a larger grid",
            )

    def sampled(self, stream: np.random.Generator, *, size: Size, images: int = 1, channels: int) -> Plan:
        """Everything random of one sample, but for the voxels of white noise.

        Args:
            stream: the sample's own.
            size: voxels (x, y, z) of the crop.
            images: of the same anatomy, each with a look of its own.
            channels: of the generator: tissues and further maps, without the lesion.

        Raises:
            ConfigError: the crop does not fit into the grid.
        """
        self._check_size("size", size, self.grid)
        fading = self.paste.sampled(stream)
        deformed = stream.random() < self.deformation_p
        warp = self.deformation.sampled(stream)
        looks = tuple(self.appearance.sampled(stream, channels + 1) for _ in range(images))
        crops = [self._crop(stream, size)]
        while stream.random() < self.again_p:
            crops.append(self._crop(stream, size))
        strip = self.strip.sampled(stream)
        flipped = [False] * 3
        for _ in range(self.flip_rounds):
            happens, axis = stream.random() < self.flip_p, int(stream.integers(3))
            flipped[axis] ^= bool(happens)
        return Plan(
            size=(int(size[0]), int(size[1]), int(size[2])),
            channels=channels,
            fading=fading,
            warp=warp if deformed else None,
            looks=looks,
            crops=tuple(crops),
            strip=strip,
            flips=(flipped[0], flipped[1], flipped[2]),
        )

    def _crop(self, stream: np.random.Generator, size: Size) -> Size:
        x, y, z = (
            int(stream.integers(whole - side, endpoint=True)) for whole, side in zip(self.grid, size, strict=True)
        )
        return x, y, z

    @torch.no_grad()
    def made(self, maps: Tensor, brain: Tensor, lesion: Tensor, plan: Plan, *, tissues: int = 4) -> Made:
        """Do what a plan says, on the device of the maps; the same plan gives the same sample, on a CPU bit for bit.

        Args:
            maps: (N, X, Y, Z) float32, fractions of tissues and then of further classes; none negative.
            brain: (X, Y, Z), inside where above a half.
            lesion: (X, Y, Z), inside where above a half.
            plan: of ``sampled``.
            tissues: how many of the maps are tissues of the target; the others are background there.

        Raises:
            ValueError: maps, brain and lesion differ in shape, or the plan is for another number of maps.
        """
        shape = tuple(maps.shape[1:])
        if not shape == tuple(brain.shape) == tuple(lesion.shape) or len(maps) != plan.channels or tissues > len(maps):
            found = f"maps {tuple(maps.shape)}, brain {tuple(brain.shape)}, lesion {tuple(lesion.shape)}"
            raise ValueError(f"{found}, {tissues} tissues: the plan is for {plan.channels} maps of one shape")
        with torch.autocast(maps.device.type, enabled=False):
            rows = self._rows(maps, brain > 0.5, lesion > 0.5, plan.fading, tissues)
            return self._sample(rows, plan, tissues)

    def _rows(self, maps: Tensor, brain: Tensor, lesion: Tensor, fading: Floats | None, tissues: int) -> Rows:
        """Generator, target and brain, side by side: maps, lesion | tissues, lesion | brain."""
        content = brain.clone()
        for channel in maps:
            content |= channel != 0
        spot = self._on_grid(extent(lesion), lesion)
        if spot is not None:
            spot = grown(spot, self.paste.reach, self.grid)
        box = united(self._on_grid(extent(content), lesion), spot) or ((0, 1), (0, 1), (0, 1))
        opacity = torch.zeros([high - low for low, high in box], device=maps.device)
        if spot is not None:
            mask = cut(lesion, self.grid, spot)
            within = tuple(slice(a - b, c - b) for (a, c), (b, _) in zip(spot, box, strict=True))
            opacity[within] = self.paste.opacity(mask, fading, self.grid, spot)
        inside = cut(brain, self.grid, box)
        smooth = self.paste.smoothed_brain(inside, self.grid, box)
        content = cut(content, self.grid, box) | (opacity > 0)
        weight = opacity[content]
        values = torch.empty(len(weight), len(maps) + tissues + 3, device=maps.device)
        pasted = torch.stack([cut(channel, self.grid, box)[content] for channel in maps]) * (1 - weight)
        target, struck = self.paste.target(pasted[:tissues], weight, smooth[content])
        values[:, : len(maps)] = pasted.T
        values[:, len(maps)] = weight
        values[:, len(maps) + 1 : -2] = target.T
        values[:, -2], values[:, -1] = struck, inside[content]
        return Rows.of(content, values, box)

    def _on_grid(self, box: Box | None, like: Tensor) -> Box | None:
        """A box of a volume as a box of the grid, without what lies beyond that; None where nothing is left."""
        if box is None:
            return None
        spans = []
        for (low, high), whole, side in zip(box, self.grid, like.shape, strict=True):
            first = offset_of(side, whole)
            spans.append((max(0, low + first), min(whole, high + first)))
        return None if any(low >= high for low, high in spans) else (spans[0], spans[1], spans[2])

    def _sample(self, rows: Rows, plan: Plan, tissues: int) -> Made:
        warp = plan.warp or _IDENTITY
        crop = self._chosen_crop(rows, plan, warp)
        axes = [look.axes(self.grid, crop) for look in plan.looks]
        box = crop
        for each in axes:
            box = united(box, (each[0].box, each[1].box, each[2].box)) or box
        content, rest = self._read(rows, warp, box, plan.channels + 1)
        images = []
        for look, each in zip(plan.looks, axes, strict=True):
            images.append(rendered(self.appearance, look, content, each, self.grid, crop))
        target, brain = _target(content, rest, crop, tissues)
        image = torch.stack(images)
        if plan.strip is not None:
            kept = self.strip.mask(brain, plan.strip)
            image *= kept
            target *= kept
            target[0] += ~kept
        axes_flipped = [axis - 3 for axis in range(3) if plan.flips[axis]]
        image, target, brain = (volume.flip(axes_flipped) for volume in (image, target, brain))
        lesion = (target[-1:] >= 0.5).to(torch.uint8)
        return Made(image, target, lesion, brain[None].to(torch.uint8))

    def _chosen_crop(self, rows: Rows, plan: Plan, warp: Warp) -> Box:
        """The first crop with enough lesion, else the last."""
        for corner in plan.crops:
            x, y, z = ((low, low + side) for low, side in zip(corner, plan.size, strict=True))
            crop: Box = (x, y, z)
            if corner == plan.crops[-1] or not bool(rows.values[:, -2].any()):
                continue
            _, rest = self._read(rows, warp, crop, plan.channels + 1)
            if int((rest[:, -2] >= 0.5).sum()) >= self.least_lesion:
                break
        return crop

    def _read(self, rows: Rows, warp: Warp, box: Box, channels: int) -> tuple[Content, Tensor]:
        """What lies in a box after warping: the generator's channels, and target and brain."""
        positions = warp.positions(self.grid, box, rows.values.device)
        voxels = rows.reached(positions)
        at = positions.flatten(1)[:, voxels]
        values = torch.empty(len(voxels), rows.values.shape[1], device=at.device)
        for part, found in rows.read(at):
            values[part] = found
        return Content(box, voxels, values[:, :channels]), values[:, channels:]


def _target(content: Content, rest: Tensor, crop: Box, tissues: int) -> tuple[Tensor, Tensor]:
    """Target (background, tissues, lesion) and brain mask of the crop, from those voxels of a larger box."""
    size = [high - low for low, high in crop]
    rows = torch.arange(len(rest), device=rest.device)
    places = [
        place + low - first for place, (low, _), (first, _) in zip(content.places(rows), content.box, crop, strict=True)
    ]
    inside = torch.ones_like(rows, dtype=torch.bool)
    for place, side in zip(places, size, strict=True):
        inside &= (place >= 0) & (place < side)
    voxels = ((places[0] * size[1] + places[1]) * size[2] + places[2])[inside]
    values = rest[inside].T
    target = torch.zeros(tissues + 2, math.prod(size), device=rest.device)
    target[0] = 1
    target[0, voxels] = (1 - values[:-1].sum(0)).clamp_(0, 1)
    target[1:, voxels] = values[:-1].clamp(0, 1)
    brain = torch.zeros(math.prod(size), dtype=torch.bool, device=rest.device)
    brain[voxels] = values[-1] > 0.5
    return target.view(-1, *size), brain.view(*size)
