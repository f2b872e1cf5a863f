"""Untrusted YAML, read as plain data: no tags, no aliases, nothing that grows while it is read.

``yaml.safe_load`` runs nothing, but follows aliases: a kilobyte of them can stand for billions of values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from strokelab.errors import RunError
from strokelab.foreign_text import is_printable

MOST_BYTES = 4_000_000  # a run's config has some 4,000, the multirun.yaml of a large sweep some 20,000


class _PlainLoader(yaml.SafeLoader):
    """Refuses aliases; ``write_plain_yaml`` and Hydra write none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(f"an alias in line {self.line + 1}, which no config needs")
        return super().compose_node(parent, index)


class _PlainDumper(yaml.SafeDumper):
    """Writes equal values again where ``safe_dump`` would refer to the first of them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def plain_yaml(content: Any) -> str:
    """Plain data as YAML that ``read_foreign_yaml`` reads."""
    return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)


def read_foreign_yaml(path: Path, *, expected: str, remedy: str) -> Any:
    """The content of a file, as plain data.

    Args:
        path: of the file, which exists.
        expected: what it should hold, for the message.
        remedy: what the user can do, for the message.

    Raises:
        RunError: it is too long, cannot be read, or holds more than plain YAML.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size / 1e6:.0f} MB long")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)
        if not is_printable(content):
            raise ValueError("control characters in a text")
        return content
    except Exception as error:  # scalars of wrong dates and numbers fail in many ways; none of them runs anything
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise RunError(path, found=f"no plain YAML ({reason})", expected=expected, remedy=remedy) from error
