"""A sample's maps read at the positions of a warp, each by its kind. Knows tensors and kinds; draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor
from torch.nn.functional import pad

from strokelab.augment.interpolation import Positions, corner_bits, cubic, linear, linear_mask, nearest
from strokelab.augment.warp import Warp, sampling_positions
from strokelab.contract import Kind

Boxes = dict[str, Tensor]
"""Maps by name, (C, ...)."""
TAPS = {"linear": 2, "cubic": 4}
"""Source voxels of one sample along an axis, by the interpolation of images."""
_MARGIN = 2  # voxels around a padded sample: linear interpolation of anything beyond them reads nothing else


def z_first(batch: Tensor) -> Tensor:
    """(B, C, X, Y, Z) as dense (B, C, Z, Y, X); a view where x runs fastest in memory already."""
    return batch.permute(0, 1, 4, 3, 2).contiguous()


def seed_of(stream: np.random.Generator) -> int:
    """A seed for noise that is made later."""
    return int(stream.integers(2**63))


def move(
    sample: Boxes,
    kinds: Mapping[str, Kind],
    source: Boxes,
    warp: Warp,
    *,
    interpolation: str = "linear",
    clamped: bool = False,
) -> None:
    """Write a warped source into a sample, in place.

    Args:
        sample: maps (C, Z, Y, X).
        kinds: of the maps.
        source: the same maps in a box concentric with the sample, dense.
        warp: where the sample is read.
        interpolation: of images, a key of ``TAPS``. Masks and fractions are linear, labels nearest.
        clamped: bring positions beyond the box to its border; else the box must hold them all (``Warp.source``).
    """
    readers: dict[Kind, Callable[[Tensor, Positions], Tensor]] = {
        "intensity": cubic if interpolation == "cubic" else linear,
        "fraction": linear,
        "label": nearest,
        "mask": linear_mask,
    }
    # A mask's corners are packed once; all else is read as it lies.
    flat = {
        key: [corner_bits(channel) if kind == "mask" else channel.flatten() for channel in source[key]]
        for key, kind in kinds.items()
    }
    image = sample["image"]
    patch, reach = _size(image), _size(source["image"])
    for part, coordinates in sampling_positions(warp, patch, reach, image.device):
        if clamped:  # the upper neighbour of each sample must exist, too
            for coordinate, side in zip(coordinates, reach, strict=True):
                coordinate.clamp_(0, side - 2)
        at = Positions.of(coordinates, reach)
        for key, kind in kinds.items():
            for channel, values in zip(sample[key], flat[key], strict=True):
                channel[part] = readers[kind](values, at).view_as(channel[part])


def move_alone(sample: Boxes, kinds: Mapping[str, Kind], warp: Warp) -> None:
    """Warp a sample that is all there is: beyond it images are as dark as its darkest voxel, other maps 0. In place.

    The darkest voxel stands for raw 0, which is 0 in no normalised image: outside a z-scored one 0 would be its mean.

    Args:
        sample: maps (C, Z, Y, X).
        kinds: of the maps.
        warp: where it is read.
    """
    source = {}
    for key, value in sample.items():
        outside = value.amin(dim=(1, 2, 3), keepdim=True) if kinds[key] == "intensity" else None
        around = pad(value if outside is None else value - outside, [_MARGIN] * 6)
        source[key] = around if outside is None else around + outside
    move(sample, kinds, source, warp, clamped=True)


def _size(maps: Tensor) -> tuple[int, int, int]:
    z, y, x = maps.shape[-3:]
    return x, y, z
