"""Scans of which no lesion is known: what of the named files and folders is a scan, and why the rest is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from strokelab.command_words import word
from strokelab.contract import Case
from strokelab.data.brain_masks import brain_beside
from strokelab.data.readers._names import CONTRASTS, contrast_of, contrast_said, is_mask, is_template
from strokelab.data.readers._scans import Named, group_scans, split_name, subject_of
from strokelab.data.readers._tree import Lead, build_cases, listing, one, walk
from strokelab.errors import ConfigError, DataError
from strokelab.files import natural_key
from strokelab.nifti import foreign_format, is_volume, partner, stem

_MASK = "masks by their names"


@dataclass(frozen=True)
class NewScans:
    """What was found among the named files and folders."""

    cases: list[Case]
    left_out: Mapping[Path, str] = field(default_factory=dict)  # file -> reason, of the searched folders only
    assumed: tuple[Path, ...] = ()  # files of searched folders whose names say no contrast, taken for the run's


def find_scans(
    paths: Sequence[str | Path], modalities: Sequence[str], *, label_modality: str = "", as_modality: str | None = None
) -> NewScans:
    """New scans to predict: no labels, no site.

    One modality: each named file is a case, and each file of a folder whose name says this contrast or none. Several
    modalities: ``<case>_<modality>`` (or ``<case>/<modality>``) files are grouped, in whatever folders they lie.
    Masks are never scans; a brain mask beside the image of ``label_modality`` is its brain. Dot files are not seen.

    Args:
        paths: image files, or folders that are searched at all depths.
        modalities: what every case must have, in this order; ``image`` alone stands for any contrast.
        label_modality: on whose grid predictions end; empty: the first modality.
        as_modality: take files for this modality whatever contrast their names say; only with one modality.

    Raises:
        DataError: a path does not exist or is no image file, a named file is a mask or of another contrast, nothing
            fits, a modality is missing, an id twice.
        ConfigError: ``as_modality`` is not the one modality.
    """
    _check_given(as_modality, modalities)
    named, searched = files_of(paths)
    left_out: dict[Path, str] = {}
    scans: list[Path] = []
    for file in dict.fromkeys([*named, *searched]):
        reason = _why_not(file, modalities, as_modality)
        if reason is None:
            scans.append(file)
        elif file in named:
            raise _refused(file, modalities, reason)
        else:
            left_out[file] = reason
    where = Path(paths[0]) if len(paths) == 1 else Path("inputs")
    if len(modalities) == 1:
        groups: Named = {}
        for file, name in _ids(scans, modalities[0]).items():
            groups.setdefault(name, {modalities[0]: []})[modalities[0]].append(file)
    else:
        groups = group_scans(scans, modalities)
        known = {file for files in groups.values() for candidates in files.values() for file in candidates}
        for file in scans:
            if file not in known:
                if file in named:
                    raise _refused(file, modalities, "a name that says no modality")
                left_out[file] = f"names that say none of {', '.join(modalities)}"
    if not groups:
        raise no_scans(where, [*named, *searched], left_out, modalities)
    leads = [_lead(case_id, files, modalities, label_modality) for case_id, files in groups.items()]
    wanted = contrast_said(modalities[0])
    assumed = [file for file in scans if file not in named and wanted and not as_modality and not contrast_of(file)]
    return NewScans(build_cases(leads, root=where), left_out, tuple(assumed) if len(modalities) == 1 else ())


def grouped(left_out: Mapping[Path, str], most: int = 3) -> list[str]:
    """A line per reason for which files were left out, with some of their names."""
    files: dict[str, list[Path]] = {}
    for file, reason in left_out.items():
        files.setdefault(reason, []).append(file)
    return [
        f"{len(group)} {reason}: {', '.join(file.name for file in group[:most])}{' ...' if len(group) > most else ''}"
        for reason, group in files.items()
    ]


def _check_given(as_modality: str | None, modalities: Sequence[str]) -> None:
    if as_modality is None or (len(modalities) == 1 and as_modality.lower() == modalities[0].lower()):
        return
    if len(modalities) > 1:
        raise ConfigError(
            "--as",
            found=f"{as_modality!r} for a run of {', '.join(modalities)}",
            expected="a run of one modality",
            remedy=f"rename the files to <case>_<modality>.nii.gz with each of {', '.join(modalities)}",
        )
    raise ConfigError(
        "--as",
        found=repr(as_modality),
        expected=f"the run's modality, {modalities[0]}",
        remedy=f"--as {word(modalities[0])}",
    )


def files_of(paths: Sequence[str | Path]) -> tuple[list[Path], list[Path]]:
    """Files that were named one by one, and all files of the folders, in natural order."""
    named: list[Path] = []
    searched: list[Path] = []
    for path in (Path(path).expanduser() for path in paths):
        if path.is_dir():
            files = (file for file in walk(path) if not _is_header(file))
            searched += sorted(files, key=lambda file: natural_key(str(file)))
        elif path.is_file() and is_volume(path):
            named.append(path)
        else:
            raise _no_image(path)
    return named, searched


def _is_header(file: Path) -> bool:
    """Whether a file is the header of a pair that is there, and so no file of its own."""
    other = None if is_volume(file) else partner(file)
    return other is not None and other.is_file()


def _no_image(path: Path) -> DataError:
    foreign, other = foreign_format(path), partner(path)
    found = f"{foreign.name}, which is not read" if foreign else "a file of another kind"
    return DataError(
        path,
        found=found if path.exists() else "nothing",
        expected="an image file (.nii, .nii.gz, .mgz, .img with .hdr) or a folder of them",
        remedy=foreign.remedy if foreign else f"name {other}" if other and other.is_file() else "check the path",
    )


def _why_not(file: Path, modalities: Sequence[str], as_modality: str | None) -> str | None:
    """Why a file is no scan of the run; None for a scan."""
    if not is_volume(file):
        foreign = foreign_format(file)
        return f"images of a format that is not read ({foreign.name})" if foreign else "files that are no images"
    if is_mask(file) and split_name(file, modalities) is None:
        return _MASK
    wanted, said = contrast_said(modalities[0]), contrast_of(file)
    if len(modalities) > 1 or as_modality or not wanted:
        return None
    if said is None:
        return "templates by their names" if is_template(file) else None
    return None if said == wanted else f"scans of another contrast by their names ({said})"


def _refused(file: Path, modalities: Sequence[str], reason: str) -> DataError:
    if reason == _MASK:
        return DataError(
            file,
            found="a mask by its name",
            expected=f"a scan ({', '.join(modalities)})",
            remedy="name the scan itself; rename the file if it is one",
        )
    if len(modalities) > 1:
        return DataError(
            file,
            found="a name that says no modality",
            expected=f"<case>_<modality>.nii.gz with one of {list(modalities)}",
            remedy="rename the file, or predict with a model of one modality",
        )
    said = contrast_of(file)
    return DataError(
        file,
        found=f"a scan of {said} by its name" if said else "a template by its name",
        expected=f"{modalities[0]}, which the run was trained on",
        remedy=f"if it is {modalities[0]} all the same: --as {word(modalities[0])} "
        f"(in Python as_modality={modalities[0]!r})",
    )


def check_scan(file: Path) -> None:
    """Refuse a file that is named one by one for a model of any contrast and is no scan.

    Raises:
        DataError: it is a mask by its name.
    """
    if is_mask(file):
        raise _refused(file, ("image",), _MASK)


def no_scans(where: Path, files: Sequence[Path], left_out: Mapping[Path, str], modalities: Sequence[str]) -> DataError:
    """The error where nothing that was named is a scan.

    Args:
        where: what was named.
        files: all files that were looked at.
        left_out: file -> reason.
        modalities: of the run; (): it takes any contrast.
    """
    images = [file for file in files if is_volume(file)]
    contrasts = [said for file in images if not is_mask(file) and (said := contrast_of(file))]
    expected = f"scans called <case>_<modality>.nii.gz of {', '.join(modalities)}, which the run was trained on"
    remedy = "check the path, or rename the files"
    if contrasts and len(modalities) == 1:
        remedy = f"apply a run that was trained on {' or '.join(dict.fromkeys(contrasts))}; "
        remedy += f"if these are {modalities[0]} all the same: --as {word(modalities[0])}"
    return DataError(
        where,
        found="; ".join(grouped(left_out)) if images else listing(images),
        expected=expected if modalities else "scans of any contrast, such as <case>_<contrast>.nii.gz",
        remedy=remedy,
    )


def _ids(scans: Sequence[Path], modality: str) -> dict[Path, str]:
    """Each scan's case id: its name less the modality; more of the name, then of the folders, where two are alike."""
    names = {file: _short(file, modality) for file in scans}
    side_by_side = _repeated({file: (file.parent, name) for file, name in names.items()})
    names |= {file: stem(file) for file in side_by_side if split_name(file, [modality]) is None}
    return without_repeats(names)


