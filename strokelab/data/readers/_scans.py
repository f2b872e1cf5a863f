"""File names of free form to cases: ``<case>_<modality>``, ``<case>/<modality>``, or one file, one case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from strokelab.nifti import stem

# Endings that are taken for modalities when none are named.
FAMILIAR = (
    *("T1w", "T1c", "T1ce", "T1gd", "T1", "T2w", "T2", "FLAIR", "PD", "SWI", "DWI", "ADC", "b0", "trace", "CT"),
    *("CBF", "CBV", "TTP", "Tmax", "MTT"),
)

Named = dict[str, dict[str, list[Path]]]
"""Case -> modality -> candidate files."""


def split_name(file: Path, modalities: Sequence[str], *, inside: bool = False) -> tuple[str, str] | None:
    """Case and modality of ``<case>_<modality>`` or ``<case>/<modality>``, in any case of letters.

    Args:
        file: the file.
        modalities: the names to look for.
        inside: accept more words after the modality, as in ``031806_t1w_deface_stx``.
    """
    name = stem(file)
    for modality in sorted(modalities, key=len, reverse=True):
        if name.lower() == modality.lower():
            return file.parent.name, modality
        rest = r"(_.*)?" if inside else ""
        if match := re.fullmatch(rf"(.+)_{re.escape(modality)}{rest}", name, re.IGNORECASE):
            return match[1], modality
    return None


def group_scans(files: Iterable[Path], modalities: Sequence[str]) -> Named:
    """Files by case and modality; files whose names tell no modality are left out.

    With a single modality and no file that names it, every file is a case of its own.
    """
    paths = list(files)
    for inside in (False, True):
        named = {file: split_name(file, modalities, inside=inside) for file in paths}
        if any(named.values()):
            groups: Named = {}
            for file, found in named.items():
                if found is not None:
                    groups.setdefault(found[0], {}).setdefault(found[1], []).append(file)
            return groups
    if len(modalities) != 1:
        return {}
    alone: Named = {}
    for file in paths:
        alone.setdefault(stem(file), {}).setdefault(modalities[0], []).append(file)
    return alone


def familiar_modalities(files: Iterable[Path]) -> tuple[str, ...]:
    """The modalities that file names end with, spelt as found; a single ``image`` when some file ends otherwise."""
    spelt: dict[str, str] = {}
    for file in files:
        word = stem(file).rsplit("_", 1)[-1]
        if word.lower() not in {name.lower() for name in FAMILIAR}:
            return ("image",)
        spelt.setdefault(word.lower(), word)
    order = [name.lower() for name in FAMILIAR]
    return tuple(spelt[name] for name in sorted(spelt, key=order.index))


def owner(name: str, cases: Iterable[str]) -> str | None:
    """The case a label or brain file belongs to: the longest id that the file's stem is, or starts with as words."""
    fitting = [case for case in cases if name == case or re.match(rf"{re.escape(case)}[_.-]", name)]
    return max(fitting, key=len, default=None)


def subject_of(case_id: str) -> str:
    """The subject of a case: the ``sub-`` part of a BIDS name, else the case itself."""
    match = re.match(r"sub-[A-Za-z0-9]+", case_id)
    return match[0] if match else case_id
