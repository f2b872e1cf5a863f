"""How far a work over many cases is, on the terminal. Knows no case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from strokelab import terminal

T = TypeVar("T")


def bar(title: str, total: int, *, shown: bool, console: Console | None = None) -> Progress:
    """A bar of one task, for ``with``; nothing where it is not to be shown.

    Args:
        title: what is done.
        total: how many times.
        shown: whether there is a bar.
        console: where; None: stderr.
    """
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console or terminal.console(stderr=True),
        disable=not shown,
    )
    progress.add_task(title, total=total)
    return progress


def advancing(progress: Progress, items: Iterable[T]) -> Iterator[T]:
    """Items one by one; the first task of ``bar`` moves on after each."""
    for item in items:
        yield item
        progress.advance(progress.task_ids[0])
