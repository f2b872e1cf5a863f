"""SynthStroke's sections 3 to 5 put together from MONAI's transforms; what MONAI has none for is a line of torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.transforms import (
    FillHoles,
    GaussianSmooth,
    KeepLargestConnectedComponent,
    RandAdjustContrast,
    RandAffine,
    RandFlip,
    RandRicianNoise,
    RandSimulateLowResolution,
    RandSmoothFieldAdjustIntensity,
    RandSpatialCrop,
    ScaleIntensityRangePercentiles,
    SmoothField,
)
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool3d, grid_sample


def composition(maps: Tensor, brain: Tensor, lesion: Tensor, size: int, *, late: bool) -> Callable[[int], Tensor]:
    """A function of the sample's number.

    Args:
        maps: (T, X, Y, Z) float32.
        brain: (X, Y, Z), 0 or 1.
        lesion: (X, Y, Z), 0 or 1.
        size: voxels of the crop's sides.
        late: crop in the listed order, after the corruptions; False: crop as the maps are warped.
    """
    side = maps.shape[1]
    wide = side if late else size
    channels = len(maps) + 1
    affine = RandAffine(
        prob=1.0,
        rotate_range=[np.radians(15)] * 3,
        shear_range=[0.012] * 6,
        scale_range=[0.15] * 3,
        translate_range=[0.1 * side] * 3,
        spatial_size=(wide,) * 3,
        padding_mode="zeros",
        cache_grid=True,
    )
    fade = SmoothField((5, 5, 5), spatial_size=tuple(lesion.shape), low=0.0, high=2.0, mode="trilinear")
    bend = SmoothField((6, 6, 6), spatial_size=(wide,) * 3, low=-0.025, high=0.025, channels=3, mode="trilinear")
    corruptions = [
        RandSmoothFieldAdjustIntensity((wide,) * 3, (5, 5, 5), mode="trilinear", gamma=(0.5, 1.5), prob=1.0),
        RandAdjustContrast(prob=1.0, gamma=(0.5, 2.0)),
        lambda image: GaussianSmooth(float(np.random.uniform(0.1, 3) / 2.355))(image),
        RandSimulateLowResolution(prob=1.0, zoom_range=(0.125, 1.0)),
        RandRicianNoise(prob=1.0, std=0.1, relative=False),
        ScaleIntensityRangePercentiles(1, 99, 0, 1, clip=True),
    ]
    crop = RandSpatialCrop((size,) * 3, random_size=False)
    flips = [RandFlip(prob=0.449, spatial_axis=axis) for axis in range(3)]

    def work(sample: int) -> Tensor:
        np.random.seed(sample + 1)
        torch.manual_seed(sample + 1)
        generator, target = _pasted(maps, brain, lesion, fade)
        stack = affine(torch.cat([generator, target, brain[None].float()]))
        stack = _bent(stack, bend)
        image = torch.zeros(1, wide, wide, wide)
        smooth = GaussianSmooth(float(np.random.uniform(0.05, 2) / 2.355))
        for channel in range(channels):
            noise = smooth(torch.randn(1, wide, wide, wide))
            image += stack[channel] * (np.random.uniform(0, 255) + np.random.uniform(0, 16) * noise)
        for step in corruptions:
            image = step(image)
        target, mask = stack[channels:-1], stack[-1:] > 0.5
        every = torch.cat([image, (1 - target.sum(0, keepdim=True)).clamp(0, 1), target, mask.float()])
        every = crop(every) if late else every
        if np.random.random() < 0.3:
            kept = _stripped(every[-1:])
            every[:-1] *= kept
            every[1] += 1 - kept[0]
        for flip in flips:
            every = flip(every)
        return torch.as_tensor(every)

    return work


def _pasted(maps: Tensor, brain: Tensor, lesion: Tensor, fade: SmoothField) -> tuple[Tensor, Tensor]:
    """Generator's channels and the target's, without background."""
    weight = avg_pool3d(lesion[None, None].float(), 3, 1, 1)
    weight = avg_pool3d((weight > 1e-5).float(), 3, 1, 1)
    fade.randomize()
    weight = (weight + (1 - weight) * weight * 0.9)[0] * fade()[0].clamp(0, 1)
    tissues = maps * (1 - weight)
    inside = GaussianSmooth(3.0)(brain[None].float())
    total = tissues.sum(0, keepdim=True)
    struck = (weight > 0.2).float()
    target = torch.where((total * inside > 0.2) & (struck == 0), tissues / total.clamp_min(1e-6), torch.zeros(()))
    return torch.cat([tissues, weight]), torch.cat([target, struck])


def _bent(stack: Tensor, bend: SmoothField) -> Tensor:
    axes = [torch.linspace(-1, 1, length) for length in stack.shape[1:]]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)
    bend.randomize()
    grid += 2 * torch.as_tensor(bend()).permute(1, 2, 3, 0)
    return grid_sample(torch.as_tensor(stack)[None], grid[None], align_corners=True)[0]


def _stripped(mask: Tensor) -> Tensor:
    mask = KeepLargestConnectedComponent()(mask)
    for _ in range(3):
        wider = ndimage.binary_dilation(np.asarray(mask[0]) > 0, iterations=2)
        mask = FillHoles()(torch.from_numpy(wider[None].astype(np.float32)))
    return torch.as_tensor(mask)