def without_repeats(names: Mapping[Path, str]) -> dict[Path, str]:
    """File -> a name of its own: where two are alike, with those folders before it that differ."""
    names = dict(names)
    folders = {file: file.absolute().parent.parts for file in _repeated(names)}
    twins: dict[str, list[tuple[str, ...]]] = {}
    for file, parts in folders.items():
        twins.setdefault(names[file], []).append(parts)
    for file, parts in folders.items():
        others = twins[names[file]]
        differing = [
            part for level, part in enumerate(parts) if len({other[level : level + 1] for other in others}) > 1
        ]
        names[file] = "_".join([*differing, names[file]])
    return names


def _short(file: Path, modality: str) -> str:
    contrast = contrast_said(modality)
    said = [modality, *(CONTRASTS[contrast].split() if contrast else ())]
    found = split_name(file, said) or split_name(file, [modality], inside=True)
    return stem(file) if found is None or contrast_said(found[0]) else found[0]


def _repeated(names: Mapping[Path, Hashable]) -> list[Path]:
    counts = Counter(names.values())
    return [file for file, name in names.items() if counts[name] > 1]


def _lead(case_id: str, files: Mapping[str, list[Path]], modalities: Sequence[str], label_modality: str) -> Lead:
    def build() -> Case:
        around = [file for found in files.values() for file in found]
        images = {
            name: one(files.get(name, []), case=case_id, pattern=f"{case_id}_{name}.nii[.gz]", around=around)
            for name in modalities
        }
        label = label_modality or modalities[0]
        brain = brain_beside(images[label])
        return Case(case_id, subject_of(case_id), "folder", None, images=images, label_modality=label, brain=brain)

    return Lead(case_id, subject_of(case_id), build)
