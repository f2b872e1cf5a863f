"""Untrusted text, made harmless where it goes: a terminal, a spreadsheet.

Case ids, names of runs and errors come from folders and tables of others. HTML and LaTeX are escaped by the report.
"""

from __future__ import annotations

import re
from typing import Any

# Commands of terminals, and marks that turn the direction of writing; a line break is neither.
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
# What a number, or several with their words, may begin with a sign for.
_NUMBERS = re.compile(r"[+-](?:[\d.,:%±()<>=∞\s/+–-]|to|ns|inf|nan|mm|ml)*")


def printable(text: str) -> str:
    """The text with a space for every control character; line breaks stay."""
    return _CONTROL.sub(" ", text)


def is_printable(content: Any) -> bool:
    """Whether no text in plain data, keys included, holds a control character."""
    if isinstance(content, str):
        return not _CONTROL.search(content)
    if isinstance(content, dict):
        return all(is_printable(key) and is_printable(value) for key, value in content.items())
    return all(map(is_printable, content)) if isinstance(content, (list, tuple, set)) else True


def as_printable(content: Any) -> Any:
    """Plain data, every text in it ``printable``."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, dict):
        return {as_printable(key): as_printable(value) for key, value in content.items()}
    return [as_printable(value) for value in content] if isinstance(content, list) else content


def as_cell(value: Any) -> Any:
    """A value for a csv file: text that a spreadsheet would take for a formula gets an apostrophe before it.

    Numbers with a sign, and intervals of them, stay as they are; ``from_cell`` undoes it.
    """
    if isinstance(value, str) and (value.startswith(("=", "@")) or _has_sign(value)):
        return f"'{value}"
    return value


def from_cell(text: str) -> str:
    """The text that ``as_cell`` wrote."""
    return text[1:] if text.startswith("'") and as_cell(text[1:]) != text[1:] else text


def _has_sign(text: str) -> bool:
    return text.startswith(("+", "-")) and not _NUMBERS.fullmatch(text)
