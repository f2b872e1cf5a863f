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
    """What a layout module offers. Jobs are plain data that can be sent to another process."""

    OPTIONS: tuple[str, ...]

    def plan(self, settings: Settings) -> Sequence[Any]:
        """The jobs of a cohort, each of which writes one person."""

    def write(self, job: Any, root: Path) -> list[Truth]:
        """Write one person's files below ``root``; the truth of each case."""

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
