"""How far a work over many cases is, on the terminal. Knows no case."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from strokelab import terminal


def bar(title: str, total: int, *, shown: bool) -> Progress:
    """A bar of one task on stderr, for ``with``; nothing where it is not to be shown."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=terminal.console(stderr=True),
        disable=not shown,
    )
    progress.add_task(title, total=total)
    return progress
