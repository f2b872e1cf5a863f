"""nnU-Net's files read without executing anything in them: JSON, pickled plans, checkpoints.

Of NumPy, scalars and arrays of numbers are let through by exact name, nothing else.
"""

from __future__ import annotations

import importlib
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strokelab.errors import RunError
from strokelab.runs.checkpoints import refuse_inflation

_LARGEST_PLAN = 256 * 2**20
_KINDS = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)
_PACKAGES = ("numpy.core", "numpy._core")  # before and after NumPy 2


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RunError: the file is missing or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error, "JSON, as nnU-Net writes it") from error
    if not isinstance(content, dict):
        raise _unreadable(path, TypeError(f"a {type(content).__name__}"), "a JSON object")
    return content


def read_plans(path: Path) -> dict[str, Any]:
    """The pickled plans of nnU-Net v1: containers, plain values, numbers and arrays of NumPy.

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


class _PlainUnpickler(pickle.Unpickler):
    """Builds what plans are made of; any other name is an error before it is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _latin,
        }
        for package in _PACKAGES:
            known[f"{package}.multiarray", "scalar"] = _of_numpy("multiarray", "scalar")
            known[f"{package}.multiarray", "_reconstruct"] = _of_numpy("multiarray", "_reconstruct")
            known[f"{package}.numeric", "_frombuffer"] = _of_numpy("numeric", "_frombuffer")
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it wants {module}.{name}")
        return known[module, name]


def _latin(text: str, encoding: str) -> bytes:
    """Bytes as old pickles write them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode("latin1")


def _numbers() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    kinds = {type(np.dtype(kind)) for kind in _KINDS}
    scalar = _of_numpy("multiarray", "scalar")
    return [np.dtype, *kinds, *((scalar, f"{package}.multiarray.scalar") for package in _PACKAGES)]


def _of_numpy(module: str, name: str) -> Callable[..., Any]:
    """What pickles of numbers and arrays call, wherever this NumPy keeps it."""
    package = _PACKAGES[np.lib.NumpyVersion(np.__version__) >= "2.0.0"]
    found: Callable[..., Any] = getattr(importlib.import_module(f"{package}.{module}"), name)
    return found


def _unreadable(path: Path, error: Exception, expected: str) -> RunError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return RunError(
        path,
        found="no such file" if not path.exists() else f"a file that cannot be read safely ({reason})",
        expected=expected,
        remedy="copy the model folder again; a file that wants more is not opened, whoever made it",
    )
