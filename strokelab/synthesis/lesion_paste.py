"""A lesion outline becomes a lesion in healthy tissue: soft edge, fading, pasting, target (SynthStroke, section 4).

Soft edge after Dai 2022 (Soft-CP) as the authors of SynthStroke compute it. Knows maps on one grid; knows no files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, max_pool3d

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.synthesis.axis_products import SD_OF_FWHM, Box, everywhere, gaussian_inside
from strokelab.synthesis.fields import (
    Floats,
    Range,
    Size,
    checked,
    legendre_sum,
    legendre_terms,
    points_sampled,
    spline_field,
)

_FADES = ("legendre", "spline", "none")
_EDGES = ("soft_cp", "rings", "none")
_NOTHING = 1e-5
"""Weights up to this are none: rounding of the box mean."""


@buildable(training="data", most={"degree": 20, "points": 64, "erosions": 20, "dilations": 20}, least={"points": 2})
@dataclass(frozen=True, kw_only=True)
class LesionPaste:
    """How a lesion is pasted; the defaults are the paper's.

    Args:
        soft_edge: ``soft_cp``: the authors' formula, in which each erosion round is a box mean; ``rings``: a core
            eroded by ``erosions`` voxels at full opacity (the whole lesion where nothing would be left) and around it
            ``erosions + dilations`` rings of opacity alpha, alpha^2, ...; ``none``: the mask itself.
        erosions: erosion rounds.
        dilations: dilation rounds.
        alpha: opacity of the first ring, 0..1.
        fade: ``legendre``: exp of a Legendre sum, as the authors'; ``spline``: a B-spline field whose upper half
            does not fade; ``none``.
        degree: of the Legendre sum: i + j + k <= degree.
        coefficients: range of its coefficients.
        points: control points of the spline along each axis, whole numbers.
        faded_above: opacity above which a voxel counts as lesion, with fading.
        solid_above: the same without.
        brain_sd: standard deviation (voxels) of the Gaussian that smooths the brain mask.
        tissue_above: tissues count where their sum times the smoothed brain exceeds this.

    Raises:
        ConfigError: an unknown kind, a number beyond its limits.
    """

    soft_edge: str = "soft_cp"
    erosions: int = 1
    dilations: int = 1
    alpha: float = 0.9
    fade: str = "legendre"
    degree: int = 7
    coefficients: Range = (2.0, 3.0)
    points: Range = (2, 7)
    faded_above: float = 0.2
    solid_above: float = 0.5
    brain_sd: float = 3.0
    tissue_above: float = 0.2

    def __post_init__(self) -> None:
        for name, allowed in (("soft_edge", _EDGES), ("fade", _FADES)):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"LesionPaste.{name}",
                    found=str(getattr(self, name)),
                    expected=f"one of {', '.join(allowed)}",
                    remedy="correct the setting",
                )
        checked(self, least=0, most=20, names=("erosions", "dilations", "degree"))
        checked(self, least=0, most=1, names=("alpha", "faded_above", "solid_above", "tissue_above"))
        checked(self, least=-100, most=100, names=("coefficients",))
        checked(self, least=2, most=64, names=("points",))
        checked(self, least=0, most=50, names=("brain_sd",))

    @property
    def reach(self) -> int:
        """How far the soft edge goes beyond the mask, voxels; never less."""
        return 0 if self.soft_edge == "none" else self.erosions + self.dilations

    @property
    def threshold(self) -> float:
        """Opacity above which a voxel counts as lesion."""
        return self.solid_above if self.fade == "none" else self.faded_above

    def sampled(self, stream: np.random.Generator) -> Floats | None:
        """The coefficients of one fading field; None without fading."""
        if self.fade == "legendre":
            return stream.uniform(*self.coefficients, len(legendre_terms(self.degree)))
        if self.fade == "spline":
            return stream.uniform(0, 1, points_sampled(stream, self.points))
        return None

    def opacity(self, mask: Tensor, fading: Floats | None, grid: Size, box: Box) -> Tensor:
        """How opaque the lesion is: (X, Y, Z) float32, 0..1.

        Args:
            mask: (X, Y, Z) of the box, 0 or 1; the box holds the lesion and ``reach`` voxels around it, as far as the
                grid goes.
            fading: of ``sampled``.
            grid: voxels of the whole grid.
            box: where in the grid the mask lies.
        """
        weight = self._soft(mask.float()[None, None])[0, 0]
        if fading is None:
            return weight.clamp_(0, 1)
        if self.fade == "legendre":  # exp of at most 0: what exceeds 1 is untouched, and nothing overflows
            field = legendre_sum(fading, self.degree, grid, box).clamp_(max=0).exp_()
            return (weight * field.to(weight.device)).float().clamp_(0, 1)
        field = spline_field(fading, grid, box, weight.device)
        return (weight * field.mul_(2).clamp_(0, 1)).clamp_(0, 1)

    def _soft(self, weight: Tensor) -> Tensor:
        if self.soft_edge == "none":
            return weight
        if self.soft_edge == "rings":
            return self._rings(weight)
        for _ in range(self.erosions):
            weight = _box_mean(weight)
        for turn in range(1, self.dilations + 1):
            weight = _box_mean((weight > _NOTHING).float())
            weight = weight + (1 - weight) * weight * self.alpha**turn
        return weight

    def _rings(self, weight: Tensor) -> Tensor:
        core = weight
        for _ in range(self.erosions):
            core = 1 - max_pool3d(1 - core, 3, 1, 1)
        weight = core if bool(core.any()) else weight
        covered = weight
        for ring in range(1, self.reach + 1):
            wider = max_pool3d(covered, 3, 1, 1)
            weight = weight + (wider - covered) * self.alpha**ring
            covered = wider
        return weight

    def smoothed_brain(self, brain: Tensor) -> Tensor:
        """The brain mask (X, Y, Z) of a box smoothed by a Gaussian; nothing lies outside the box."""
        kernels = []
        for side in brain.shape:
            kernel = gaussian_inside(side, self.brain_sd / SD_OF_FWHM)
            beyond = (kernel.shape[1] - side) // 2
            kernels.append(kernel[:, beyond : beyond + side])
        return everywhere(brain.float(), kernels)

    def target(self, tissues: Tensor, opacity: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
        """What the network should find, before warping; background is what tissues and lesion leave.

        Args:
            tissues: (T, V) of V voxels, with the lesion pasted in.
            opacity: (V,) of the lesion.
            brain: (V,), the smoothed brain mask.

        Returns:
            Tissues (T, V), 0 in the lesion, and the lesion (V,), 0 or 1; together at most 1.
        """
        total = tissues.sum(0)
        keep = (total * brain > self.tissue_above) & (total > 0)
        lesion = (opacity > self.threshold).float()
        share = torch.where(keep & (lesion == 0), 1 / total, torch.zeros_like(total))
        return tissues * share, lesion


def _box_mean(volume: Tensor) -> Tensor:
    """3 x 3 x 3 mean of (1, 1, X, Y, Z), zeros outside."""
    return avg_pool3d(volume, 3, 1, 1)
