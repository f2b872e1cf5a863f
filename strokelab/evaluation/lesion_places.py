"""Where a lesion lies: on which side of the head's mid-plane, and in which regions of an atlas."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid, Orient, resample
from strokelab.nifti import read_voxels, stem
from strokelab.preparation.mirror import Mirror
from strokelab.preparation.template import in_mni_space

BOTH_SHARE = 0.05
"""A lesion lies on both sides when at least this share of its volume lies on the smaller one."""
_LEVEL = 0.15  # of the range of grey values: what is brighter is head
_FINEST_MM = 2.0  # the mid-plane is looked for on voxels of this size or larger


@dataclass(frozen=True)
class Sides:
    """Volumes on either side of the mid-plane, ml, and how that was found."""

    left_ml: float
    right_ml: float
    plane: str  # "x = 0 in MNI space", "x = 0 after registration", "symmetry of the image", "middle of the volume"

    @property
    def side(self) -> str:
        """left, right, both or none."""
        smaller, larger = sorted((self.left_ml, self.right_ml))
        if larger == 0:
            return "none"
        if smaller >= BOTH_SHARE * (smaller + larger):
            return "both"
        return "left" if self.left_ml > self.right_ml else "right"


def sides_of(
    mask: NDArray[Any],
    image: NDArray[np.float32],
    grid: Grid,
    case_id: str,
    in_template: NDArray[np.float64] | None = None,
) -> Sides:
    """How much of a lesion lies to the subject's left and right.

    The mid-plane is x = 0 on a grid of MNI space or of a scan that was registered to it, else that in which the image
    is most like its reflection (``preparation.mirror``, rigid), else the middle of the volume.

    Args:
        mask: (X, Y, Z), non-zero = lesion.
        image: (X, Y, Z), the scan.
        grid: of both.
        case_id: for messages.
        in_template: (4, 4), from the scan to MNI space, both RAS+ mm, where it was registered.
    """
    voxel_ml = grid.voxel_volume_mm3 / 1000
    places = np.argwhere(np.asarray(mask) != 0)
    if not len(places):
        return Sides(0.0, 0.0, "not looked for")
    points = places @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    if in_mni_space(grid):
        towards_right, plane = points[:, 0], "x = 0 in MNI space"
    elif in_template is not None:
        towards_right, plane = points @ in_template[0, :3] + in_template[0, 3], "x = 0 after registration"
    else:
        reflected, plane = _reflected(points, image, grid, case_id)
        towards_right = (points - reflected)[:, 0]
    right = float(np.count_nonzero(towards_right > 0) + np.count_nonzero(towards_right == 0) / 2)
    return Sides((len(places) - right) * voxel_ml, right * voxel_ml, plane)


def _reflected(
    points: NDArray[np.float64], image: NDArray[np.float32], grid: Grid, case_id: str
) -> tuple[NDArray[np.float64], str]:
    """Where points (N, 3) of the world lie after reflection in the head's mid-plane, and how that was found."""
    coarse = grid.resized(tuple(max(mm, _FINEST_MM) for mm in grid.spacing))  # type: ignore[arg-type]
    seen = np.nan_to_num(image, posinf=0.0, neginf=0.0)
    seen = seen if coarse.shape == grid.shape else resample(seen, grid, coarse)
    low, high = (float(value) for value in np.percentile(seen, [1, 99]))
    head = seen > low + _LEVEL * (high - low)
    if not head.any() or head.all():
        return _flipped(points, grid), "middle of the volume"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # a flip is said by the plane
        made = Mirror(enabled=True, dof=6).fill(
            np.empty((1, *seen.shape), dtype=np.float32), (seen - low)[None], head, coarse, ("image",), case_id
        )
    matrix = np.asarray(made.transform)
    plane = "middle of the volume" if made.is_flip else "symmetry of the image"
    return points @ matrix[:3, :3].T + matrix[:3, 3], plane


