"""From fractional maps to grey values: what a ``Look`` says, done. Knows tensors; samples white noise alone.

The same plan gives the same image bit for bit on a CPU; other devices have other white noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strokelab.synthesis.anatomy_rows import extent, flat_in, flat_nonzero, shifted
from strokelab.synthesis.appearance import Appearance, Axis, Look, Noise
from strokelab.synthesis.axis_products import Box, everywhere, gaussian_inside
from strokelab.synthesis.fields import Range, Size, spline_field

_CUT = 3.0
"""Standard deviations at which the kernel of the mixture's noise ends."""
_FEW = 8
"""A channel in fewer voxels than one in this many has its noise made around these alone."""
_SAMPLED = 101
"""Of as many values one is looked at to guess a percentile."""


@dataclass(frozen=True)
class Content:
    """The voxels of a box that hold something, and what.

    Args:
        box: on the grid.
        voxels: (N,) int64, ascending flat indices in the box.
        at: (3, N) int32, the same as x, y and z.
        values: (C, N) float32: fraction of each channel, the lesion's last.
    """

    box: Box
    voxels: Tensor
    at: Tensor
    values: Tensor

    @property
    def shape(self) -> Size:
        """Voxels of the box."""
        x, y, z = (high - low for low, high in self.box)
        return x, y, z


def rendered(appearance: Appearance, look: Look, content: Content, axes: list[Axis], grid: Size) -> Tensor:
    """One image of a crop: (X, Y, Z) float32, in 0..1 where percentiles are given, and 0 if it is constant.

    Args:
        appearance: for its percentiles and degrees of freedom.
        look: what was sampled.
        content: of the box that ``axes`` name.
        axes: of ``look.axes(grid, crop)``, whose boxes lie within the content's.
        grid: voxels of the whole grid.
    """
    random = torch.Generator(content.values.device).manual_seed(look.seed)
    background, grey = 0.0, content.values.new_zeros(len(content.voxels))
    if len(grey):
        inner = extent(content.at)
        flat = flat_in(content.at, inner)
        grey = _mixture(look, content, inner, flat, random)
        if look.bias is not None:
            where = shifted(inner, (content.box[0][0], content.box[1][0], content.box[2][0]))
            grey *= spline_field(look.bias, grid, where, grey.device).flatten().index_select(0, flat)
    if look.gamma is not None:
        grey, background = _gamma(grey, look.gamma, empty=len(grey) < math.prod(content.shape))
    image = torch.full((math.prod(content.shape),), background, device=grey.device)
    image[content.voxels] = grey
    x, y, z = (slice(axis.box[0] - low, axis.box[1] - low) for axis, (low, _) in zip(axes, content.box, strict=True))
    image = everywhere(image.view(content.shape)[x, y, z], [axis.down for axis in axes])
    if look.noise is not None:
        _noise_(image, look.noise, appearance, axes, random)
    image = everywhere(image, [axis.up for axis in axes])
    full = look.noise is not None or background != 0
    return (
        image if appearance.percentiles is None else _scaled_(image, appearance.percentiles, math.prod(grid), full=full)
    )


def ends(values: Tensor, percentiles: Range, whole: int) -> tuple[float, float]:
    """Two percentiles of a whole image of which a part is there and the rest is background, i.e. dark.

    The upper one is counted from the top among all voxels; the lower one is that of the part, whose background is the
    whole's.

    Args:
        values: (N,) of the part.
        percentiles: lower and upper, 0..100.
        whole: voxels of the whole, at least N.
    """
    count = values.numel()
    low = round(percentiles[0] / 100 * (count - 1))
    high = count - 1 - min(count - 1, round((1 - percentiles[1] / 100) * (whole - 1)))
    return _ranked(values, low), _ranked(values, max(low, high))


def _ranked(values: Tensor, rank: int) -> float:
    """The value with ``rank`` smaller ones; on a CPU among those alone that a sample says may be it."""
    if values.device.type != "cpu":
        return float(values.kthvalue(rank + 1).values)
    every = values.numpy()
    sample = np.sort(every[::_SAMPLED])
    expected, slack = rank / len(every) * len(sample), 4 * math.sqrt(len(sample)) + 2
    low, high = (sample[min(len(sample) - 1, max(0, round(expected + step)))] for step in (-slack, slack))
    middle = every[(every >= low) & (every <= high)]
    place = rank - int(np.count_nonzero(every < low))
    if not 0 <= place < len(middle):
        middle, place = every, rank
    return float(np.partition(middle, place)[place])


