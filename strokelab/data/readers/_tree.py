"""What every reader shares: visible files, one file or an error, leads to cases. Knows names, opens no file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from strokelab.contract import ANY_LABEL, Case, LesionFile, check_unique
from strokelab.errors import ConfigError, DataError
from strokelab.files import natural_key
from strokelab.nifti import is_volume, stem

Subset = Literal["training", "testing", "all"]
Problems = list[DataError]

_SUBSET_WORDS = {"train": "training", "training": "training", "test": "testing", "testing": "testing"}


@dataclass(frozen=True)
class Release:
    """What is published about a dataset, so that a check can hold a folder against it."""

    title: str
    layout: str  # how a complete folder looks, one line, for error messages
    counts: Mapping[int, str] = field(default_factory=dict)  # number of cases -> which release that is
    one_grid: bool = True  # whether the release promises all images of a case on one grid
    errata: Mapping[str, str] = field(default_factory=dict)  # subject or case id -> what is reported about it


@dataclass(frozen=True)
class Lead:
    """Traces of one case on disk: its name is known, whether it is complete shows when ``build`` is called."""

    case_id: str
    subject_id: str
    build: Callable[[], Case]


def walk(root: Path) -> Iterator[Path]:
    """Every visible file below ``root``; names that start with a dot are skipped, links are followed once.

    Links that lead nowhere count as files: opening them later gives an error that names them.

    Raises:
        DataError: ``root`` is not a folder, or a folder below it cannot be listed.
    """
    if not root.is_dir():
        raise DataError(
            root,
            found="a file" if root.exists() else "nothing",
            expected="the unpacked folder of the dataset",
            remedy="check the path (data.root, or the variable STROKELAB_DATA)"
            + ("; unpack the archive first" if root.exists() else ""),
        )
    seen: set[tuple[int, int]] = set()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                folder,
                found=f"{type(error).__name__}: {error.strerror or error}",
                expected="a folder that can be listed",
                remedy="check the permissions",
            ) from error
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                pending.append(Path(entry.path))
            else:
                yield Path(entry.path)


def nifti_files(root: Path) -> list[Path]:
    """Every visible image file (``is_volume``) below ``root`` in natural order.

    Raises:
        DataError: as ``walk``.
    """
    files = [path for path in walk(root) if is_volume(path)]
    return sorted(files, key=lambda path: natural_key(str(path)))


def any_stem(root: Path, pattern: str) -> bool:
    """Whether some NIfTI file below ``root`` has a stem that matches ``pattern`` as a whole, in any case."""
    wanted = re.compile(pattern, re.IGNORECASE)
    return any(is_volume(path) and wanted.fullmatch(stem(path)) for path in walk(root))


def build_cases(
    leads: Iterable[Lead], *, root: Path, exclude: Sequence[str] = (), problems: Problems | None = None
) -> list[Case]:
    """Turn leads into cases in natural order of their ids.

    Args:
        leads: the traces a reader found.
        root: where they were found, for messages.
        exclude: case or subject ids to leave out; they are not even looked at.
        problems: collects what is wrong, case by case; None: the first problem is raised.

    Raises:
        DataError: a case is incomplete or two cases share an id (only without ``problems``).
        ConfigError: ``exclude`` names something that is not there.
    """
    ordered = sorted(leads, key=lambda lead: natural_key(lead.case_id))
    names = {name for lead in ordered for name in (lead.case_id, lead.subject_id)}
    unwanted = {as_id(name, names, "data.exclude") for name in exclude}
    if ordered and unwanted - names:
        raise ConfigError(
            "data.exclude",
            found=f"{sorted(unwanted - names)}, which {root} does not hold",
            expected=f"case or subject ids such as {ordered[0].case_id!r} or {ordered[0].subject_id!r}",
            remedy="correct the spelling; quote ids that consist of digits",
        )
    cases: dict[str, Case] = {}
    for lead in ordered:
        if {lead.case_id, lead.subject_id} & unwanted:
            continue
        try:
            case = lead.build()
            check_unique([cases[case.case_id], case] if case.case_id in cases else [case], root)
        except DataError as error:
            if problems is None:
                raise
            problems.append(error)
        else:
            cases[case.case_id] = case
    return list(cases.values())


def as_id(given: object, names: Iterable[str], setting: str) -> str:
    """An id as a setting gives it: text, or a number that only one of the ids can mean.

    Args:
        given: without quotes a setting turns 2.10 into 2.1, 007 into 7 and 1_000 into 1000.
        names: the ids there are.
        setting: its name, for messages.

    Raises:
        ConfigError: a number or another value that several ids, or one that is written another way, can mean.
    """
    if isinstance(given, str):
        return given
    alike = sorted({name for name in names if _as_setting(name) == given}, key=natural_key)
    if alike in ([], [str(given)]):
        return str(given)
    raise ConfigError(
        setting,
        found=f"the {type(given).__name__} {given}, where {', '.join(map(repr, alike[:4]))} may be meant",
        expected="ids as text",
        remedy=f"quote it, as in '{setting}=[\"{alike[0]}\"]'",
    )


def _as_setting(name: str) -> object:
    """What a setting makes of an id that is not quoted."""
    if name.lower() in ("true", "false"):
        return name.lower() == "true"
    try:
        return int(name)
    except ValueError:
        pass
    try:
        return float(name)
    except ValueError:
        return name


def one(files: Sequence[Path], *, case: str, pattern: str, around: Iterable[Path], remedy: str = "") -> Path:
    """The single file of a kind that a case must have.

    Args:
        files: the candidates.
        case: the case's id, for messages.
        pattern: what the file should be called.
        around: the files that do lie there.
        remedy: replaces the standard advice for a missing file.

    Raises:
        DataError: there is none, or there are several (two copies of one file included).
    """
    if not files:
        raise DataError(
            f"case {case}",
            found=listing(around),
            expected=pattern,
            remedy=remedy or "copy the missing file, or leave the case out with data.exclude",
        )
    if len(files) > 1:
        raise DataError(
            f"case {case}",
            found=f"{len(files)} files for one: {', '.join(str(file) for file in files)}",
            expected=f"exactly one {pattern}",
            remedy="remove all copies but one",
        )
    return files[0]


def no_twins(files: Sequence[Path], case: str) -> Sequence[Path]:
    """The files, none of which lies there both plain and gzipped.

    Raises:
        DataError: naming both copies.
    """
    seen: dict[Path, Path] = {}
    for file in files:
        bare = file.with_name(stem(file))
        if bare in seen:
            one([seen[bare], file], case=case, pattern=stem(file), around=files)
        seen[bare] = file
    return files


def lesion_files(
    files: Sequence[Path], case: str, above: float, values: Sequence[int] | None = None
) -> tuple[LesionFile, ...]:
    """Mask files of one case, read by the share-of-maximum rule, or by the label values that mean lesion."""
    return tuple(lesion_file(file, above, values) for file in no_twins(files, case))


def lesion_file(file: Path, above: float, values: Sequence[int] | None = None) -> LesionFile:
    """One mask file; where ``values`` are named, all others are background, whatever they are.

    Raises:
        ConfigError: ``values`` are no positive whole numbers.
    """
    if values is None:
        return LesionFile(file, above=above)
    listed = [values] if isinstance(values, int) else list(values)
    if not listed or not all(isinstance(value, int) and not isinstance(value, bool) and value > 0 for value in listed):
        raise ConfigError(
            "data.options.values",
            found=repr(values),
            expected="positive whole numbers, at least one",
            remedy="e.g. data.options.values=[1,2]",
        )
    return LesionFile(file, values=tuple(listed), allowed=ANY_LABEL, above=above)


def subset_of(path: Path, root: Path) -> Literal["training", "testing"] | None:
    """Which part of a release a file belongs to, by the last word of the nearest folder whose name says it."""
    folders = [*reversed(path.relative_to(root).parts[:-1]), root.name]
    for folder in folders:
        word = re.split(r"[^a-z]+", folder.lower())[-1]
        if word in _SUBSET_WORDS:
            return "training" if _SUBSET_WORDS[word] == "training" else "testing"
    return None


def in_subset(part: Literal["training", "testing"] | None, subset: Subset, labelled: bool) -> bool:
    """Whether a case belongs to the subset asked for; where no folder tells, labelled cases are for training."""
    if subset == "all":
        return True
    return (part or ("training" if labelled else subset)) == subset


def needs_label(part: Literal["training", "testing"] | None, subset: Subset) -> bool:
    """Whether a case without a mask is incomplete."""
    return part != "testing" and subset != "testing"


def check_choice(name: str, value: str, choices: object) -> None:
    """Hold an option against the values of a ``Literal``.

    Raises:
        ConfigError: the value is none of them.
    """
    allowed = get_args(choices)
    if value not in allowed:
        raise ConfigError(
            f"data.options.{name}", found=repr(value), expected=f"one of {list(allowed)}", remedy="choose one of these"
        )


def pick_modalities(asked: Sequence[str] | None, available: Sequence[str]) -> tuple[str, ...]:
    """The modalities to read, in the order asked for; None means all.

    Raises:
        ConfigError: the dataset does not have one of them.
    """
    if asked is None:
        return tuple(available)
    unknown = [name for name in asked if name not in available]
    if unknown or not asked:
        raise ConfigError(
            "data.options.modalities",
            found=f"{list(asked)}",
            expected=f"some of {list(available)}",
            remedy="correct the spelling; upper and lower case count",
        )
    return tuple(asked)


def listing(files: Iterable[Path], most: int = 8) -> str:
    """What lies there, in one line: folder and names."""
    paths = list(files)
    if not paths:
        return "no NIfTI file"
    names = [str(path) if index == 0 else path.name for index, path in enumerate(paths[:most])]
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(names) + more
