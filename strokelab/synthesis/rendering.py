"""From fractional maps to grey values: what a ``Look`` says, done. Knows tensors; samples white noise alone.

The same plan gives the same image bit for bit on a CPU; other devices have other white noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from strokelab.synthesis.appearance import Appearance, Axis, Look, Noise, Size
from strokelab.synthesis.axis_products import Box, Span, along, everywhere, gaussian
from strokelab.synthesis.fields import Range, spline_field

_CUT = 3.0
"""Standard deviations at which the kernel of the mixture's noise ends."""


@dataclass(frozen=True)
class Content:
    """The voxels of a box that hold something, and what.

    Args:
        box: on the grid.
        voxels: (N,) int64, ascending flat indices in the box.
        values: (N, C) float32: fraction of each channel, the lesion's last.
    """

    box: Box
    voxels: Tensor
    values: Tensor

    @property
    def shape(self) -> Size:
        """Voxels of the box."""
        x, y, z = (high - low for low, high in self.box)
        return x, y, z

    def places(self, rows: Tensor) -> list[Tensor]:
        """x, y and z in the box of some of the voxels."""
        _, height, depth = self.shape
        flat = self.voxels[rows]
        return [flat // (height * depth), flat // depth % height, flat % depth]


def rendered(appearance: Appearance, look: Look, content: Content, axes: list[Axis], grid: Size, crop: Box) -> Tensor:
    """One image of a crop: (X, Y, Z) float32 in 0..1, 0 where it is constant.

    Args:
        appearance: for its percentiles and degrees of freedom.
        look: what was sampled.
        content: of the box that ``axes`` name.
        axes: of ``look.axes(grid, crop)``.
        grid: voxels of the whole grid.
        crop: the part wanted.
    """
    random = torch.Generator(content.values.device).manual_seed(look.seed)
    grey = _mixture(look, content, random)
    background = 0.0
    if look.bias is not None:
        grey *= spline_field(look.bias, grid, content.box, grey.device).flatten()[content.voxels]
    if look.gamma is not None:
        grey, background = _gamma(grey, look.gamma, empty=len(grey) < math.prod(content.shape))
    image = torch.full((math.prod(content.shape),), background, device=grey.device)
    image[content.voxels] = grey
    image = everywhere(image.view(content.shape), [axis.down for axis in axes])
    if look.noise is not None:
        _noise_(image, look.noise, appearance, axes, random)
    image = everywhere(image, [axis.up for axis in axes])
    full = look.noise is not None or background != 0
    return _scaled_(image, appearance.percentiles, math.prod(grid), full=full)


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
    return float(values.kthvalue(low + 1).values), float(values.kthvalue(max(low, high) + 1).values)


def _mixture(look: Look, content: Content, random: torch.Generator) -> Tensor:
    """sum_c x_c (m_c + s_c n_c) at the voxels of the content: (N,)."""
    device = content.values.device
    grey = content.values @ torch.as_tensor(look.means, dtype=torch.float32, device=device)
    for channel, deviation in enumerate(look.deviations):
        if deviation > 0:
            share = content.values[:, channel]
            rows = share.nonzero().flatten()
            if len(rows):
                grey[rows] += share[rows] * float(deviation) * _smooth_noise(content, rows, look.smoothing, random)
    return grey


def _smooth_noise(content: Content, rows: Tensor, fwhm: float, random: torch.Generator) -> Tensor:
    """White noise smoothed by a Gaussian and not rescaled, at some voxels of the content; made around these alone."""
    places = content.places(rows)
    spans: list[Span] = [(int(place.min()), int(place.max()) + 1) for place in places]
    kernels = []
    for low, high in spans:
        reach = math.ceil(_CUT * fwhm / 2.3548200450309493) if fwhm > 0 else 0
        side = high - low
        kernels.append(gaussian(side + 2 * reach + 2, fwhm, cut=_CUT)[reach + 1 : reach + 1 + side, 1:-1])
    noise = torch.empty([kernel.shape[1] for kernel in kernels], device=rows.device).normal_(generator=random)
    for axis, kernel in enumerate(kernels):
        noise = along(noise, kernel, axis)
    x, y, z = (place - low for place, (low, _) in zip(places, spans, strict=True))
    return noise.flatten()[(x * noise.shape[1] + y) * noise.shape[2] + z]


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
    low, high = ends(image.flatten(), appearance.percentiles, math.prod(whole))
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
    values = flat[flat != 0]
    low, high = ends(values, percentiles, whole if full else len(values)) if len(values) else (0.0, 0.0)
    if not high > low:
        return image.zero_()
    return image.sub_(low).div_(high - low).clamp_(0, 1)
