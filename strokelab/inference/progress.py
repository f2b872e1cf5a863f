"""How far the prediction of one volume is, where that takes long. Knows numbers of samples; knows no voxel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from strokelab.foreign_text import printable

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import Tensor

    from strokelab.contract import PreparedCase

LONG = 60.0
"""Seconds a case must take for an estimate to be printed."""
_TIMED = 2  # batches after the first, which also allocates
_BAR: ContextVar[Any] = ContextVar("bar", default=None)  # of the command that predicts here


@contextmanager
def shown_in(bar: Progress) -> Iterator[None]:
    """Inside, volumes whose windows say their ``count`` have a line of their own in ``bar``, and an estimate."""
    token = _BAR.set(None if bar.disable else bar)
    try:
        yield
    finally:
        _BAR.reset(token)


@contextmanager
def followed(
    predict: Callable[[Tensor, Tensor], Tensor], prepared: PreparedCase, windows: Any
) -> Iterator[Callable[[Tensor, Tensor], Tensor]]:
    """A ``predict`` of one case that moves the bar of the command, if there is one and the windows can be counted.

    Args:
        predict: (B, C, *S) image and (B, 1, *S) brain -> scores.
        prepared: the case.
        windows: the plan; it may have ``count(brain)``.
    """
    bar = _BAR.get()
    if bar is None or not hasattr(windows, "count"):
        yield predict
        return
    samples, case = windows.count(prepared.brain), printable(prepared.case_id)
    task = bar.add_task(case, total=samples)
    clock = _Clock(samples)

    def watched(image: Tensor, inside: Tensor) -> Tensor:
        scores = predict(image, inside)
        seconds = clock.after(len(image))
        if seconds is not None and seconds > LONG:
            bar.console.print(f"{case}: {samples:,} windows, about {_words(seconds)}", markup=False, highlight=False)
        bar.advance(task, len(image))
        return scores

    try:
        yield watched
    finally:
        bar.remove_task(task)


class _Clock:
    """Seconds of a whole volume, estimated once from its first batches."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._done: list[tuple[float, int]] = []  # time and number of samples after each batch

    def after(self, samples: int) -> float | None:
        """The estimate, after the batch that settles it; None after any other.

        Args:
            samples: of the batch that was just predicted.
        """
        if len(self._done) > _TIMED:
            return None
        self._done.append((time.perf_counter(), samples))
        if len(self._done) <= _TIMED:
            return None
        timed = sum(number for _, number in self._done[1:])
        return (self._done[-1][0] - self._done[0][0]) / timed * self._samples


def _words(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 120 else f"{minutes} min"
