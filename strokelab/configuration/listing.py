"""What can be chosen: the files of ``conf`` by group, each with its own first words. Composes and builds nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from strokelab.configuration.composition import conf_folder
from strokelab.errors import ConfigError

_COMMAND = re.compile(r"(@package\b|python |strokelab |pip )")
_LATER = re.compile(r"\s{2,}.*")  # behind a command on its line
_CONTINUED = " " * 4  # how far a command that goes on is indented
_END = re.compile(r"(?<=[^.\s]{2}\.)\s+(?=[A-Z\"])|(?<=Table [IVX]\.)\s+(?=[A-Z])")


@dataclass(frozen=True)
class Choice:
    """One file of a group: how it is chosen, and what it says of itself; "" where it says nothing."""

    name: str
    about: str


def groups() -> dict[str, list[Choice]]:
    """Every group of ``conf`` with its choices, both by name."""
    root = conf_folder()
    found: dict[str, list[Choice]] = {}
    for path in sorted(root.rglob("*.yaml")):
        group = path.parent.relative_to(root).as_posix()
        if group != ".":
            found.setdefault(group, []).append(Choice(path.stem, first_words(path)))
    return found


def find_group(asked: str) -> str:
    """The group that a word names: as the folder is called, or as what lies in it (models, datasets, losses).

    Raises:
        ConfigError: no group is called so.
    """
    names = list(groups())
    word = {"datasets": "data", "dataset": "data"}.get(asked, asked)
    for name in (word, word.removesuffix("s"), word.removesuffix("es"), f"{word}s"):
        if name in names:
            return name
    raise ConfigError(
        "strokelab list",
        found=repr(asked),
        expected=f"one of {', '.join(names)}",
        remedy="strokelab list without a word names them all",
    )


def first_words(path: Path) -> str:
    """What a yaml says of itself: the first sentence of its comment, or words beside a command; else a remark in it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("#") for line in takewhile(lambda line: line.startswith("#"), lines)]
    prose: list[str] = []
    for line in (line.rstrip() for line in head if not line.startswith(_CONTINUED)):
        if not _COMMAND.match(line.strip()):
            prose.append(line.strip())
        elif not prose and (beside := _LATER.search(line.strip())) and not _COMMAND.match(beside[0].strip()):
            return beside[0].strip()
    remarks = (line.partition(" # ")[2].strip() for line in lines[len(head) :])
    return _END.split(" ".join(filter(None, prose)), maxsplit=1)[0] or next(filter(None, remarks), "")
