"""One reader per dataset; the dataset's name is the module's name. Finds them, calls them, knows none of them.

A reader offers ``RELEASE``, ``looks_like(root) -> bool`` and ``read(root, *, exclude, problems, ...) -> list[Case]``.
Adding a dataset is adding its file. Modules that start with an underscore are not datasets.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from strokelab.contract import Case
from strokelab.data.readers._tree import Problems, Release
from strokelab.errors import ConfigError, DataError


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
    ordered = sorted(names(), key=lambda name: name == "folder")  # last: it is satisfied with anything
    return next((name for name in ordered if reader(name).looks_like(root)), None)


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
    there = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))[:8] if root.is_dir() else []
    return DataError(
        root,
        found="no case" + (f" among {there}" if there else ": the folder is empty"),
        expected=layout,
        remedy="check the path and the dataset; unpack archives first",
    )