def _flipped(points: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    target = Orient(grid).target
    middle = target.matrix @ np.append((np.asarray(target.shape) - 1) / 2, 1.0)
    return np.column_stack([2 * middle[0] - points[:, 0], points[:, 1], points[:, 2]])


@dataclass(frozen=True)
class Region:
    """How much of a lesion lies in one region."""

    name: str
    label: int
    volume_ml: float
    of_lesion: float  # share of the lesion
    of_region: float  # share of the region


@dataclass(frozen=True)
class Atlas:
    """A map of labels (X, Y, Z), 0 outside all regions, and their names."""

    path: Path
    labels: NDArray[np.int64]
    grid: Grid
    names: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Atlas:
        """The atlas with the table of its names that lies beside it, called like it (.tsv, .csv, .txt, .json).

        Raises:
            DataError: it cannot be read, or holds values that are no labels.
        """
        voxels, grid = read_voxels(path)
        labels = np.rint(voxels).astype(np.int64)
        if labels.min() < 0 or np.abs(voxels - labels).max() > 1e-3 or not labels.any():
            raise DataError(
                path,
                found=f"values from {float(voxels.min()):g} to {float(voxels.max()):g}",
                expected="an atlas: whole numbers from 0, one for each region",
                remedy="name a map of labels, not of probabilities",
            )
        beside = [path.with_name(stem(path) + ending) for ending in (".tsv", ".csv", ".txt", ".json")]
        table = next((file for file in beside if file.is_file()), None)
        return cls(path, labels, grid, {} if table is None else _names(table))

    def regions(
        self, mask: NDArray[Any], grid: Grid, case: str, in_template: NDArray[np.float64] | None = None
    ) -> list[Region]:
        """The regions that a lesion touches, the largest overlap first; ``outside`` is what lies in none.

        Args:
            mask: (X, Y, Z), non-zero = lesion.
            grid: its grid: the atlas's own, or one of MNI space where the atlas lies in it, too.
            case: for messages.
            in_template: (4, 4), from the scan to MNI space, both RAS+ mm, where it was registered.

        Raises:
            DataError: the two do not lie in one space.
        """
        if grid.matches(self.grid):
            labels = self.labels
        elif in_mni_space(self.grid) and (in_template is not None or in_mni_space(grid)):
            where = grid if in_template is None else grid.moved(in_template)
            labels = np.rint(resample(self.labels.astype(np.float32), self.grid, where, "nearest")).astype(np.int64)
        else:
            raise DataError(
                f"case {case}",
                found=f"a scan on {grid.describe()}, an atlas on {self.grid.describe()}",
                expected="both on one grid, or both in MNI space",
                remedy="predict with a run that registers scans, predict scans that were brought into the atlas's "
                "space (images of a derivative: --images-from NAME), or leave out --atlas",
            )
        inside = np.bincount(labels[np.asarray(mask) != 0])
        whole = np.bincount(labels.ravel(), minlength=len(inside))
        voxel_ml, total = grid.voxel_volume_mm3 / 1000, max(int(inside.sum()), 1)
        found = [
            Region(
                "outside" if label == 0 else self.names.get(int(label), f"label {label}"),
                int(label),
                float(inside[label]) * voxel_ml,
                float(inside[label]) / total,
                0.0 if label == 0 else float(inside[label] / whole[label]),
            )
            for label in np.flatnonzero(inside)
        ]
        return sorted(found, key=lambda region: (-region.volume_ml, region.label))


def _names(path: Path) -> dict[int, str]:
    """Label -> name. BIDS (``index``, ``name``), other tables with a number and a name, FreeSurfer's colour tables."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            content = json.loads(text)
            return {int(key): str(value) for key, value in dict(content).items()}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            path,
            found=f"no table of names ({error})",
            expected="a label and a name in each row",
            remedy="save it as a .tsv with the columns index and name, or take it away",
        ) from error
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    delimiter = {".tsv": "\t", ".csv": ","}.get(path.suffix)
    rows = [next(csv.reader([line], delimiter=delimiter)) if delimiter else line.split() for line in lines]
    index, name = _columns(rows[0]) if rows else (0, 1)
    return {int(row[index]): row[name] for row in rows if len(row) > max(index, name) and row[index].strip().isdigit()}


def _columns(header: Sequence[str]) -> tuple[int, int]:
    titles = [title.strip().lower() for title in header]
    index = next((titles.index(title) for title in ("index", "label", "id", "value") if title in titles), 0)
    name = next((titles.index(title) for title in ("name", "region", "structure") if title in titles), 1)
    return index, name
