"""A user's own NIfTI files: a folder with images, labels, brain, or a table that names every file. Opens no image."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from strokelab.contract import ANY_LABEL, Case, MapFiles, MapLayout
from strokelab.data.readers import _scans
from strokelab.data.readers._names import is_mask
from strokelab.data.readers._tables import Row, Table, read_table
from strokelab.data.readers._tree import (
    Lead,
    Problems,
    Release,
    build_cases,
    lesion_file,
    nifti_files,
    no_twins,
    one,
    walk,
)
from strokelab.errors import DataError, DataWarning
from strokelab.nifti import foreign_format, is_volume, stem

RELEASE = Release(
    title="own files",
    layout="images/<case>_<modality>.nii.gz, labels/<case>.nii.gz (optional), brain/<case>.nii.gz (optional), "
    "cases.csv (optional), or a csv that names every file",
    one_grid=False,
)

# Columns of a table that are not modalities.
_RESERVED = ("case", "subject", "site", "label", "brain")
_MAP = ":"  # parts the name of a further map from its channel's
_SYNONYMS = {"lesion": "label", "mask": "label"}


@dataclass(frozen=True)
class _Settings:
    """What turns files into a case, whichever way they were found."""

    modalities: tuple[str, ...]
    label_modality: str
    above: float = 0.5
    values: Sequence[int] | None = None


def looks_like(root: Path) -> bool:
    """Whether there is a folder ``images``, or NIfTI files directly in ``root``."""
    return (root / "images").is_dir() or any(is_volume(path) for path in root.iterdir())


def read(
    root: Path,
    *,
    modalities: Sequence[str] | None = None,
    label_modality: str = "",
    table: str | Path | None = None,
    images: str = "images",
    labels: str = "labels",
    brain: str = "brain",
    values: Sequence[int] | None = None,
    above: float = 0.5,
    exclude: Sequence[str] = (),
    problems: Problems | None = None,
) -> list[Case]:
    """Cases from a folder (``images/<case>_<modality>.nii.gz`` ...) or from a csv that names every file.

    Args:
        root: the folder, or the csv itself.
        modalities: what every case must have, in this order; None: the endings of the file names where they are
            familiar (T1w, FLAIR, DWI ...), else every file is a case with the modality ``image``.
        label_modality: on whose grid the labels lie; empty: the first modality.
        table: a csv with one row per case and the columns ``case``, ``subject``, ``site``, ``label``, ``brain``
            (all optional but ``case``) and one per modality, paths relative to the csv. Columns like ``tissue:GM`` name
            maps of fractions (0 to 1), such as ``view.preparation.maps=[tissue]`` prepares; rows may lack them.
        images: name of the folder with images; without such a folder the files in ``root`` itself are the images,
            provided that no others lie in folders below.
        labels: name of the folder with masks; cases without one are unlabelled.
        brain: name of the folder with brain masks.
        values: label values that mean lesion; None: the share-of-maximum rule.
        above: share of a mask's maximum above which a voxel is lesion.
        exclude: case or subject ids to leave out.
        problems: collects what is wrong instead of raising it.

    Raises:
        DataError: a case lacks a modality, a label or a table row belongs to no case, a named file is missing.
    """

    def settings(found: Sequence[str]) -> _Settings:
        names = tuple(modalities or found)
        if label_modality and label_modality not in names:
            raise DataError(
                root,
                found=f"label_modality={label_modality!r} among the modalities {list(names)}",
                expected="one of the modalities",
                remedy="correct the option label_modality, or add it to the option modalities",
            )
        return _Settings(names, label_modality or next(iter(names), ""), above, values)

    if table is not None or root.is_file():
        path = root if table is None else (root if root.is_dir() else root.parent) / table
        leads = _from_table(path, settings)
    else:
        leads = _from_folders(root, settings, (images, labels, brain), problems)
    return build_cases(leads, root=root, exclude=exclude, problems=problems)


def _from_folders(
    root: Path, settings: Callable[[Sequence[str]], _Settings], names: tuple[str, str, str], problems: Problems | None
) -> list[Lead]:
    """The cases of a folder; labels and rows without a case are problems of their own."""
    images, labels, brain = (root / name for name in names)
    files = nifti_files(images if images.is_dir() else root)
    if not images.is_dir():
        files = [file for file in files if not file.is_relative_to(labels) and not file.is_relative_to(brain)]
    if not files or (not images.is_dir() and any(file.parent != root for file in files)):
        # Images in folders of other names: the tree of some dataset, whose templates must not pass for cases.
        return []
    if not images.is_dir():
        files = _without_masks(files, problems)
    _warn_of_unread([folder for folder in (images, labels, brain) if folder.is_dir()] or [root])
    chosen = settings(_scans.familiar_modalities(files))
    groups = _scans.group_scans(files, chosen.modalities)
    owned: dict[str, tuple[list[Path], list[Path]]] = {case: ([], []) for case in groups}
    for position, folder in enumerate((labels, brain)):
        for file in nifti_files(folder) if folder.is_dir() else ():
            case = _scans.owner(stem(file), owned)
            if case is None:
                _stray(file, "a mask whose name starts with no case's", f"<case>.nii.gz with {_some(groups)}", problems)
            else:
                owned[case][position].append(file)
    rows: dict[str, Row] = {}
    if (root / "cases.csv").is_file():
        rows = _by_case(read_table(root / "cases.csv"))
        for case in [name for name in rows if name not in groups]:
            _stray(root / "cases.csv", f"a row for the case {case!r}", f"cases with images: {_some(groups)}", problems)
    return [
        _lead(case, found, chosen, masks=owned[case][0], brains=owned[case][1], row=rows.get(case, {}))
        for case, found in groups.items()
    ]


def _from_table(path: Path, settings: Callable[[Sequence[str]], _Settings]) -> list[Lead]:
    table = read_table(path, lower=False)
    rows = [{_column(name): value for name, value in row.items()} for row in table.rows]
    columns = list(dict.fromkeys(_column(name) for name in table.columns if name))
    named = [name for name in columns if name not in _RESERVED and any(_is_file_name(row.get(name)) for row in rows)]
    files = [name for name in named if _MAP not in name]
    further = [name for name in named if _MAP in name]
    if "case" not in columns or not files:
        raise DataError(
            path,
            found=f"the columns {columns}",
            expected="a column 'case' and a column of NIfTI files per modality",
            remedy="add the missing columns",
        )
    chosen = settings(files)
    spelt = {name.lower(): name for name in files}

    def lead(case: str, row: Row) -> Lead:
        def listed(column: str) -> list[Path]:
            """Paths are relative to the table; several masks of one case are separated by semicolons."""
            names = str(row.get(column, "")).split(";")
            return [path.parent / name.strip() for name in names if name.strip()]

        found = {name: listed(spelt.get(name.lower(), name)) for name in chosen.modalities}
        meta = {key: value for key, value in row.items() if key not in named}
        fractions = {name: listed(name) for name in further}
        masks, brains = listed("label"), listed("brain")
        return _lead(case, found, chosen, masks=masks, brains=brains, maps=fractions, row=meta, must_exist=True)

    return [lead(case, row) for case, row in _by_case(replace(table, rows=tuple(rows))).items()]


def _lead(
    case_id: str,
    files: Mapping[str, list[Path]],
    settings: _Settings,
    *,
    masks: Sequence[Path] = (),
    brains: Sequence[Path] = (),
    maps: Mapping[str, Sequence[Path]] | None = None,
    row: Mapping[str, str | float] | None = None,
    must_exist: bool = False,
) -> Lead:
    known = dict(row or {})
    subject = str(known.pop("subject", _scans.subject_of(case_id)))
    site = known.pop("site", None)
    meta = {key: value for key, value in known.items() if key not in _RESERVED}

    def build() -> Case:
        around = [*(file for found in files.values() for file in found), *masks]
        images = {
            name: one(files.get(name, []), case=case_id, pattern=f"{case_id}_{name}.nii[.gz]", around=around)
            for name in settings.modalities
        }
        fractions = _fractions(maps or {}, case_id)
        others = [*masks, *brains, *(file for one_map in fractions.values() for file in one_map.files)]
        lost = [file for file in (*images.values(), *others) if must_exist and not file.is_file()]
        if lost:
            raise DataError(
                lost[0], found="no such file", expected=f"a file of the case {case_id}", remedy="correct the table"
            )
        return Case(
            case_id=case_id,
            subject_id=subject,
            dataset="folder",
            site=None if site is None else str(site),
            images=images,
            lesions=tuple(
                replace(lesion_file(file, settings.above, settings.values), allowed=ANY_LABEL)
                for file in no_twins(masks, case_id)
            ),
            label_modality=settings.label_modality,
            brain=one(brains, case=case_id, pattern=f"brain/{case_id}.nii[.gz]", around=brains) if brains else None,
            meta=meta,
            maps=fractions,
        )

    return Lead(case_id, subject, build)


def _fractions(columns: Mapping[str, Sequence[Path]], case_id: str) -> dict[str, MapFiles]:
    """The further maps of a case from its columns ``map:channel``; a case has all channels of a map, or not the map."""
    found: dict[str, dict[str, Sequence[Path]]] = {}
    for column, files in columns.items():
        name, _, channel = column.partition(_MAP)
        found.setdefault(name, {})[channel] = files
    maps: dict[str, MapFiles] = {}
    for name, channels in found.items():
        counts = {len(files) for files in channels.values()}
        if counts == {1}:
            layout = MapLayout("fraction", tuple(channels))
            maps[name] = MapFiles(layout, tuple(files[0] for files in channels.values()))
        elif counts != {0}:
            raise DataError(
                f"case {case_id}",
                found=", ".join(f"{len(files)} files in {name}:{channel}" for channel, files in channels.items()),
                expected=f"one file in every column of {name}, or none in any",
                remedy="complete the row, or empty these columns of it",
            )
    return maps


def _by_case(table: Table) -> dict[str, Row]:
    """The rows of a table by the case they are about; titles may be in any case of letters.

    Raises:
        DataError: no column of cases, a row without a case, or a case in two rows.
    """
    column = next((name for row in table.rows for name in row if name.lower() == "case"), None)
    if column is None:
        raise DataError(
            table.path,
            found=f"the columns {[name for name in table.columns if name]}",
            expected="a column 'case' with the ids of the cases",
            remedy="add it, or rename the column of the ids",
        )
    return table.named(column)


def _warn_of_unread(folders: Sequence[Path]) -> None:
    """Images of formats that are not read look like cases that are not there."""
    unread = [file for folder in folders for file in walk(folder) if foreign_format(file)]
    if unread:
        warnings.warn(
            f"{len(unread)} files of formats that are not read were left out: {', '.join(map(str, unread[:3]))}"
            + (" ..." if unread[3:] else ""),
            DataWarning,
            stacklevel=2,
        )


def _without_masks(files: Sequence[Path], problems: Problems | None) -> list[Path]:
    """The images of a folder in which everything lies side by side; masks among them are problems of their own."""
    images = [file for file in files if not is_mask(file)] or list(files)
    for file in files:
        if file not in images:
            _stray(file, "a mask by its name among the images", "masks in labels/<case>.nii.gz", problems)
    return images


def _stray(file: Path, found: str, expected: str, problems: Problems | None) -> None:
    error = DataError(file, found=found, expected=expected, remedy="rename it, or take it out")
    if problems is None:
        raise error
    problems.append(error)


def _is_file_name(value: object) -> bool:
    return isinstance(value, str) and is_volume(Path(value))


def _column(name: str) -> str:
    lower = name.lower()
    return _SYNONYMS.get(lower, lower if lower in _RESERVED else name)


def _some(cases: Iterable[str]) -> str:
    names = list(cases)
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
