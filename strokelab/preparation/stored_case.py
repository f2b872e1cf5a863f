"""One prepared case on disk: raw arrays, one file each, beside ``case.json``; knows how to write, check and map them.

Arrays lie in the memory order (C, Z, Y, X), so that an axial slice is one piece of the file, and are handed out as
(C, X, Y, Z) views.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case, MapLayout, Mirrored, PreparedCase, Registered
from strokelab.errors import DataError
from strokelab.files import write_json
from strokelab.grid import Grid, Step, step_from_json, step_to_json
from strokelab.nifti import read_grid
from strokelab.preparation.extent import Extent, Triple

DESCRIPTION = "case.json"
MIRRORED = "mirrored.json"
"""How mirrored channels were made; apart, for it says seconds, and descriptions of equal entries are equal."""
REGISTERED = "registered.json"
"""How the case was registered; apart for the same reason."""


@dataclass(frozen=True)
class Unregistered:
    """In place of a case that cannot be registered."""

    case_id: str
    error: DataError

    def load(self) -> NoReturn:
        """Nothing can be loaded.

        Raises:
            DataError: why.
        """
        raise self.error


@dataclass(frozen=True)
class StoredCase:
    """A prepared case in the store: what is needed to plan with it, and where its arrays lie.

    Light and picklable; it holds no file open. Ids and site are the case's, not the store's: equal inputs of two
    cases share one entry.
    """

    case_id: str
    subject_id: str
    site: str | None
    channels: tuple[str, ...]
    grid: Grid
    native: Grid
    steps: tuple[Step, ...]
    brain_source: str
    lesion_voxels: int | None  # on the prepared grid; None = unlabelled
    brain_voxels_per_slice: tuple[int, ...]  # per index of axis 2
    entry: Path
    brain_box: tuple[Triple, Triple] | None = None  # lower and upper edges on the prepared grid; None: of older code
    maps: Mapping[str, MapLayout] = field(default_factory=dict)  # further ones
    mirrored: Mirrored | None = None  # of its mirrored channels, where there are any
    registered: Registered | None = None  # where it was

    @property
    def labelled(self) -> bool:
        """Whether a lesion mask (possibly empty) belongs to the case."""
        return self.lesion_voxels is not None

    def load(self) -> PreparedCase:
        """The arrays, memory-mapped and read-only; no file stays open.

        Raises:
            DataError: the files have gone or shrunk since.
        """
        return PreparedCase(
            case_id=self.case_id,
            subject_id=self.subject_id,
            site=self.site,
            channels=self.channels,
            image=self._map("image").transpose(0, 3, 2, 1),
            lesion=self._map("lesion").T if self.labelled else None,
            brain=self._map("brain").T,
            grid=self.grid,
            steps=self.steps,
            native=self.native,
            brain_source=self.brain_source,
            maps={name: self._map(_file_of(name)).transpose(0, 3, 2, 1) for name in self.maps},
            layouts=self.maps,
            mirrored=self.mirrored,
            registered=self.registered,
        )

    def brain_extent(self) -> Extent:
        """The box around the brain on the prepared grid, and its volume.

        Raises:
            DataError: an entry of older code, whose brain mask must be read, has gone.
        """
        low, high = self.brain_box or _box_of(self._map("brain").T)
        return Extent(low, high, sum(self.brain_voxels_per_slice) * self.grid.voxel_volume_mm3 / 1000)

    def _map(self, name: str) -> NDArray[Any]:
        path = self.entry / f"{name}.npy"
        try:
            return mapped(path)
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(
                path,
                found=f"{type(error).__name__}: {error}",
                expected=f"the prepared arrays of case {self.case_id}",
                remedy="the store was changed under a running job: start it again, what is missing is prepared anew",
            ) from error


def _box_from(content: Any) -> tuple[Triple, Triple]:
    (x, y, z), (right, front, top) = content
    return (float(x), float(y), float(z)), (float(right), float(front), float(top))


def _box_of(brain: NDArray[np.bool_]) -> tuple[Triple, Triple]:
    """Lower and upper edges, in voxels, of the box around a mask (X, Y, Z) that is not empty."""
    sides = [np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    x, y, z = ((float(side[0]) - 0.5, float(side[-1]) + 0.5) for side in sides)
    return (x[0], y[0], z[0]), (x[1], y[1], z[1])


def mapped(path: Path) -> NDArray[Any]:
    """An array file as a read-only view of its map.

    NumPy's map keeps a file descriptor as long as it lives, of which a process may have few: a thousand cases would
    have to be opened and closed all the time. Its class makes every slice several times dearer, too.
    """
    import torch  # here: processes that only prepare do without

    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not the version of .npy that np.save writes")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if fortran or dtype.hasobject:
        raise ValueError(f"an array of {dtype}, not in C order")
    length = start + dtype.itemsize * math.prod(shape)
    content: NDArray[Any] = torch.from_file(str(path), shared=False, size=length, dtype=torch.uint8).numpy()
    content.flags.writeable = False
    return content[start:].view(dtype).reshape(shape)


def write_entry(
    folder: Path, prepared: PreparedCase, facts: Mapping[str, Any], *, unlabelled: StoredCase | None = None
) -> None:
    """Write a prepared case into a folder that does not exist yet.

    Args:
        folder: to be made.
        prepared: the case.
        facts: written along into ``case.json``: settings, digests of the inputs, version.
        unlabelled: the same case in the store without its masks; what it holds is linked, not written again.

    Raises:
        OSError: the disk is full or cannot be written to.
    """
    folder.mkdir(parents=True)
    arrays: dict[str, NDArray[Any]] = {"image": prepared.image.transpose(0, 3, 2, 1), "brain": prepared.brain.T}
    if prepared.lesion is not None:
        arrays["lesion"] = prepared.lesion.T
    arrays |= {_file_of(name): array.transpose(0, 3, 2, 1) for name, array in prepared.maps.items()}
    sizes = {}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        if name == "lesion" or unlabelled is None or not _linked(unlabelled.entry / path.name, path):
            np.save(path, np.ascontiguousarray(array))
        sizes[path.name] = path.stat().st_size
    if prepared.mirrored is not None:
        write_json(folder / MIRRORED, asdict(prepared.mirrored))
    if prepared.registered is not None:
        write_json(folder / REGISTERED, asdict(prepared.registered))
    write_json(
        folder / DESCRIPTION,
        {
            "channels": list(prepared.channels),
            "grid": prepared.grid.to_json(),
            "native": {"forms": None, **prepared.native.to_json()},
            "steps": [step_to_json(step) for step in prepared.steps],
            "brain_source": prepared.brain_source,
            "lesion_voxels": None if prepared.lesion is None else int(np.count_nonzero(prepared.lesion)),
            "brain_voxels_per_slice": np.count_nonzero(prepared.brain, axis=(0, 1)).tolist(),
            "brain_box": _box_of(prepared.brain),
            "bytes": sizes,
            **({"maps": {name: asdict(layout) for name, layout in prepared.layouts.items()}} if prepared.maps else {}),
            **facts,
        },
    )


def _file_of(name: str) -> str:
    """The name, without ending, of the file of a further map."""
    return f"map-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _layout_from(content: Mapping[str, Any]) -> MapLayout:
    return MapLayout(content["kind"], tuple(content["channels"]), tuple(content["values"]))


def _transform_from(path: Path) -> dict[str, Any] | None:
    """As ``write_entry`` left it, the rows of its transform as tuples; None: the entry has none."""
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content | {"transform": tuple(tuple(row) for row in content["transform"])}


def _linked(source: Path, path: Path) -> bool:
    try:
        os.link(source, path)
    except OSError:  # a file system without links
        return False
    return True


def open_entry(folder: Path, case: Case) -> StoredCase | None:
    """The entry in a folder as the given case's; None when it is absent or damaged (a file missing or cut short).

    Entries of older code lack the forms of the native header: these are read from the case's file. They count as
    damaged where today's code has another grid for that file, or may refuse their empty mask (negative values).
    """
    try:
        content = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if any((folder / name).stat().st_size != size for name, size in content["bytes"].items()):
            return None
        native = Grid.from_json(content["native"])
        if "forms" not in content["native"]:
            today = read_grid(case.reference_image)
            if not today.matches(native) or content["lesion_voxels"] == 0:
                return None
            native = native.with_forms(today.forms)
        return StoredCase(
            case_id=case.case_id,
            subject_id=case.subject_id,
            site=case.site,
            channels=tuple(content["channels"]),
            grid=Grid.from_json(content["grid"]),
            native=native,
            steps=tuple(step_from_json(step) for step in content["steps"]),
            brain_source=content["brain_source"],
            lesion_voxels=content["lesion_voxels"],
            brain_voxels_per_slice=tuple(content["brain_voxels_per_slice"]),
            entry=folder,
            brain_box=None if content.get("brain_box") is None else _box_from(content["brain_box"]),
            maps={name: _layout_from(layout) for name, layout in content.get("maps", {}).items()},
            mirrored=None if (flipped := _transform_from(folder / MIRRORED)) is None else Mirrored(**flipped),
            registered=None if (moved := _transform_from(folder / REGISTERED)) is None else Registered(**moved),
        )
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None
