"""Which files hold the tissue maps of which set: a folder or a table. Reads headers and names, no voxels.

Layouts: ``docs/datasets.md``, section "Tissue maps".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelab.contract import BACKGROUND
from strokelab.errors import DataError
from strokelab.files import natural_key
from strokelab.nifti import count_channels, is_volume, stem
from strokelab.synthesis.fractions import TISSUES

CHANNELS, LABELS, BRAIN = "tissues", "labels", "brain"
"""What a file may hold beside a single class: several channels, integer labels, the brain mask."""

_ROLES = {role.lower(): role for role in (*TISSUES, CHANNELS, LABELS, BRAIN)}
_PROBABILITY = re.compile(r"(?:^|_)label-(?P<role>[^_]+)(?:_.*)?_probseg$", re.IGNORECASE)  # BIDS
_LAST = re.compile(r"(?:^|_)(?P<role>[^_]+)$")
_LAYOUTS = (
    "<set>_GM.nii.gz and <set>_WM.nii.gz (with _PV, _CSF, _brain and further classes), <set>.nii.gz of several "
    "channels, or <set>_labels.nii.gz; in the folder itself or in sub-folders"
)


@dataclass(frozen=True)
class MapFiles:
    """The files of one set: a class, ``tissues``, ``labels`` or ``brain`` -> its file."""

    name: str
    files: Mapping[str, Path]

    def classes(self, order: Sequence[str], legend: Mapping[int, str]) -> tuple[str, ...]:
        """The classes that it has, without background: those of a file of several channels by their order.

        Args:
            order: of the first channels of such a file; further ones are called ``class5``, ``class6``, ...
            legend: of a label map.

        Raises:
            DataError: GM or WM is missing, a file has fewer channels than the order names, or labels have no legend.
        """
        found: tuple[str, ...] = tuple(name for name in self.files if name not in (CHANNELS, LABELS, BRAIN))
        if CHANNELS in self.files:
            found = tuple(name for name in self.channels(order) if name != BACKGROUND) + found
        if LABELS in self.files:
            found = tuple(dict.fromkeys(name for name in legend.values() if name != BACKGROUND)) + found
        missing = [name for name in ("GM", "WM") if name not in found]
        if missing:
            why = " (no legend is given)" if LABELS in self.files and not legend else ""
            raise DataError(
                next(iter(self.files.values())),
                found=f"the set {self.name!r} without {' and '.join(missing)}{why}",
                expected="maps of GM and WM at least",
                remedy="say what the labels mean with the setting legend, such as {1: GM, 2: WM, 3: CSF}"
                if LABELS in self.files
                else f"name the files so that their classes are known: {_LAYOUTS}",
            )
        return found

    def channels(self, order: Sequence[str]) -> tuple[str, ...]:
        """The class of each channel of the file with several channels.

        Raises:
            DataError: it has fewer than the order names.
        """
        path = self.files[CHANNELS]
        count, _ = count_channels(path)
        if count < len(order):
            raise DataError(
                path,
                found=f"{count} channel{'s' * (count > 1)}",
                expected=f"{len(order)} or more: {', '.join(order)}",
                remedy="name the file's channels with the setting order; a file of one class ends in _GM, _WM, ...",
            )
        return (*order, *(f"class{number}" for number in range(len(order) + 1, count + 1)))


def sets_of(root: Path) -> list[MapFiles]:
    """The sets of a folder or a table, in natural order of their names.

    Raises:
        DataError: there is none; a file has no role or a role twice; a row of the table is incomplete.
    """
    found = _of_table(root) if root.is_file() else _of_folder(root)
    if not found:
        raise DataError(
            root,
            found="no tissue maps" if root.exists() else "no such file or folder",
            expected=f"a csv that names them, or a folder with {_LAYOUTS}",
            remedy="check the path; without a folder of your own the maps of the MNI template are used (root: null)",
        )
    return sorted(found, key=lambda one: natural_key(one.name))


def _of_folder(root: Path) -> list[MapFiles]:
    volumes = [file for file in _walked(root) if is_volume(file)]
    sets: dict[str, dict[str, Path]] = {}
    for path in volumes:
        name, role = _parted(path, root)
        if role is not None:
            _put(sets, name, role, path)
    for path in volumes:
        if _parted(path, root)[1] is None:
            _put(sets, *_further(path, root, sets), path)
    return [MapFiles(name, files) for name, files in sets.items()]


def _walked(root: Path) -> list[Path]:
    files = (file for file in root.rglob("*") if file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts))


def _parted(path: Path, root: Path) -> tuple[str, str | None]:
    """The set that a file belongs to and its role, where its name says one."""
    text = stem(path)
    for pattern in (_PROBABILITY, _LAST):
        match = pattern.search(text)
        if match and (role := _ROLES.get(match["role"].lower())):
            return _set_name(path, root, text[: match.start()]), role
    return _set_name(path, root, text), None


def _further(path: Path, root: Path, sets: Mapping[str, Mapping[str, Path]]) -> tuple[str, str]:
    """A file without a known role: a further class beside a set's GM, else all channels of a set."""
    text = stem(path)
    for pattern in (_PROBABILITY, _LAST):
        match = pattern.search(text)
        if match and "GM" in sets.get(name := _set_name(path, root, text[: match.start()]), {}):
            return name, match["role"]
    return _set_name(path, root, text), CHANNELS


def _set_name(path: Path, root: Path, text: str) -> str:
    """The folders below the root and what is left of the file's name."""
    return "/".join((*path.parent.relative_to(root).parts, *([text] if text else []))) or "maps"


def _put(sets: dict[str, dict[str, Path]], name: str, role: str, path: Path) -> None:
    files = sets.setdefault(name, {})
    if role in files:
        raise DataError(
            path,
            found=f"{role} of the set {name!r} for the second time, after {files[role]}",
            expected="one file for each class of a set",
            remedy="remove or rename one of them",
        )
    files[role] = path


def _of_table(path: Path) -> list[MapFiles]:
    sets: dict[str, dict[str, Path]] = {}
    for line, row in _rows(path):
        name = row.pop("set", "")
        if not name or name in sets:
            raise DataError(
                path,
                found=f"row {line}: " + (f"the set {name!r} for the second time" if name else "no name of a set"),
                expected="a name of its own in the column set of every row",
                remedy="correct the table",
            )
        sets[name] = {_ROLES.get(key.lower(), key): path.parent / value for key, value in row.items()}
    return [MapFiles(name, files) for name, files in sets.items()]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table with their lines; cells without blanks around them, empty ones left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            path, found=f"{type(error).__name__}: {error}", expected="a csv in UTF-8", remedy="save the table again"
        ) from error
    reader = csv.DictReader(lines)
    titles = {title: str(title).strip() for title in reader.fieldnames or ()}
    known = {title.lower() for title in titles.values()}
    if "set" not in known or not known & {"gm", CHANNELS, LABELS}:
        raise DataError(
            path,
            found=f"the columns {', '.join(titles.values()) or '(none)'}",
            expected="set, GM, WM, PV, CSF, brain (and further classes); or set, tissues, brain; or set, labels, brain",
            remedy="correct the first line; columns are parted by commas",
        )
    for row in reader:
        cells = {titles[title]: (value or "").strip() for title, value in row.items() if title in titles}
        kept = {("set" if title.lower() == "set" else title): value for title, value in cells.items() if value}
        if kept:
            yield reader.line_num, kept
