"""Registration with SimpleITK so that equal inputs give equal bits: one thread, a fixed seed, regular sampling.

Shared by ``mirror`` and ``register``, the only other files that know SimpleITK. Volumes are (X, Y, Z).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import SimpleITK as sitk  # its import takes a sixth of a second: where something is registered

Array = NDArray[np.float64]
Volume = NDArray[np.float32]

_SEED = 20190206  # of the metric's sampling; not 0, which SimpleITK takes for the clock
_WORKING_MM = 2.0  # finer voxels are averaged before: full resolution changes the correlation by less than 0.001
_BINS, _SAMPLED, _ITERATIONS = 32, 0.2, 200


def optimized(
    fixed: sitk.Image,
    moving: sitk.Image,
    transform: Any,
    levels: Sequence[tuple[float, float]],
    mask: sitk.Image | None = None,
) -> float:
    """Move a transform to where the mutual information is largest; returns the metric there.

    Args:
        fixed: where it is measured.
        moving: what is brought onto it.
        transform: from a point of the fixed image to the point of the moving one; changed.
        levels: of the pyramid: spacing and standard deviation of the smoothing, mm.
        mask: of the fixed image: where it is measured; None: everywhere.
    """
    method = _method(mask)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, _ITERATIONS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([max(1, int(mm / max(fixed.GetSpacing()) + 0.5)) for mm, _ in levels])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return float(method.GetMetricValue())


def metric_of(fixed: sitk.Image, moving: sitk.Image, transform: Any, mask: sitk.Image | None = None) -> float:
    """The metric of a transform as it is: Mattes mutual information, negative; arguments as of ``optimized``."""
    method = _method(mask)
    method.SetInitialTransform(transform)
    return float(method.MetricEvaluate(fixed, moving))


def _method(mask: sitk.Image | None) -> Any:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(_SAMPLED, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    return method


@contextmanager
def one_thread() -> Iterator[None]:
    """SimpleITK's sums depend on the number of threads; cases are prepared in parallel instead."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def averaged(voxels: Volume, spacing: tuple[float, float, float]) -> tuple[Volume, tuple[float, float, float], Array]:
    """A volume with voxels of about 2 mm, their spacing, and how far its middle moved, mm.

    It moves where voxels at the end of an axis fill no block, and are dropped.
    """
    factors = [min(n, max(1, int(_WORKING_MM / mm + 0.5))) for n, mm in zip(voxels.shape, spacing, strict=True)]
    counts = [n // factor for n, factor in zip(voxels.shape, factors, strict=True)]
    kept = [count * factor for count, factor in zip(counts, factors, strict=True)]
    whole = voxels[tuple(slice(n) for n in kept)].T  # (Z, Y, X), as it lies in memory
    (x, y, z), (a, b, c) = counts, factors
    small = whole.reshape(z, c, y, b, x, a).mean(axis=(1, 3, 5), dtype=np.float32)
    shift = (np.array(kept) - voxels.shape) / 2 * spacing
    mm_x, mm_y, mm_z = (mm * factor for mm, factor in zip(spacing, factors, strict=True))
    return small.T, (mm_x, mm_y, mm_z), shift


def correlation(one: Volume, other: Volume, region: NDArray[np.bool_]) -> float:
    """Pearson's, inside a region; -1 where one of them is constant there."""
    values, others = (array.T[region.T].astype(np.float64) for array in (one, other))
    values -= values.mean()
    others -= others.mean()
    scale = float(np.sqrt((values @ values) * (others @ others)))
    return float(values @ others) / scale if scale > 0 else -1.0
