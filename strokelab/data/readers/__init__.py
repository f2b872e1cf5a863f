"""One reader per dataset; the dataset's name is the module's name. Finds them, calls them, knows none of them.

A reader offers ``RELEASE``, ``looks_like(root) -> bool`` and ``read(root, *, exclude, problems, ...) -> list[Case]``.
Adding a dataset is adding its file. Modules that start with an underscore are not datasets.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from strokelab.contract import Case
from strokelab.data.readers._tree import Problems, Release, walk
from strokelab.errors import ConfigError, DataError
from strokelab.nifti import is_volume, stem

_GENERAL = ("bids", "folder")  # are guessed last, in this order: they take what others know better
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".7z", ".rar", ".aes256", ".enc")


class Reader(Protocol):
    """What a module of this package looks like from outside."""

    RELEASE: Release
    read: Callable[..., list[Case]]
    looks_like: Callable[[Path], bool]


def names() -> list[str]:
    """The datasets there is a reader for."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def reader(dataset: str) -> Reader:
    """The reader module of a dataset.

    Raises:
        ConfigError: there is none of this name.
    """
    if dataset not in names():
        raise ConfigError(
            "dataset", found=repr(dataset), expected=f"one of {names()}", remedy="choose one of these, or add a reader"
        )
    return cast(Reader, importlib.import_module(f"{__name__}.{dataset}"))


def options(dataset: str) -> dict[str, Any]:
    """Names and defaults of the options a dataset's reader takes."""
    parameters = inspect.signature(reader(dataset).read).parameters
    return {name: p.default for name, p in parameters.items() if name not in ("root", "problems")}


def guess(root: Path) -> str | None:
    """The dataset whose file names a folder shows, or None."""
    if not root.is_dir():
        return None
    ordered = [*(name for name in names() if name not in _GENERAL), *_GENERAL]
    return next((name for name in ordered if reader(name).looks_like(root)), None)


def guessed(root: Path) -> str:
    """The dataset whose file names a folder shows; a table of own files is ``folder``.

    Raises:
        DataError: it shows none; what lies there is named, and what can be done.
    """
    place = root.expanduser().resolve()
    if place.is_file():
        return "folder"
    if not place.is_dir():
        raise DataError(place, found="nothing", expected="the folder of a dataset", remedy="check the path")
    found = guess(place)
    if found is None:
        raise _nothing(place, f"the files of one of {', '.join(names())}")
    return found


def read(dataset: str, root: str | Path, problems: Problems | None = None, **chosen: Any) -> list[Case]:
    """Read a cohort; what is wrong with single cases is raised, or collected when ``problems`` is given.

    A folder without a single whole case is raised in any case.

    Raises:
        DataError: nothing to read there (with a guess which dataset it is), or an incomplete case.
        ConfigError: an unknown dataset or option.
    """
    module = reader(dataset)
    unknown = sorted(set(chosen) - set(options(dataset)))
    if unknown:
        raise ConfigError(
            f"data.options of {dataset}",
            found=f"{unknown}",
            expected=f"some of {sorted(options(dataset))}",
            remedy="correct the spelling, or remove the option",
        )
    place = Path(root).expanduser().resolve()
    found: Problems = []
    cases = module.read(place, problems=found, **chosen)
    if not cases and (looks := guess(place)) not in (None, dataset, "folder"):
        raise DataError(
            place,
            found=f"no complete case of {dataset}; the folder looks like {looks}",
            expected=module.RELEASE.layout,
            remedy=f"choose data={looks} (--dataset {looks}), or another folder",
        )
    if not cases and not found:
        raise _nothing(place, module.RELEASE.layout)
    if problems is not None:
        problems.extend(found)
    if found and (problems is None or not cases):
        raise _first(found)
    return cases


def _first(found: Problems) -> DataError:
    error = found[0]
    if len(found) == 1:
        return error
    remedy = f"{error.remedy}; {len(found) - 1} more problems, 'strokelab check' lists them all"
    return DataError(error.where, found=error.found, expected=error.expected, remedy=remedy)


def _nothing(root: Path, layout: str) -> DataError:
    """What lies in a folder that shows no case, and what to do about it."""
    files = list(walk(root)) if root.is_dir() else [root]
    archives = [path.name for path in files if path.name.lower().endswith(_ARCHIVES)]
    subjects = {part for path in files for part in path.relative_to(root).parts[:-1] if part.startswith("sub-")}
    images = Counter(stem(path).rsplit("_", 1)[-1] for path in files if is_volume(path))
    endings = Counter("".join(path.suffixes[-2:]).lower() or path.name for path in files)
    if subjects or (root / "dataset_description.json").is_file():
        found = f"a BIDS dataset of {len(subjects)} subjects with {_counts(images) or 'no NIfTI file'}"
    elif not files:
        found = "no case: the folder is empty"
    else:
        found = f"no case among {len(files)} files: {_counts(endings)}, such as {files[0]}"
    if archives:
        remedy = f"unpack the archives first: {', '.join(archives[:3])}"
    elif images:
        remedy = (
            "list the files in a csv with the columns case, subject, site, label and one per modality, and give it: "
            "strokelab check FILE.csv --dataset folder; or check the path and the dataset"
        )
    else:
        remedy = "check the path and the dataset; images have to be NIfTI files (.nii, .nii.gz)"
    return DataError(root, found=found, expected=layout, remedy=remedy)


def _counts(counts: Counter[str], most: int = 6) -> str:
    named = [f"{count} {name}" for name, count in counts.most_common(most)]
    return ", ".join(named) + (f" and {len(counts) - most} more kinds" if len(counts) > most else "")
