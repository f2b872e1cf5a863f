"""The datasets that a matrix tests on: ``NAME=PATH`` becomes labelled cases. Opens no image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strokelab.command_words import shown, word
from strokelab.configuration import compose, plain
from strokelab.contract import Case
from strokelab.data import readers
from strokelab.data.case_filter import CaseFilter
from strokelab.data.cohort_checks import existing_root
from strokelab.errors import ConfigError, DataError
from strokelab.phantoms.naming import is_phantom


@dataclass(frozen=True)
class Dataset:
    """What runs are tested on.

    Args:
        name: in tables.
        reader: that reads it.
        root: its folder, or the csv of own files.
        cases: the labelled ones.
        unlabelled: how many more there are without a mask.
        phantom: synthetic images.
    """

    name: str
    reader: str
    root: Path
    cases: tuple[Case, ...]
    unlabelled: int = 0
    phantom: bool = False

    @property
    def modalities(self) -> tuple[str, ...]:
        """The images that its cases have, in order of appearance."""
        return tuple(dict.fromkeys(name for case in self.cases for name in case.images))


def datasets_of(asked: Sequence[str]) -> list[Dataset]:
    """The datasets that a command names.

    Args:
        asked: each ``NAME=PATH``, or several with commas; the reader's own settings hold. ``NAME`` alone is a dataset
            where ``conf/data`` says and with the settings of that file. A name that is no dataset's is the user's own:
            which dataset the folder holds follows from its file names.

    Raises:
        ConfigError: a word is neither, or a name or folder stands twice.
        DataError: nothing can be read there, or nothing in it has a mask.
    """
    named = [pair for words in asked for pair in _pairs(words)]
    if not named:
        raise ConfigError(
            "--on",
            found="no dataset",
            expected="datasets to test on",
            remedy="name them: --on atlas_v2=DIR,isles2022=DIR",
        )
    found = [_dataset(name, root) for name, root in named]
    for what in ("name", "root"):
        twice = [one for one, count in Counter(getattr(dataset, what) for dataset in found).items() if count > 1]
        if twice:
            names = ", ".join(dataset.name for dataset in found if getattr(dataset, what) == twice[0])
            raise ConfigError(
                "--on",
                found=f"the {'folder' if what == 'root' else what} {twice[0]} twice ({names})",
                expected="every dataset once",
                remedy="leave one out; of two folders of one dataset call one by a name of your own",
            )
    return found


def _pairs(words: str) -> list[tuple[str, Path | None]]:
    name, equals, path = words.partition("=")
    if equals and Path(path).expanduser().exists():  # a path may have a comma
        return [(name, Path(path).expanduser())]
    return [_pair(part) for part in words.split(",") if part.strip()]


def _pair(text: str) -> tuple[str, Path | None]:
    name, equals, path = (part.strip() for part in text.partition("="))
    known = name in readers.names() and name != "folder"
    if name and (path or (known and not equals)):
        return name, Path(path).expanduser() if path else None
    raise ConfigError(
        "--on",
        found=repr(text),
        expected=f"NAME=PATH, or one of {', '.join(one for one in readers.names() if one != 'folder')}",
        remedy=f"give it a name, e.g. --on mine={word(text)}" if Path(text).exists() else "write --on NAME=PATH",
    )


def _dataset(name: str, root: Path | None) -> Dataset:
    reader = name if root is None or name in readers.names() else readers.guessed(root)
    settings = _settings(reader) if root is None else {}
    place = existing_root(root or settings.get("root"), reader).resolve()
    chosen = CaseFilter(
        reader,
        (),
        settings.get("options") or {},
        exclude=tuple(settings.get("exclude") or ()),
        only_sites=settings.get("only_sites"),
        limit_per_site=settings.get("limit_per_site"),
    )
    every = readers.read(reader, place) if reader == "folder" else chosen.cases(place)
    cases = tuple(case for case in every if case.labelled)
    if not cases:
        raise DataError(
            place,
            found=f"{len(every)} cases of {reader}, none with a lesion mask",
            expected="masks to score predictions against",
            remedy=f"leave {name} out of --on; scans without masks are for strokelab predict RUN {word(shown(place))}",
        )
    return Dataset(name, reader, place, cases, len(every) - len(cases), is_phantom(place))


def _settings(reader: str) -> Mapping[str, Any]:
    """What ``conf/data`` says of a dataset."""
    return dict(plain(compose("evaluate", [f"data={reader}"]))["data"])
