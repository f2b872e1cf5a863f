"""New scans for a model of any contrast: the images of one subject and session are one case. Opens no image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelab.contract import Case
from strokelab.data.brain_masks import brain_beside
from strokelab.data.new_scans import NewScans, check_scan, files_of, no_scans, without_repeats
from strokelab.data.readers._names import contrast_of, contrast_said, is_mask, is_template
from strokelab.data.readers._scans import subject_of
from strokelab.files import natural_key
from strokelab.nifti import is_volume, stem

IMAGE = "image"
"""The modality of a scan whose name says none."""
_SERIES = ("BOLD", "fieldmap", "ASL", "CTP", "PWI", "PET")
_ENTITY = re.compile(r"(?P<key>[A-Za-z]+)-[A-Za-z0-9+]+")
_SESSION = ("sub", "ses", "space")
"""Entities of BIDS that images have in common which show one head in one place."""


@dataclass(frozen=True)
class _Scan:
    """What the name of a file says: whose, of which contrast, and what else."""

    file: Path
    modality: str
    case: str
    rest: str

    @classmethod
    def of(cls, file: Path) -> _Scan:
        """From its name, or that of its folder where its own is no more than the contrast."""
        name = stem(file)
        contrast = contrast_of(file)
        if contrast is None:
            return cls(file, IMAGE, name, "")
        if name.startswith("sub-"):
            words = name.split("_")
            keys = {word: match["key"] for word in words if (match := _ENTITY.fullmatch(word))}
            common = [word for word in keys if keys[word] in _SESSION]
            return cls(file, contrast, "_".join(common), "_".join(word for word in keys if word not in common))
        if name.startswith("VSD."):  # ISLES 2015: <case>/VSD.Brain.XX.O.MR_T1.70616/VSD.Brain.XX.O.MR_T1.70616.nii
            folder = file.absolute().parent
            return cls(file, contrast, (folder.parent if folder.name == name else folder).name, "")
        before, after = _around(name)
        return cls(file, contrast, before or file.absolute().parent.name, after)


def find_any_scans(paths: Sequence[str | Path]) -> NewScans:
    """New scans of any contrast: no labels, no site. Each image of a case is one modality of it.

    The images of a BIDS session (``sub-x_ses-1_*``) in one ``space`` are one case, and so are ``<case>_<contrast>`` or
    ``<case>/<contrast>``. Where a contrast comes more than once in a case (several runs), what else the names say
    tells cases apart. A file whose name says no contrast is a case of its own. Masks are never scans; templates and
    series of many volumes are none in a folder.

    Args:
        paths: image files, or folders that are searched at all depths. The first image of a case, as named or in
            natural order, is the one on whose grid predictions end.

    Raises:
        DataError: a path does not exist or is no image file, a named file is a mask, or nothing is a scan.
    """
    named, searched = files_of(paths)
    left_out: dict[Path, str] = {}
    scans: list[_Scan] = []
    for file in dict.fromkeys([*named, *searched]):
        reason = None if file in named else _why_not(file)
        if file in named:
            check_scan(file)
        if reason is None:
            scans.append(_Scan.of(file))
        else:
            left_out[file] = reason
    if not scans:
        raise no_scans(Path(paths[0]) if len(paths) == 1 else Path("inputs"), [*named, *searched], left_out, ())
    cases = [_case(case_id, images) for case_id, images in _grouped(scans).items()]
    return NewScans(sorted(cases, key=lambda case: natural_key(case.case_id)), left_out)


def _why_not(file: Path) -> str | None:
    """Why a file of a searched folder is no scan; None for a scan."""
    if not is_volume(file):
        return "files that are no images"
    if is_mask(file):
        return "masks by their names"
    contrast = contrast_of(file)
    if contrast is None and is_template(file):
        return "templates by their names"
    if contrast in _SERIES:
        return f"series or maps that show no anatomy ({contrast})"
    if (file.parent / f"{stem(file)}.bval").is_file():
        return "diffusion series, with a table of their directions beside them"
    return None


def _grouped(scans: Sequence[_Scan]) -> dict[str, list[_Scan]]:
    """Case id -> its images, no contrast twice."""
    groups: dict[tuple[str, ...], list[_Scan]] = {}
    for scan in scans:
        groups.setdefault((scan.case,), []).append(scan)
    told = (lambda scan: scan.rest, lambda scan: str(scan.file.absolute().parent))
    for further in told:
        parted: dict[tuple[str, ...], list[_Scan]] = {}
        for key, images in groups.items():
            for scan in images:
                own = (*key, further(scan)) if _repeated(images) else key
                parted.setdefault(own, []).append(scan)
        groups = parted
    single = [[scan] for images in groups.values() if _repeated(images) for scan in images]
    every = [images for images in groups.values() if not _repeated(images)] + single
    names = {images[0].file: _name(images) for images in every}
    names = without_repeats(names)
    return {names[images[0].file]: images for images in every}


def _repeated(images: Iterable[_Scan]) -> bool:
    return max(Counter(scan.modality for scan in images).values()) > 1


def _name(images: Sequence[_Scan]) -> str:
    """The case's id, with what all its names say besides."""
    words = [word for word in images[0].rest.split("_") if word]
    shared = [word for word in words if all(word in scan.rest.split("_") for scan in images)]
    return "_".join([images[0].case, *shared])


def _case(case_id: str, images: Sequence[_Scan]) -> Case:
    files: Mapping[str, Path] = {scan.modality: scan.file for scan in images}
    first = images[0]
    brain = brain_beside(first.file)
    return Case(case_id, subject_of(case_id), "folder", None, images=files, label_modality=first.modality, brain=brain)


def _around(name: str) -> tuple[str, str]:
    """What stands before and behind the word that says the contrast, the last that does."""
    words = re.split(r"([_. -]+)", name)
    for place in range(len(words) - 1, -1, -2):
        if contrast_said(words[place]):
            return "".join(words[: place - 1] if place else []), "_".join(words[place + 2 :: 2])
    return "", ""
