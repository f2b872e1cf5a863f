"""What an untrusted run folder could do to the files of the user who resumes it. Reads; writes nothing.

A resumed training writes into its folder and removes there what its checkpoint remembers to have written: neither may
lead out of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strokelab.errors import RunError


def check_links(folder: Path) -> None:
    """Refuse a run folder whose links would make a training write, or read its start, somewhere else.

    Raises:
        RunError: naming the link, or a checkpoint that Lightning would prefer to the run's own.
    """
    for place, folders, files in os.walk(folder):
        for path in (Path(place) / name for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(folder):
                raise RunError(
                    path,
                    found=f"a link to {path.resolve()}",
                    expected="files of the run, in its own folder",
                    remedy="replace the link by what it points to",
                )
    for path in folder.glob("hpc_ckpt_*"):
        raise RunError(
            path,
            found="a checkpoint that strokelab does not write and Lightning would start from on a cluster",
            expected="checkpoints/last.ckpt only",
            remedy="remove it",
        )


def check_remembered(path: Path, content: dict[str, Any], *, former: str, folder: Path) -> None:
    """Refuse a checkpoint in which a callback remembers files outside the run folder: it would remove them.

    Args:
        path: of the checkpoint.
        content: of the checkpoint.
        former: where the run lay when the checkpoint was written.
        folder: where it lies now.

    Raises:
        RunError: naming the place, or the part of the checkpoint that is none.
    """
    for key, kind in (("callbacks", dict), ("loops", dict), ("global_step", int), ("epoch", int)):
        if not isinstance(content.get(key), kind):
            raise _damaged(path, f"{key}: {type(content.get(key)).__name__}")
    for text in _texts(path, list(content["callbacks"].values())):
        if not (text.startswith(("/", "~", "\\")) or "://" in text or ".." in Path(text).parts):
            continue
        below = text == former or text.startswith(former.rstrip("/") + "/")
        place = Path(str(folder) + text.removeprefix(former)) if below else Path(text)
        if "://" in text or "::" in text or not _resolved(place).is_relative_to(folder):
            raise RunError(
                path,
                found=f"a callback that remembers {text[:200]!r}",
                expected=f"files in {folder}",
                remedy="do not resume this run unless you trust its author; start a new one",
            )


def _texts(path: Path, node: Any) -> Iterator[str]:
    """Every text in plain data, keys included."""
    waiting, seen = [node], 0
    while waiting:
        seen += 1
        if seen > 100_000:  # or it holds itself
            raise _damaged(path, "callbacks: more than any callback remembers")
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting += list(item)


def _resolved(place: Path) -> Path:
    try:
        return place.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, or a null byte
        return Path("/")


def _damaged(path: Path, found: str) -> RunError:
    return RunError(
        path, found=found, expected="a checkpoint as train.py writes it", remedy="copy it again, or start a new run"
    )
