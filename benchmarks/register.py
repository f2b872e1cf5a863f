"""A native head brought to MNI-152: ours against SimpleITK's plain affine over three resolutions, one thread each.

The peer is what its documentation shows: moments of both images, Mattes mutual information over 4, 2 and 1 mm on the
whole template. Both get the skull-stripped scan, and both errors are measured against the pose of the phantom.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks.measure import Row, interleaved
from strokelab.grid import Grid, resample
from strokelab.phantoms.anatomy import template
from strokelab.phantoms.native import scan_grid
from strokelab.preparation.register import Register
from strokelab.preparation.template import MNI, template_t1

GOAL, MEAN_MM, LARGEST_MM = 1.0, 1.0, 2.0
_DEGREES, _SHIFT_MM, _SCALE, _SHEAR = (11.0, -8.0, 9.0), (18.0, -22.0, 14.0), (0.95, 1.06, 0.97), 0.03
_CURVE = (-1.0, -0.7, 0.0, 1.0, 2.0, 2.8), (0.0, 0.08, 0.25, 0.62, 1.0, 1.1)  # T1: marks of tissue, brightness


def rows(folder: Path, rounds: int) -> list[Row]:
    """One stripped head of 1 mm, turned, moved, scaled and sheared; our errors must stay below 1 and 2 mm."""
    pose = moved()
    image, grid = scan(pose)
    found: dict[str, NDArray[np.float64]] = {}

    def ours() -> None:
        made = Register(refined=True).found(image, image != 0, grid, "head", folder / "head")
        found["ours"] = np.asarray(made.transform)

    def peer() -> None:
        found["peer"] = _plain(image, grid)

    seconds = interleaved({"ours": ours, "peer": peer}, max(1, rounds // 2))
    errors = {name: errors_mm(matrix, pose) for name, matrix in found.items()}
    if errors["ours"][0] > MEAN_MM or errors["ours"][1] > LARGEST_MM:
        raise AssertionError(f"mean and largest error in the brain: {errors['ours']} mm")
    said = "; ".join(f"{name} {mean:.2f} mm, at most {most:.2f}" for name, (mean, most) in errors.items())
    return [Row("native head to MNI-152", seconds["ours"], "SimpleITK, plain affine", seconds["peer"], GOAL, note=said)]


def moved() -> NDArray[np.float64]:
    """The pose of the head: from the scanner's world to the template's (4, 4)."""
    linear = Rotation.from_euler("xyz", _DEGREES, degrees=True).as_matrix() @ np.diag(_SCALE)
    linear[0, 1] += _SHEAR
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, (0.0, -18.0, 12.0) - linear @ np.asarray(_SHIFT_MM)
    return matrix


def scan(pose: NDArray[np.float64]) -> tuple[NDArray[np.float32], Grid]:
    """A skull-stripped T1 image of 1 mm and its grid."""
    head = template(1.0)
    grid = scan_grid((192, 232, 192), (1.0, 1.0, 1.0), np.diag([-1.0, 1.0, 1.0]), _SHIFT_MM)
    bright = np.where(head.brain, np.interp(head.tissue, *_CURVE), 0).astype(np.float32)
    image = 400 * resample(bright, head.grid, grid.moved(pose))
    noise = np.random.default_rng(0).normal(0, 12, grid.shape)
    return np.where(image > 20, np.maximum(image + noise, 1), 0).astype(np.float32), grid


def errors_mm(matrix: NDArray[np.float64], pose: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and largest distance over the brain between where a transform takes the scan and where it belongs."""
    head = template(1.0)
    places = np.c_[np.argwhere(head.brain)[::97], np.ones(np.count_nonzero(head.brain) // 97 + 1)] @ head.grid.matrix.T
    apart = places @ np.linalg.inv(pose).T @ matrix.T - places
    lengths = np.linalg.norm(apart[:, :3], axis=1)
    return float(lengths.mean()), float(lengths.max())


def _plain(image: NDArray[np.float32], grid: Grid) -> NDArray[np.float64]:
    fixed, moving = _in_world(template_t1(), MNI), _in_world(image, grid)
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method: Any = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.1, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    last = sitk.AffineTransform(sitk.CompositeTransform(method.Execute(fixed, moving)).GetNthTransform(0))
    centre, to_scan = np.array(last.GetCenter()), np.eye(4)
    to_scan[:3, :3] = np.reshape(last.GetMatrix(), (3, 3))
    to_scan[:3, 3] = np.array(last.GetTranslation()) + centre - to_scan[:3, :3] @ centre
    return np.asarray(np.linalg.inv(to_scan))


def _in_world(voxels: NDArray[Any], grid: Grid) -> Any:
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    image.SetOrigin(grid.matrix[:3, 3].tolist())
    image.SetSpacing(grid.spacing)
    image.SetDirection((grid.matrix[:3, :3] / grid.spacing).ravel().tolist())
    return image
