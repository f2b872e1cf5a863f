"""Where masks lie: a file, a folder at all depths, or a quoted pattern. Knows names, opens no file."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from strokelab.data.readers._tree import walk
from strokelab.errors import DataError
from strokelab.files import natural_key
from strokelab.nifti import foreign_format, is_volume
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
    unread: tuple[Path, ...] = ()  # images of formats that are not read

    def aside(self, whose: str) -> tuple[str, ...]:
        """Sentences about the files that were left aside, if there are any."""
        reasons = {
            "files are called like images or other maps, or name no subject": self.left_aside,
            "files are of formats that are not read, and were left out": self.unread,
        }
        return tuple(f"{whose}: {len(files)} {reason}: {_few(files)}" for reason, files in reasons.items() if files)


def find_masks(where: str | Path, *, graded: bool = False) -> Found:
    """The masks of a file, a folder or a pattern such as ``"runs/*/masks/*.nii.gz"``.

    Dot files are not seen. Files called like images (``T1w``, ``dwi``, ``desc-brain_mask`` ...) are left aside unless
    all are called so, and so are files that name no subject (templates, atlases) where others are BIDS. Of a scan's
    masks and probability maps (``probseg``, ``prob`` ...) the maps are taken when ``graded``, the masks otherwise.

    Args:
        where: the place.
        graded: a threshold will be applied.

    Raises:
        DataError: there is nothing, or no NIfTI file.
    """
    path = Path(where).expanduser()
    if path.is_file() and is_volume(path):
        return Found(str(where), (Named(path, read_name(path)),), single=True)
    seen = _search(path)
    paths = [file for file in seen if is_volume(file)]
    unread = tuple(file for file in seen if foreign_format(file))
    if not paths:
        foreign = foreign_format(unread[0] if unread else path)
        raise DataError(
            where,
            found=f"no NIfTI file, but {len(unread)} of other formats: {_few(unread)}"
            if unread
            else ("no NIfTI file" if path.exists() else "nothing"),
            expected="a NIfTI file (.nii, .nii.gz), a folder of them, or a quoted pattern",
            remedy=foreign.remedy if foreign else "check the path",
        )
    root = path if path.is_dir() else _stem_of_pattern(path)
    named = [Named(file, name) for file, name in zip(paths, read_names(paths, root), strict=True)]
    masks = [one for one in named if one.name.kind not in ("image", "other")] or named
    masks = [one for one in masks if one.name.subject.startswith("sub-")] or masks
    kept = _of_one_kind(masks, graded)
    chosen = {one.path for one in kept}
    return Found(str(where), tuple(kept), tuple(file for file in paths if file not in chosen), unread=unread)


def _search(path: Path) -> list[Path]:
    """All visible files of a folder or a pattern, in natural order."""
    if path.is_dir():
        found = list(walk(path))
    elif path.exists() or not glob.has_magic(str(path)):
        found = []
    else:
        names = (Path(name) for name in glob.glob(str(path), recursive=True))
        found = [file for file in names if not file.name.startswith(".") and not file.is_dir()]
    return sorted(found, key=lambda file: natural_key(str(file)))


def _few(files: Sequence[Path], most: int = 3) -> str:
    return ", ".join(str(path) for path in files[:most]) + (" ..." if len(files) > most else "")


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
