"""What a CPU computation asks of the C library's allocator. Knows glibc; knows no model.

glibc hands blocks above 32 MiB back to the kernel at every release, and the next request has every page of them
mapped, faulted in and zeroed again: up to 40 % of a large step. ``keep_resident`` makes the process keep what it once
had. Addresses change, numbers do not: torch aligns its tensors itself.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

LARGE_BLOCK = 32 * 2**20
"""Bytes from which glibc maps every block anew, whatever it has learnt (DEFAULT_MMAP_THRESHOLD_MAX, 64 bits)."""

# The parameters of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER = 2**31 - 1
_MAPPED_BLOCKS = 65_536  # glibc's default limit
_kept = [False]  # whether this process keeps its memory
_OTHERS = ("tcmalloc", "jemalloc", "mimalloc", "libhoard")


def cannot_keep() -> str | None:
    """Why ``keep_resident`` would do nothing here; None where it works."""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") if hasattr(os, "confstr") else None
    except (ValueError, OSError):
        libc = None
    if not libc or not libc.startswith("glibc"):
        return f"no glibc on {sys.platform}"
    maps = Path("/proc/self/maps")
    loaded = maps.read_text() if maps.exists() else ""
    other = next((name for name in _OTHERS if name in loaded), None)
    return f"{other} is loaded in its place" if other else None


def is_kept() -> bool:
    """Whether this process keeps its memory."""
    return _kept[0]


def use(allocator: str) -> None:
    """Put ``"resident"`` or ``"default"`` in force for this process; nothing happens where ``cannot_keep``."""
    if allocator == "resident":
        keep_resident()
    elif _kept[0]:
        give_back()


def keep_resident() -> bool:
    """Let freed memory stay with the process from now on; about 1.4 times the peak memory for large tensors.

    Returns:
        Whether glibc took the settings.
    """
    _kept[0] = _set((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER))
    return _kept[0]


def give_back() -> bool:
    """Undo ``keep_resident``: large blocks go back to the kernel, as glibc does by itself after the first of them.

    Returns:
        Whether glibc took the settings.
    """
    undone = _set((_MMAP_MAX, _MAPPED_BLOCKS), (_MMAP_THRESHOLD, LARGE_BLOCK), (_TRIM_THRESHOLD, 2 * LARGE_BLOCK))
    if undone:
        ctypes.CDLL(None).malloc_trim(0)
        _kept[0] = False
    return undone


def _set(*settings: tuple[int, int]) -> bool:
    if cannot_keep():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return all(mallopt(name, value) == 1 for name, value in settings)
