"""A volume of weighted scores that grows window by window, in float32. Knows tensors and devices; knows no predictor.

Memory: K + 1 float32 numbers per voxel of the volume in the worst moment, K afterwards; there is no second volume of
weights, since the weights come normalised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelab.errors import ConfigError

Accumulate = Literal["auto", "device", "host"]
SHARE = 0.5
"""Of a device's free memory, what one volume may take: the rest is the network's."""


def check_accumulate(accumulate: str) -> None:
    """One of the three words.

    Raises:
        ConfigError: it is none of them.
    """
    if accumulate not in get_args(Accumulate):
        raise ConfigError(
            "view.windows.accumulate",
            found=repr(accumulate),
            expected=f"one of {', '.join(get_args(Accumulate))}",
            remedy="leave it at auto",
        )


def free_bytes(device: torch.device) -> int | None:
    """Memory of an accelerator that a new tensor could have; None for the CPU, whose memory is the host's anyway."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch holds it, for tensors
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return None


def home_of(numbers: int, device: torch.device, accumulate: Accumulate = "auto") -> torch.device:
    """Where a volume of so many float32 numbers should lie.

    Args:
        numbers: of the whole volume, all channels.
        device: where the network computes.
        accumulate: ``device`` or ``host`` are obeyed; ``auto`` is the device where it has twice the room.
    """
    free = free_bytes(device) if accumulate == "auto" else None
    too_large = free is not None and 4 * numbers > SHARE * free
    return torch.device("cpu") if accumulate == "host" or too_large else device


class WeightedSum:
    """Sum of ``weight * scores`` over boxes of a volume, (K, X, Y, Z) float32.

    Args:
        shape: (K, X, Y, Z).
        device: where it lies; scores of another device are brought there, box by box.
    """

    def __init__(self, shape: Sequence[int], device: torch.device) -> None:
        self.total = torch.zeros(tuple(shape), dtype=torch.float32, device=device)

    def add(self, scores: Tensor, weight: Tensor, start: Sequence[int]) -> None:
        """Add the scores (K, *S) of one box, times ``weight`` (*S), from voxel ``start`` on."""
        x, y, z = (slice(first, first + side) for first, side in zip(start, weight.shape, strict=True))
        self.total[:, x, y, z].addcmul_(scores.to(self.total.device, torch.float32), weight)


def scan_on(
    device: torch.device | str, image: NDArray[np.generic] | Tensor, brain: NDArray[np.generic] | Tensor
) -> tuple[Tensor, Tensor]:
    """A scan where windows are cut from it: with the network, or in main memory where there is too little room.

    Args:
        device: where the network computes.
        image: (C, X, Y, Z).
        brain: (X, Y, Z), non-zero = brain.

    Returns:
        Image float32 and brain bool, both in one place; both copies of a memory map.
    """
    home = home_of(math.prod(image.shape) + math.prod(brain.shape), torch.device(device))
    return as_tensor(image, torch.float32).to(home), as_tensor(brain, torch.bool).to(home)


def volume_and_brain(image: NDArray[np.generic] | Tensor, brain: NDArray[np.generic] | Tensor) -> tuple[Tensor, Tensor]:
    """What windows are cut from.

    Args:
        image: (C, X, Y, Z).
        brain: (X, Y, Z), non-zero = brain.

    Returns:
        Image float32 and brain bool.

    Raises:
        ValueError: they do not have one shape.
    """
    volume, mask = as_tensor(image, torch.float32), as_tensor(brain, torch.bool)
    if volume.ndim != 4 or volume.shape[1:] != mask.shape:
        raise ValueError(f"image {tuple(volume.shape)} and brain {tuple(mask.shape)}: expected (C, X, Y, Z), (X, Y, Z)")
    return volume, mask


def as_tensor(array: NDArray[np.generic] | Tensor, kind: torch.dtype) -> Tensor:
    """A tensor of ``kind``; read-only memory maps are copied, since torch must own what it reads."""
    if isinstance(array, Tensor):
        return array.to(kind)
    return torch.from_numpy(np.array(array)).to(kind)
