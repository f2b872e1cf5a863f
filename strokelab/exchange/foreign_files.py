"""Files of other tools read without executing anything in them: JSON, pickled plans, checkpoints.

Of NumPy, scalars and arrays are understood, and nothing of NumPy itself is called for them: its own functions would
take memory at will, and arrays of objects over raw bytes.
"""

from __future__ import annotations

import json
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from strokelab.errors import RunError
from strokelab.runs.checkpoints import refuse_inflation

_LARGEST_PLAN = 256 * 2**20
_KIND = re.compile(r"[biufSU]\d{1,6}")  # of numbers and words, by NumPy's codes
_PACKAGES = ("numpy.core", "numpy._core")  # before and after NumPy 2


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RunError: the file is missing or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error, "JSON") from error
    if not isinstance(content, dict):
        raise _unreadable(path, TypeError(f"a {type(content).__name__}"), "a JSON object")
    return content


def read_plans(path: Path) -> dict[str, Any]:
    """The pickled plans of nnU-Net v1: containers, plain values, numbers of NumPy, and its arrays as nested lists.

    Raises:
        RunError: the file is missing, damaged, or wants anything else.
    """
    try:
        if path.stat().st_size > _LARGEST_PLAN:
            raise ValueError(f"{path.stat().st_size / 1e6:,.0f} MB")
        with path.open("rb") as handle:
            content = _PlainUnpickler(handle).load()
    except Exception as error:  # the bytes may be anything
        raise _unreadable(path, error, "the plans of nnU-Net v1: containers, numbers, arrays") from error
    if not isinstance(content, dict):
        raise _unreadable(path, TypeError(f"a {type(content).__name__}"), "a dictionary")
    return content


def read_weights(path: Path) -> dict[str, Any]:
    """A checkpoint of either version; only tensors, plain data and numbers of NumPy are ever unpickled.

    Raises:
        RunError: the file is missing, damaged, or holds anything else.
    """
    try:
        refuse_inflation(path)
        with torch.serialization.safe_globals(_numbers()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # as above
        raise _unreadable(path, error, "a checkpoint of tensors, plain data and numbers") from error
    if not isinstance(content, dict):
        raise _unreadable(path, TypeError(f"a {type(content).__name__}"), "a dictionary")
    return content


class _Kind:
    """Stands in for ``numpy.dtype``: what an array holds, by its code, and the order of bytes."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(code, str) or not (_KIND.fullmatch(code) or code in ("O", "O8")):
            raise pickle.UnpicklingError(f"it wants values of kind {str(code)[:20]!r}")
        self.code = code
        self.order = "="

    def __setstate__(self, state: Sequence[Any]) -> None:
        if state[1] not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"bytes in order {str(state[1])[:20]!r}")
        self.order = state[1]

    def read(self, raw: bytes) -> NDArray[Any]:
        """The values (N,) that lie in bytes, none of which can be an object."""
        if self.code.startswith("O"):
            raise pickle.UnpicklingError("it wants objects out of bytes")
        kind = np.dtype(self.order + self.code)
        return np.frombuffer(raw, kind) if raw else np.empty(0, kind)


class _Array(list[Any]):
    """Stands in for ``numpy.ndarray``: nested lists."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_column, content = state
        if isinstance(content, list):  # of objects, each unpickled like everything here
            self[:] = content
        else:
            self[:] = _nested(kind, content, shape, "F" if by_column else "C")


def _nested(kind: _Kind, raw: bytes, shape: Sequence[int], order: str) -> list[Any]:
    values = kind.read(raw).reshape(shape, order="F" if order == "F" else "C")
    return list(values.tolist()) if values.ndim and values.size else values.ravel().tolist()


def _scalar(kind: _Kind, raw: bytes) -> Any:
    (value,) = kind.read(raw)
    return value


def _reconstruct(array: type[_Array], shape: Sequence[int], kind: Any) -> _Array:
    return _Array()


class _PlainUnpickler(pickle.Unpickler):
    """Builds what plans are made of; any other name is an error before it is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Kind,
            ("_codecs", "encode"): _latin,
            ("__builtin__", "bytes"): _no_bytes,
        }
        for package in _PACKAGES:
            known[f"{package}.multiarray", "scalar"] = _scalar
            known[f"{package}.multiarray", "_reconstruct"] = _reconstruct
            known[f"{package}.numeric", "_frombuffer"] = lambda raw, kind, shape, order: _nested(
                kind, raw, shape, order
            )
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it wants {module}.{name}")
        return known[module, name]


def _no_bytes() -> bytes:
    """As old pickles write them."""
    return b""


def _latin(text: str, encoding: str) -> bytes:
    """Bytes as old pickles write them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode("latin1")


def _numbers() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    return [(_Kind, "numpy.dtype"), *((_scalar, f"{package}.multiarray.scalar") for package in _PACKAGES)]


def _unreadable(path: Path, error: Exception, expected: str) -> RunError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return RunError(
        path,
        found="no such file" if not path.exists() else f"a file that cannot be read safely ({reason})",
        expected=expected,
        remedy="copy the model folder again; a file that wants more is not opened, whoever made it",
    )
