"""One module per layout, found by its name. Knows which there are; knows nothing of their trees."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol, cast

from strokelab.errors import ConfigError
from strokelab.phantoms.settings import Settings, Truth


class Layout(Protocol):
    """What a layout module offers. Subjects are plain data that can be sent to another process."""

    OPTIONS: tuple[str, ...]

    def plan(self, settings: Settings) -> Sequence[Any]:
        """The subjects of a cohort, each of which is written by itself."""

    def write(self, subject: Any, root: Path) -> list[Truth]:
        """Write one subject's files below ``root``; the truth of each case."""

    def finish(self, settings: Settings, rows: Sequence[Truth], root: Path) -> None:
        """Write what belongs to the cohort as a whole: tables, templates, descriptions."""


def layout_names() -> list[str]:
    """The layouts there are."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def layout_module(name: str) -> Layout:
    """The module of a layout.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in layout_names():
        raise ConfigError(
            "phantom layout",
            found=repr(name),
            expected=f"one of {', '.join(layout_names())}",
            remedy="choose one of these",
        )
    return cast(Layout, import_module(f"{__name__}.{name}"))
