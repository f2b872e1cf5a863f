"""Results for programs: one JSON object on standard output, everything else on standard error. ``docs/json.md``."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from strokelab.errors import StrokelabError


@contextmanager
def one_object(schema: str) -> Iterator[dict[str, Any]]:
    """Yield the object to fill; it is printed when the block ends, whatever ended it.

    ``schema``, ``ok`` and ``error`` are in every object. A user's mistake becomes its ``error`` with the parts where,
    found, expected and remedy; the exit status is 1 then, and where ``ok`` is False.

    Args:
        schema: name and version, e.g. ``strokelab.check/1``.
    """
    content: dict[str, Any] = {"schema": schema, "ok": True, "error": None}
    try:
        yield content
    except StrokelabError as error:
        parts = {"where": error.where, "found": error.found, "expected": error.expected, "remedy": error.remedy}
        content |= {"ok": False, "error": {"kind": type(error).__name__, **parts}}
    sys.stdout.write(json.dumps(plain(content), ensure_ascii=True, allow_nan=False) + "\n")
    sys.stdout.flush()
    if not content["ok"]:
        raise typer.Exit(1)


def plain(content: Any) -> Any:
    """Plain data that JSON has words for: undefined numbers are null, infinite ones the text ``inf`` or ``-inf``."""
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, Sequence) and not isinstance(content, str):
        return [plain(value) for value in content]
    if hasattr(content, "item"):  # a number of NumPy
        content = content.item()
    if isinstance(content, float):
        return None if math.isnan(content) else content if math.isfinite(content) else str(content)
    return content if content is None or isinstance(content, str | int | float | bool) else str(content)
