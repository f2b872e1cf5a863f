"""How far a work over many cases is, on the terminal. Knows no case."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def bar(title: str, total: int, *, shown: bool) -> Progress:
    """A bar of one task on stderr, for ``with``; nothing where it is not to be shown."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )
    progress.add_task(title, total=total)
    return progress
