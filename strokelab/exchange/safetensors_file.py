"""Weights in the safetensors format: a length, a JSON header, raw numbers. Reads strictly; executes nothing.

The format is read here rather than by its package: it is a page of code, and a file of others is then held against
every rule of it before a number is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strokelab.errors import RunError

_LENGTH = 8  # bytes of the header's length, little-endian
_LONGEST = 16 * 2**20  # of a header; a network has some hundred tensors
_KINDS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_METADATA = "__metadata__"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, as they lie there: float32, float16 or bfloat16.

    Raises:
        RunError: the file is missing, shorter or longer than its header says, its tensors overlap or leave gaps, or it
            holds anything but floating numbers.
    """
    try:
        raw = path.read_bytes()
        start = _LENGTH + int.from_bytes(raw[:_LENGTH], "little")
        if len(raw) < _LENGTH or start > len(raw) or start > _LENGTH + _LONGEST:
            raise ValueError(f"a header of {start - _LENGTH:,} bytes in a file of {len(raw):,}")
        header = json.loads(raw[_LENGTH:start].decode("utf-8"), object_pairs_hook=_once)
        if not isinstance(header, dict):
            raise ValueError("a header that is no object")
        header.pop(_METADATA, None)
        spans = {name: _span(name, entry) for name, entry in header.items()}
        _check_gapless(list(spans.values()), len(raw) - start)
        return {
            name: torch.frombuffer(bytearray(raw[start + first : start + last]), dtype=_KINDS[header[name]["dtype"]])
            .reshape(header[name]["shape"])
            .clone()
            for name, (first, last) in spans.items()
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise RunError(
            path,
            found="no such file" if not path.exists() else f"no safetensors file ({reason})",
            expected="8 bytes of length, a JSON header, and floating numbers without gaps",
            remedy="download it again",
        ) from error


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that is there twice")
    return found


def _span(name: str, entry: Any) -> tuple[int, int]:
    """First byte of a tensor and the one behind its last, counted from the end of the header."""
    kind, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if set(entry) != {"dtype", "shape", "data_offsets"} or kind not in _KINDS:
        raise ValueError(f"{name!r} of kind {kind!r}")
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (*shape, first, last))
    if not whole or min((*shape, first), default=0) < 0 or not shape or 0 in shape:
        raise ValueError(f"{name!r} of shape {shape} at {first} to {last}")
    if last - first != math.prod(shape) * _KINDS[kind].itemsize:
        raise ValueError(f"{name!r} of shape {shape} in {last - first} bytes")
    return first, last


def _check_gapless(spans: Sequence[tuple[int, int]], size: int) -> None:
    end = 0
    for first, last in sorted(spans):
        if first != end:
            raise ValueError(f"a tensor at byte {first:,} where byte {end:,} follows")
        end = last
    if end != size or not spans:
        raise ValueError(f"{size:,} bytes of numbers, and tensors of {end:,}")
