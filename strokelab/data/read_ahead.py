"""Reading before it is needed: mapped pieces announced to the system, batches made while a step computes.

Knows memory maps and threads; knows no samples.
"""

from __future__ import annotations

import ctypes
import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from numpy.typing import NDArray

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

Item = TypeVar("Item")
WAITING = 2
"""Batches that are made ahead."""
_GAP = 16 * mmap.PAGESIZE
"""Bytes between two pieces below which they are announced as one: a call costs about as much."""


def announce(source: NDArray[Any], start: Iterable[int], size: Iterable[int]) -> None:
    """Have the system read the box at ``start`` of a mapped array from disk, if it is not in memory; returns at once.

    Faults alone read a box one row after the other and wait for each; announced, the disk gets all of it at once.

    Args:
        source: (C, X, Y, Z), lying in memory as (C, Z, Y, X).
        start: lowest corner (x, y, z); the box may hang over.
        size: of the box.
    """
    if _madvise is None:
        return
    ranges = [
        (min(max(begin, 0), length), min(max(begin + side, 0), length))
        for begin, side, length in zip(map(int, start), size, source.shape[1:], strict=True)
    ]
    (_, _), (y, y_end), (z, z_end) = ranges
    if any(low == high for low, high in ranges):
        return
    by_channel, _, by_row, by_slice = source.strides
    piece = (y_end - y) * by_row
    for channel in range(len(source)):
        first = source.ctypes.data + channel * by_channel + z * by_slice + y * by_row
        if by_slice - piece < _GAP:
            _will_need(first, (z_end - 1 - z) * by_slice + piece)
        else:
            for index in range(z_end - z):
                _will_need(first + index * by_slice, piece)


def disk_reads() -> int | None:
    """Blocks that this process has had read from disks so far; None where the system does not say (Windows)."""
    return None if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_inblock


def ahead(items: Iterator[Item], begin: Callable[[], object] | None = None) -> Iterator[Item]:
    """The same items, made by a thread of their own up to ``WAITING`` before they are asked for.

    What making one raises is raised where it would have been given.

    Args:
        items: asked by that thread alone.
        begin: what the thread does first.
    """
    end = object()
    with ThreadPoolExecutor(1, "reading", initializer=begin) as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(WAITING))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            for future in waiting:
                future.cancel()


def _will_need(address: int, length: int) -> None:
    assert _madvise is not None
    before = address % mmap.PAGESIZE
    _madvise(address - before, length + before, mmap.MADV_WILLNEED)  # advice: whether it is taken does not matter


def _found() -> Callable[[int, int, int], int] | None:
    """The system's madvise; None where it has none (Windows)."""
    if not hasattr(mmap, "MADV_WILLNEED"):
        return None
    try:
        # PyDLL keeps the interpreter's lock, which to give away and take again would cost more than the call.
        function = ctypes.PyDLL(None).madvise
    except (OSError, AttributeError, TypeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function


_madvise = _found()
