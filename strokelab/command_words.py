"""Paths and settings as words of a command that can be pasted: shell and Hydra give back what was put in.

Every command that is printed, and every path in a printed line, is written by these functions.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Texts that Hydra reads as they stand. It takes digits for numbers, and a few words for values.
_BARE = re.compile(r"[A-Za-z_/.][\w./-]*", re.ASCII)
_WORDS = ("null", "true", "false", "nan", "inf")


def shown(path: Path | str) -> str:
    """A path as short as it can be said here; in full where a command would take its beginning for something else."""
    try:
        short = str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
    return str(path) if short.startswith(("~", "-")) else short


def word(text: Any) -> str:
    """A text as one word of a shell; in double quotes where it holds single ones, as one would type it."""
    text = str(text)
    typed = "'" in text and not set(text) & set('"$`\\!\n')
    return f'"{text}"' if typed else shlex.quote(text)


def value(item: Any) -> str:
    """A value as Hydra reads it: texts quoted where they must be, lists in brackets, settings in braces."""
    if isinstance(item, Mapping):
        return f"{{{','.join(f'{key}:{value(each)}' for key, each in item.items())}}}"
    if isinstance(item, (list, tuple)):
        return f"[{','.join(map(value, item))}]"
    if item is None or isinstance(item, bool):
        return "null" if item is None else str(item).lower()
    if isinstance(item, (int, float)):
        return str(item)
    text = str(item)
    return text if _BARE.fullmatch(text) and text.lower() not in _WORDS else quoted(text)


def quoted(text: str) -> str:
    """A text in Hydra's quotes."""
    # Hydra: a backslash counts only before a quote or at the end. OmegaConf: before ${, which must stay a text.
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", text)
    text = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{text}'"


def setting(key: str, item: Any) -> str:
    """``key=value`` as one word of a command; a path as ``shown``."""
    if isinstance(item, Path):
        item = shown(item)
    elif isinstance(item, (list, tuple)):
        item = [shown(each) if isinstance(each, Path) else each for each in item]
    return word(f"{key}={value(item)}")
