"""Where masks lie: a file, a folder at all depths, or a quoted pattern. Knows names, opens no file."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from strokelab.data.readers._tree import nifti_files
from strokelab.errors import DataError
from strokelab.files import natural_key
from strokelab.nifti import SUFFIXES
from strokelab.scoreboard.names import Name, read_name, read_names


@dataclass(frozen=True)
class Named:
    """A file and what its name tells."""

    path: Path
    name: Name


@dataclass(frozen=True)
class Found:
    """What a search for masks found, in natural order of the paths."""

    where: str
    files: tuple[Named, ...]
    left_aside: tuple[Path, ...] = field(default=())  # NIfTI files whose names say that they are something else
    single: bool = False  # one file was named, so that its name need not fit anything

    def aside(self, whose: str) -> tuple[str, ...]:
        """A sentence about the files that were left aside, if there are any."""
        if not self.left_aside:
            return ()
        names = ", ".join(str(path) for path in self.left_aside[:3]) + (" ..." if len(self.left_aside) > 3 else "")
        return (
            f"{whose}: {len(self.left_aside)} files are called like images or other maps, or name no person: {names}",
        )


def find_masks(where: str | Path, *, graded: bool = False) -> Found:
    """The masks of a file, a folder or a pattern such as ``"runs/*/masks/*.nii.gz"``.

    Dot files are not seen. Files called like images (``T1w``, ``dwi``, ``desc-brain_mask`` ...) are left aside unless
    all are called so, and so are files that name no person (templates, atlases) where others are BIDS. Of a scan's
    masks and probability maps (``probseg``, ``prob`` ...) the maps are taken when ``graded``, the masks otherwise.

    Args:
        where: the place.
        graded: a threshold will be applied.

    Raises:
        DataError: there is nothing, or no NIfTI file.
    """
    path = Path(where).expanduser()
    if path.is_file() and path.name.endswith(SUFFIXES):
        return Found(str(where), (Named(path, read_name(path)),), single=True)
    paths = _search(path)
    if not paths:
        raise DataError(
            where,
            found="no NIfTI file" if path.exists() else "nothing",
            expected="a NIfTI file (.nii, .nii.gz), a folder of them, or a quoted pattern",
            remedy="check the path; masks of other formats (.mha, .nrrd, .mgz ...) can be converted, e.g. by SimpleITK",
        )
    root = path if path.is_dir() else _stem_of_pattern(path)
    named = [Named(file, name) for file, name in zip(paths, read_names(paths, root), strict=True)]
    masks = [one for one in named if one.name.kind not in ("image", "other")] or named
    masks = [one for one in masks if one.name.person.startswith("sub-")] or masks
    kept = _of_one_kind(masks, graded)
    chosen = {one.path for one in kept}
    return Found(str(where), tuple(kept), tuple(file for file in paths if file not in chosen))


def _search(path: Path) -> list[Path]:
    if path.is_dir():
        return nifti_files(path)
    if path.exists() or not glob.has_magic(str(path)):
        return []
    found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    files = [file for file in found if file.name.endswith(SUFFIXES) and not file.name.startswith(".")]
    return sorted(files, key=lambda file: natural_key(str(file)))


def _stem_of_pattern(pattern: Path) -> Path:
    """The folder above the first part with a wildcard."""
    plain = pattern
    while glob.has_magic(str(plain)):
        plain = plain.parent
    return plain


def _of_one_kind(files: Sequence[Named], graded: bool) -> list[Named]:
    """Per scan either its masks or its probability maps, where it has both."""
    scans: dict[str, set[str]] = {}
    for one in files:
        scans.setdefault(one.name.key, set()).add(one.name.kind)
    wanted = "probability" if graded else "mask"
    return [one for one in files if one.name.kind == wanted or wanted not in scans[one.name.key]]
