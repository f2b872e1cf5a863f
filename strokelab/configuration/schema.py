"""Which kind of value stands where in a run's config. Knows no class that a config names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strokelab.errors import RunError

_SECTIONS = (
    *("data", "planner", "model", "view", "split", "trainer", "callbacks", "logger", "postprocess", "cohort", "stages"),
)
_OF_NODES = ("callbacks", "logger", "stages")
_PLAIN: Mapping[str, tuple[type, ...]] = {
    **{"seed": (int,), "score_test": (bool,), "run_dir": (str,), "checkpoint": (str,)},
    "name": (str, int, float),
    "protocol": (str,),
}


def check_shape(settings: Mapping[str, Any], where: Path) -> None:
    """Refuse a config in which something else stands where a section or a plain value belongs.

    Args:
        settings: of a run, plain data.
        where: the file they came from.

    Raises:
        RunError: naming the key and what stands there.
    """
    for key in _SECTIONS:
        if not isinstance(settings.get(key), (Mapping, type(None))):
            raise _wrong(where, key, settings[key], "a section")
    for section in _OF_NODES:
        for key, node in (settings.get(section) or {}).items():
            if not isinstance(node, (Mapping, type(None))):
                raise _wrong(where, f"{section}.{key}", node, "a section")
    for key, kind in _PLAIN.items():
        value = settings.get(key)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind)):
            raise _wrong(where, key, value, "a plain value of its kind")


def _wrong(where: Path, key: str, value: Any, expected: str) -> RunError:
    return RunError(
        where,
        found=f"{key}: a {type(value).__name__} ({str(value)[:60]!r})",
        expected=expected,
        remedy="copy the run again; its config.yaml was changed",
    )
