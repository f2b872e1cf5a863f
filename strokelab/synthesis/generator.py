"""One synthetic sample from tissue maps and a lesion outline (Chalcroft 2024, SynthStroke, sections 3 to 5).

Everything random is sampled before anything is computed, except white noise, whose seed is sampled. Only what the crop
keeps is computed: the maps are read once, through one coordinate field, at the voxels of the crop and as many around it
as blur and low resolution reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.synthesis.anatomy_rows import (
    Rows,
    extent,
    flat_in,
    flat_nonzero,
    grown,
    offset_of,
    places,
    shifted,
    united,
)
from strokelab.synthesis.appearance import Appearance, Axis, Look
from strokelab.synthesis.axis_products import Box
from strokelab.synthesis.deformation import Deformation, Warp
from strokelab.synthesis.fields import Floats, Size, checked
from strokelab.synthesis.lesion_paste import LesionPaste
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
            ValueError: the maps, brain and lesion differ in shape, or the plan is for another number of maps.
        """
        shape = tuple(maps.shape[1:])
        if not shape == tuple(brain.shape) == tuple(lesion.shape) or len(maps) != plan.channels or tissues > len(maps):
            found = f"maps {tuple(maps.shape)}, brain {tuple(brain.shape)}, lesion {tuple(lesion.shape)}"
            raise ValueError(f"{found}, {tissues} tissues: the plan is for {plan.channels} maps of one shape")
        with torch.autocast(maps.device.type, enabled=False), _one_thread(maps.device):
            rows = self._rows(*self._placed(maps, brain > 0.5, lesion > 0.5), plan.fading, tissues)
            return self._sample(rows, plan, tissues)

    def _placed(self, maps: Tensor, brain: Tensor, lesion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Without what lies beyond the grid, and with room for the lesion's soft edge as far as the grid has it."""
        margins: list[int] = []
        for side, whole in zip(lesion.shape, self.grid, strict=True):
            room = min(self.paste.reach, (whole - side) // 2) if side <= whole else 0
            before = -offset_of(side, whole) if side > whole else -room
            margins = [-before, whole - side + before if side > whole else room, *margins]
        needed = any(margin < 0 for margin in margins)
        if not needed and any(margins):
            spot = flat_nonzero(lesion)
            box = extent(places(spot, lesion.shape)) if len(spot) else None
            needed = box is not None and any(
                low < self.paste.reach or high > side - self.paste.reach
                for (low, high), side in zip(box, lesion.shape, strict=True)
            )
        if not needed:
            return maps, brain, lesion
        return pad(maps, margins), pad(brain, margins), pad(lesion, margins)

    def _rows(self, maps: Tensor, brain: Tensor, lesion: Tensor, fading: Floats | None, tissues: int) -> Rows:
        """Generator, target and brain, side by side: maps, lesion | tissues, lesion | brain."""
        shape = lesion.shape
        spot = flat_nonzero(lesion)
        spot_box = grown(extent(places(spot, shape)), self.paste.reach, shape) if len(spot) else None
        content = brain.clone()
        for channel in maps:
            content |= channel != 0
        opacity: Tensor | None = None
        if spot_box is not None:
            x, y, z = (slice(*span) for span in spot_box)
            on_grid = shifted(spot_box, self._offset(shape))
            opacity = self.paste.opacity(lesion[x, y, z], fading, self.grid, on_grid)
            content[x, y, z] |= opacity > 0
        voxels = flat_nonzero(content)
        values = torch.zeros(len(maps) + tissues + 3, 1 + len(voxels), device=maps.device)
        if not len(voxels):
            return Rows.of(places(voxels, shape), ((0, 1),) * 3, values.T)
        at = places(voxels, shape)
        box = extent(at)
        generator, target, inside = values[: len(maps) + 1, 1:], values[len(maps) + 1 : -1, 1:], values[-1, 1:]
        for channel, row in zip(maps, generator, strict=False):
            torch.index_select(channel.reshape(-1), 0, voxels, out=row)
        if opacity is not None and spot_box is not None:
            _paste_(generator, opacity, at, spot_box)
        x, y, z = (slice(*span) for span in box)
        smooth = self.paste.smoothed_brain(brain[x, y, z]).view(-1).index_select(0, flat_in(at, box))
        inside.copy_(brain.reshape(-1).index_select(0, voxels))
        target[:-1], target[-1] = self.paste.target(generator[:tissues], generator[-1], smooth)
        first = self._offset(shape)
        moved = at + torch.tensor(first, dtype=at.dtype, device=at.device)[:, None]
        return Rows.of(moved, shifted(box, first), values.T.contiguous())

    def _offset(self, shape: Sequence[int]) -> Size:
        """Where the first voxel of a volume lies on the grid."""
        x, y, z = (offset_of(side, whole) for side, whole in zip(shape, self.grid, strict=True))
        return x, y, z

    def _sample(self, rows: Rows, plan: Plan, tissues: int) -> Made:
        crops = plan.crops if bool(rows.values[:, -2].any()) else plan.crops[-1:]
        for number, corner in enumerate(crops, start=1):
            x, y, z = ((low, low + side) for low, side in zip(corner, plan.size, strict=True))
            crop: Box = (x, y, z)
            axes = [look.axes(self.grid, crop) for look in plan.looks]
            content, rest = self._read(rows, plan, crop, axes)
            target, brain = _target(content, rest, crop, tissues, plan.flips)
            lesion = target[-1:] >= 0.5
            if number == len(crops) or int(lesion.sum()) >= self.least_lesion:
                break
        image = torch.stack(
            [
                rendered(self.appearance, look, content, each, self.grid)
                for look, each in zip(plan.looks, axes, strict=True)
            ]
        )
        if any(plan.flips):
            image = image.flip([axis - 3 for axis in range(3) if plan.flips[axis]])
        if plan.strip is not None:
            kept = self.strip.mask(brain, plan.strip)
            image *= kept
            target *= kept
            target[0] += ~kept
            lesion &= kept
        return Made(image, target, lesion.view(torch.uint8), brain[None].view(torch.uint8))

    def _read(self, rows: Rows, plan: Plan, crop: Box, axes: list[list[Axis]]) -> tuple[Content, Tensor]:
        """What lies in the crop and around it after warping: generator, and target and brain (maps, N)."""
        box = crop
        for x, y, z in axes:
            box = united(box, (x.box, y.box, z.box))
        positions = (plan.warp or _IDENTITY).positions(self.grid, box, rows.low, rows.values.device)
        voxels, values = rows.read(positions)
        channels = plan.channels + 1
        return Content(box, voxels, places(voxels, positions.shape[1:]), values[:channels]), values[channels:]


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """The last bits of matrix products depend on the number of threads: on a CPU it is one."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _paste_(generator: Tensor, opacity: Tensor, at: Tensor, box: Box) -> None:
    """Opacity (X, Y, Z) of a box goes into the last channel (C, N), and the others are thinned by it."""
    inside = torch.ones(at.shape[1], dtype=torch.bool, device=at.device)
    for place, (low, high) in zip(at, box, strict=True):
        inside &= (place >= low) & (place < high)
    rows = flat_nonzero(inside)
    weight = opacity.flatten().index_select(0, flat_in(at.index_select(1, rows), box))
    generator[-1, rows] = weight
    generator[:-1, rows] *= 1 - weight


def _target(
    content: Content, rest: Tensor, crop: Box, tissues: int, flips: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor]:
    """Target (background, tissues, lesion) and brain mask of the flipped crop, from those voxels of a larger box."""
    x, y, z = size = [high - low for low, high in crop]
    corner = torch.tensor([low - first for (low, _), (first, _) in zip(crop, content.box, strict=True)])
    at, values = content.at - corner.to(content.at)[:, None], rest
    if content.box != crop:
        inside = torch.ones(at.shape[1], dtype=torch.bool, device=at.device)
        for place, side in zip(at, size, strict=True):
            inside &= (place >= 0) & (place < side)
        rows = flat_nonzero(inside)
        at, values = at.index_select(1, rows), values.index_select(1, rows)
    for place, side, flipped in zip(at, size, flips, strict=True):
        if flipped:
            place.neg_().add_(side - 1)
    voxels = flat_in(at, ((0, x), (0, y), (0, z))).long()
    values = values.clamp_(0, 1)
    target = torch.zeros(tissues + 2, x, y, z, device=rest.device)
    target[0] = 1
    target[0].view(-1)[voxels] = (1 - values[:-1].sum(0)).clamp_(0, 1)
    for channel, found in zip(target[1:], values, strict=False):
        channel.view(-1)[voxels] = found
    brain = torch.zeros(size, dtype=torch.bool, device=rest.device)
    brain.view(-1)[voxels] = values[-1] > 0.5
    return target, brain
