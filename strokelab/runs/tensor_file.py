"""Weights in the safetensors format, as published models and packed runs have them. Executes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from strokelab.errors import RunError
from strokelab.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

TENSORS = ".safetensors"
"""The ending of such files."""


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, of the kind in which they lie there, and what the file says beside them.

    Raises:
        RunError: the file is missing, shorter or longer than its header says, or its tensors overlap or leave gaps.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            told = {str(key): str(value) for key, value in (file.metadata() or {}).items()}
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if not found:
            raise ValueError("no tensor")
        return found, told
    except (OSError, ValueError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise RunError(
            path,
            found="no such file" if not path.exists() else f"no safetensors file ({reason})",
            expected="8 bytes of length, a JSON header, and numbers without gaps",
            remedy="download it again",
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> None:
    """Write tensors whole or not at all; equal tensors give equal bytes.

    Args:
        path: of the file.
        tensors: by name.
        told: what the file says beside them, in words.

    Raises:
        DiskFullError: the disk is full.
    """
    from safetensors.torch import save_file

    apart = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    with replacing(path) as temporary:
        save_file(apart, str(temporary), metadata=dict(told))