def _mixture(look: Look, content: Content, inner: Box, flat: Tensor, random: torch.Generator) -> Tensor:
    """The sum over channels of x_c (m_c + s_c n_c) at the voxels of the content: (N,).

    Args:
        look: means, deviations, smoothing.
        content: at least one voxel.
        inner: the smallest box around its voxels.
        flat: their flat indices in that.
        random: of this image.
    """
    values = content.values
    grey = torch.as_tensor(look.means, dtype=torch.float32, device=values.device) @ values
    for share, deviation in zip(values, look.deviations, strict=True):
        if not deviation > 0:
            continue
        rows = flat_nonzero(share)
        if len(rows) * _FEW > len(flat):
            grey.addcmul_(share, _smooth_noise(inner, flat, look.smoothing, random), value=float(deviation))
        elif len(rows):
            at = content.at.index_select(1, rows)
            box = extent(at)
            noise = _smooth_noise(box, flat_in(at, box), look.smoothing, random)
            grey.index_add_(0, rows, noise.mul_(share.index_select(0, rows)), alpha=float(deviation))
    return grey


def _smooth_noise(box: Box, flat: Tensor, fwhm: float, random: torch.Generator) -> Tensor:
    """White noise smoothed by a Gaussian and not rescaled, at some voxels (flat) of a box: (N,)."""
    kernels = [gaussian_inside(high - low, fwhm, cut=_CUT) for low, high in box]
    noise = torch.empty([kernel.shape[1] for kernel in kernels], device=flat.device).normal_(generator=random)
    return everywhere(noise, kernels).flatten().index_select(0, flat)


def _gamma(grey: Tensor, exponent: float, *, empty: bool) -> tuple[Tensor, float]:
    """Min-max scaled, to a power, scaled back; and what that makes of the voxels without content."""
    low, high = (float(end) for end in grey.aminmax()) if len(grey) else (0.0, 0.0)
    if empty:
        low, high = min(low, 0.0), max(high, 0.0)
    if not high > low:
        return grey, 0.0
    grey = ((grey - low) / (high - low)).clamp_(0, 1).pow_(exponent).mul_(high - low).add_(low)
    return grey, ((0 - low) / (high - low)) ** exponent * (high - low) + low if empty else 0.0


def _noise_(image: Tensor, noise: Noise, appearance: Appearance, axes: list[Axis], random: torch.Generator) -> None:
    """sqrt(I^2 + (g n)^2), n chi-distributed with the standard deviation that was sampled, g the smooth gain."""
    whole: Size = (axes[0].few, axes[1].few, axes[2].few)
    low, high = ends(image.flatten(), (1, 99), math.prod(whole))
    degrees = appearance.noise_channels
    mean = math.sqrt(2) * math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2))
    unit = noise.sd * (high - low) / math.sqrt(degrees - mean**2)
    # The square of a chi variable of 2 k degrees is -2 log of the product of k uniform ones.
    product = torch.ones_like(image)
    for _ in range(degrees // 2):
        product *= 1 - torch.empty_like(image).uniform_(generator=random)
    square = product.clamp_min_(1e-37).log_().mul_(-2)
    if degrees % 2:
        square += torch.empty_like(image).normal_(generator=random).square_()
    gain = spline_field(noise.gain, whole, (axes[0].coarse, axes[1].coarse, axes[2].coarse), image.device)
    image.square_().add_(square.mul_(gain.mul_(unit).square_())).sqrt_()


def _scaled_(image: Tensor, percentiles: Range, whole: int, *, full: bool) -> Tensor:
    """Clipped between two percentiles of its voxels other than 0 and mapped to 0..1.

    Args:
        image: changed.
        percentiles: lower and upper, 0..100.
        whole: voxels of the whole grid.
        full: no voxel of the whole image is 0, so that those beyond the crop count as well.
    """
    flat = image.flatten()
    values = flat if bool(flat.all()) else flat[flat != 0]
    low, high = ends(values, percentiles, whole if full else len(values)) if len(values) else (0.0, 0.0)
    if not high > low:
        return image.zero_()
    return image.sub_(low).div_(high - low).clamp_(0, 1)
