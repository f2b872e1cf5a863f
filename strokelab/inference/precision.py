"""In which precision a prediction computes. Knows words and devices; knows no model and no run folder.

Probabilities, the sums over windows and what ``Segmenter`` keeps in float32 under autocast stay in float32 always.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

from strokelab import allocator
from strokelab.errors import ConfigError

Precision = Literal["32", "bf16", "16"]
AS_TRAINED = "as_trained"

_OF_TRAINING: dict[str, Precision] = {"bf16-mixed": "bf16", "bf16": "bf16", "16-mixed": "16", "16": "16"}
_KINDS = {"bf16": torch.bfloat16, "16": torch.float16}


def settle(asked: str | int, *, trained: str, device: torch.device | str) -> Precision:
    """The precision of a prediction; a choice by name is obeyed.

    Args:
        asked: ``as_trained``, ``32``, ``bf16`` or ``16``. As trained: the run's own where this device computes in it,
            float32 elsewhere, so that a run trained in bf16 on a GPU is not ten times slower on an old processor.
        trained: ``trainer.precision`` of the run, in Lightning's words.
        device: where the network computes.

    Raises:
        ConfigError: an unknown word, or float16 without a GPU.
    """
    kind, asked = torch.device(device).type, str(asked)  # yaml has a number without quotes
    if asked == AS_TRAINED:
        wanted = _OF_TRAINING.get(trained, "32")
        return wanted if _computes_in(wanted, kind) else "32"
    if asked == "16" and kind == "cpu":
        raise ConfigError(
            "precision",
            found="16 on a CPU, which cannot compute in float16",
            expected="as_trained, 32 or bf16",
            remedy="set precision=bf16, or choose device=cuda on a machine that has one",
        )
    if asked == "32":
        return "32"
    if asked == "bf16" or asked == "16":
        return "bf16" if asked == "bf16" else "16"
    raise ConfigError(
        "precision",
        found=repr(asked),
        expected=f"{AS_TRAINED}, {' or '.join(get_args(Precision))}",
        remedy=f"leave it at {AS_TRAINED}",
    )


@contextmanager
def computing(precision: Precision, device: torch.device | str) -> Iterator[None]:
    """Autocast to ``precision`` inside; on a CPU large tensors are also kept for the next window, not given back.

    The latter changes addresses, no numbers (``allocator``), and is undone at the end.
    """
    kind = torch.device(device).type
    half = precision != "32"
    with _kept_memory(kind), torch.autocast(kind, dtype=_KINDS.get(precision, torch.bfloat16), enabled=half):
        yield


@contextmanager
def _kept_memory(kind: str) -> Iterator[None]:
    ours = kind == "cpu" and not allocator.is_kept() and allocator.keep_resident()
    try:
        yield
    finally:
        if ours:
            allocator.give_back()


def _computes_in(precision: Precision, kind: str) -> bool:
    """Whether a device has arithmetic for it, instead of imitating it slowly."""
    if precision == "32":
        return True
    if kind == "cuda":
        return precision == "16" or torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu" or precision == "16":
        return False
    # torch tells from 2.9 on; before, the run's own choice is trusted.
    tell = getattr(torch.cpu, "get_capabilities", None)
    return tell is None or any(bool(has) for name, has in tell().items() if "bf16" in name)
