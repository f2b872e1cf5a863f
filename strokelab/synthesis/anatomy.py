"""A healthy head as fractions of its classes, and where such heads come from: files, the template, phantoms.

Every source is light and picklable: it says its classes and its address, and reads or makes its maps when asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import BACKGROUND
from strokelab.errors import DataError
from strokelab.grid import Grid, Orient, resample
from strokelab.nifti import count_channels, read_channels
from strokelab.phantoms.anatomy import subject
from strokelab.phantoms.head import AIR, BONE, FAT, FLUID, GREY, WHITE
from strokelab.preparation.template import MNI, is_axis_aligned, template_brain, template_release, template_tissues
from strokelab.synthesis.fractions import TISSUES, check_fractions, four_tissues, one_hot
from strokelab.synthesis.map_files import BRAIN, CHANNELS, LABELS, MapFiles

VERSION = 1
"""Of what this file makes of maps; part of every address, so that a change of the rules finds no older maps."""

HEAD = ("skull", "fluid", "soft", "fat")
"""The classes of a phantom's head outside its brain."""

_BRAIN_MM = ((-60.0, -90.0, -40.0), (60.0, 60.0, 70.0))  # well inside the template's brain: every MNI volume has it
_LEAST_OVERLAP = 0.7  # Dice of a brain with the template's; that of brains brought to MNI is 0.9 and more


@dataclass(frozen=True)
class Anatomy:
    """A healthy head in MNI space.

    Args:
        name: of the set, unique among its source's.
        channels: the classes: GM, WM, PV, CSF, then further ones, which count as background in a target.
        maps: fractions of the classes (N, X, Y, Z), float32; their sum is 1 at most, the rest background.
        brain: the brain mask (X, Y, Z).
        grid: RAS+, isotropic.
    """

    name: str
    channels: tuple[str, ...]
    maps: NDArray[np.float32]
    brain: NDArray[np.bool_]
    grid: Grid


class AnatomySource(Protocol):
    """What one anatomy is made of."""

    @property
    def name(self) -> str:
        """Of the anatomy."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Its classes, the four tissues first."""

    def address(self, digest_of: Callable[[Path], str]) -> dict[str, Any]:
        """Plain data that differs where the maps differ; ``digest_of`` gives the digest of a file's content."""

    def made(self) -> Anatomy:
        """The maps, read or made."""


@dataclass(frozen=True)
class TemplateAnatomy:
    """The brain of MNI152NLin2009aSym that nilearn ships: GM and WM, with PV and CSF derived; it has no skull."""

    spacing: float
    name: str = "template"
    channels: tuple[str, ...] = TISSUES

    def address(self, digest_of: Callable[[Path], str]) -> dict[str, Any]:
        """Plain data that differs where the maps differ."""
        return {"version": VERSION, "template": template_release(), "spacing": self.spacing}

    def made(self) -> Anatomy:
        """The maps, on the field of view of the template."""
        brain = template_brain(MNI)
        maps = four_tissues(dict(zip(("GM", "WM"), template_tissues(), strict=True)), brain)
        return _at_spacing(Anatomy(self.name, self.channels, maps, brain, MNI), self.spacing)


@dataclass(frozen=True)
class PhantomAnatomy:
    """A subject of the phantom generator: the template's anatomy, deformed and aged, in a head of its own."""

    number: int
    spacing: float
    channels: tuple[str, ...] = (*TISSUES, *HEAD)

    @property
    def name(self) -> str:
        """Of the anatomy, by its number."""
        return f"phantom-{self.number}"

    def address(self, digest_of: Callable[[Path], str]) -> dict[str, Any]:
        """Plain data that differs where the maps differ."""
        place = {"phantom": self.number, "spacing": self.spacing}
        return {"version": VERSION, "template": template_release(), **place}

    def made(self) -> Anatomy:
        """The maps: fractions between the marks of the tissue coordinate, a pure function of the number."""
        head = subject(0, f"synthesis/{self.number}", self.spacing)
        inside, brain = np.clip(head.tissue, FLUID, WHITE), head.brain
        fluid, grey, white = (_share(inside, mark, (FLUID, GREY, WHITE)) * brain for mark in (FLUID, GREY, WHITE))
        tissues = four_tissues({"GM": grey, "WM": white, "CSF": fluid}, brain)
        marks = (AIR, BONE, FLUID, GREY, FAT)
        further = [_share(head.tissue, mark, marks) * ~brain for mark in marks[1:]]
        return Anatomy(self.name, self.channels, np.concatenate([tissues, further]), brain, head.grid)


