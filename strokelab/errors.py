"""One message shape for the whole house: what was looked at, what was found, what was expected, what to do.

Every room may import it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from strokelab.foreign_text import printable


class StrokelabError(Exception):
    """Anything a user can mend. The doors print its message without a traceback and exit with status 1.

    Args:
        where: the file, folder, option or case the message is about.
        found: what is there.
        expected: what should be there.
        remedy: what the user can do about it.
    """

    def __init__(self, where: str | Path, *, found: str, expected: str, remedy: str) -> None:
        self.where = str(where)
        self.found = found
        self.expected = expected
        self.remedy = remedy
        # Part of it may be quoted from an untrusted file, and all of it goes to a terminal.
        super().__init__(printable(f"{where}\n  found:    {found}\n  expected: {expected}\n  remedy:   {remedy}"))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (parallel preparation); keyword-only arguments need help with that.
        return _rebuild, (type(self), self.where, self.found, self.expected, self.remedy)


def _rebuild(kind: type[StrokelabError], where: str, found: str, expected: str, remedy: str) -> StrokelabError:
    return kind(where, found=found, expected=expected, remedy=remedy)


class DataError(StrokelabError):
    """A file or folder of the user's data is not what it should be."""


class ConfigError(StrokelabError):
    """Settings contradict each other, the data, or the list of what may be built."""


class RunError(StrokelabError):
    """A run folder is incomplete, foreign or in use."""


class ProcessError(StrokelabError):
    """A further process of a training failed or is gone, and took the training with it."""


class DataWarning(UserWarning):
    """A stated rule was applied to imperfect data; the message names the file and the rule."""


def plain_warnings() -> None:
    """From now on this process shows a ``DataWarning`` as its message alone, without a line of our source."""
    usual = warnings.formatwarning

    def worded(message: Any, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
        if issubclass(category, DataWarning):
            return f"Warning: {printable(str(message))}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = worded