@dataclass(frozen=True)
class FileAnatomy:
    """A set of files: fractions or labels, and a brain mask where there is one.

    Args:
        files: of the set.
        order: the classes of the first channels of a file with several.
        legend: the classes of an integer label map.
        spacing: of the maps that are made, mm.
    """

    files: MapFiles
    order: tuple[str, ...]
    legend: Mapping[int, str]
    spacing: float
    channels: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Ask the headers which classes there are, and whether they lie on one grid in MNI space.

        Raises:
            DataError: GM or WM is missing, grids differ, or the grid is not in MNI space.
        """
        classes = self.files.classes(self.order, self.legend)
        object.__setattr__(self, "channels", (*TISSUES, *(name for name in classes if name not in TISSUES)))
        _check_grids(self.files.files)

    @property
    def name(self) -> str:
        """Of the set."""
        return self.files.name

    def address(self, digest_of: Callable[[Path], str]) -> dict[str, Any]:
        """Plain data that differs where the maps differ."""
        return {
            "version": VERSION,
            "files": {role: digest_of(path) for role, path in self.files.files.items()},
            "order": list(self.order) if CHANNELS in self.files.files else [],
            "legend": [[key, name] for key, name in self.legend.items()] if LABELS in self.files.files else [],
            "spacing": self.spacing,
        }

    def made(self) -> Anatomy:
        """The maps, checked, RAS+ and at the spacing.

        Raises:
            DataError: a file cannot be read; fractions are not finite, negative or sum to more than 1; labels are
                unknown; the brain is empty or lies elsewhere than the template's.
        """
        read: dict[str, tuple[NDArray[np.float32], Path]] = {}
        for role, path in self.files.files.items():
            values, _ = read_channels(path)
            if role == CHANNELS:
                names = self.files.channels(self.order)
                read |= {name: (one, path) for name, one in zip(names, values, strict=True)}
            elif role == LABELS:
                read |= {name: (one, path) for name, one in one_hot(values[0], self.legend, path).items()}
            else:
                read[role] = (values[0], path)
        given_brain = read.pop(BRAIN, None)
        read.pop(BACKGROUND, None)
        check_fractions(read)
        maps = {name: np.clip(values, 0, 1) for name, (values, _) in read.items()}
        where = next(iter(self.files.files.values()))
        grid = count_channels(where)[1]
        brain = _brain_of(maps, None if given_brain is None else given_brain[0], grid)
        tissues = four_tissues(maps, brain)
        further = [maps[name] for name in self.channels[len(TISSUES) :]]
        stacked = np.concatenate([tissues, np.stack(further)]) if further else tissues
        ras = Orient(grid)
        whole = Anatomy(self.name, self.channels, ras.apply(stacked), ras.apply(brain), ras.target)
        _check_place(whole, where if given_brain is None else given_brain[1])
        return _at_spacing(whole, self.spacing)


def _share(coordinate: NDArray[np.float32], mark: float, marks: Sequence[float]) -> NDArray[np.float32]:
    """How much of a mark the tissue coordinate holds: 1 on it, 0 from the next mark on, linear between."""
    shares = [float(mark == other) for other in marks]
    return np.interp(coordinate, marks, shares).astype(np.float32)


def _check_grids(files: Mapping[str, Path]) -> None:
    grids = {path: count_channels(path)[1] for path in files.values()}
    (first, expected), *others = grids.items()
    for path, grid in others:
        if not grid.matches(expected):
            raise DataError(
                path,
                found=grid.difference(expected),
                expected=f"the grid of {first}: {expected.describe()}",
                remedy="resample the maps of a set onto one grid",
            )
    corners = np.linalg.inv(expected.matrix) @ np.append(np.asarray(_BRAIN_MM).T, [[1.0, 1.0]], axis=0)
    inside = (corners[:3] > -0.5) & (corners[:3] < np.asarray(expected.shape)[:, None] - 0.5)
    if not is_axis_aligned(expected) or not inside.all():
        raise _not_in_mni(first, expected.describe())


def _brain_of(maps: Mapping[str, Any], given: NDArray[np.float32] | None, grid: Grid) -> NDArray[np.bool_]:
    """The mask of the set; else where its tissues sum to 0.5 or more, and the template's brain where CSF is missing."""
    if given is not None:
        return np.asarray(given > 0.5 * max(float(given.max()), 0.0))
    held = np.asarray(sum(maps[name] for name in TISSUES if name in maps) >= 0.5)
    return held if "CSF" in maps else held | template_brain(grid)


def _check_place(anatomy: Anatomy, path: Path) -> None:
    """A brain that is not empty and lies where the template's does.

    Raises:
        DataError: it does not.
    """
    if not anatomy.brain.any():
        raise DataError(
            path,
            found=f"no brain voxel in the set {anatomy.name!r}",
            expected="a brain mask, or tissues, that fill a brain",
            remedy="write the mask anew; without a file brain the tissues say where the brain is",
        )
    template = template_brain(anatomy.grid)
    both = np.count_nonzero(anatomy.brain & template)
    dice = 2 * both / (np.count_nonzero(anatomy.brain) + np.count_nonzero(template))
    if dice < _LEAST_OVERLAP:
        raise _not_in_mni(path, f"a brain whose Dice with the template's is {dice:.2f}, on {anatomy.grid.describe()}")


def _not_in_mni(path: Path, found: str) -> DataError:
    return DataError(
        path,
        found=found,
        expected=f"maps in MNI space, axes along the world's, such as {MNI.describe()}",
        remedy="warp the maps to MNI space (SPM writes them so on request), or leave the set out",
    )


def _at_spacing(anatomy: Anatomy, spacing: float) -> Anatomy:
    """The anatomy at an isotropic spacing (mm) over the same field of view; linear, the brain cut at one half."""
    grid = anatomy.grid
    target = Grid.of(grid.shape, grid.affine).resized((spacing, spacing, spacing))
    if target.matches(grid):
        return anatomy
    maps = resample(anatomy.maps, grid, target, "linear")
    brain = resample(anatomy.brain.astype(np.float32), grid, target, "linear") >= 0.5
    return Anatomy(anatomy.name, anatomy.channels, maps, np.asarray(brain), target)
