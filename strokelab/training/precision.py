"""In which precision a training computes and how it keeps its memory: ``trainer.precision`` and ``allocator``.

``auto`` is settled here, once, before the model is built, and the settled words are what a run remembers. Losses and
the statistics of normalisation are in float32 under every choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from strokelab.allocator import LARGE_BLOCK, cannot_keep
from strokelab.configuration import Settings, build
from strokelab.errors import ConfigError
from strokelab.training.few_slices import FEW, computed_wrongly, few_slices
from strokelab.training.trial import try_out

FULL, HALF, OLD_HALF, DOUBLE = "32-true", "bf16-mixed", "16-mixed", "64-true"
SHORT = {"32": FULL, "bf16": HALF, "16": OLD_HALF, "64": DOUBLE}
ALLOCATORS = ("auto", "default", "resident")
# What a trial must show: bf16 changes numbers a little, resident memory costs some; neither is for a few per cent.
HALF_GAIN, RESIDENT_GAIN = 1.2, 1.1


@dataclass(frozen=True)
class Choice:
    """The settled words, and one line that says what was settled; None: everything was asked for by name."""

    precision: str
    allocator: str
    said: str | None = None


def check_precision(settings: Settings) -> None:
    """Whether ``trainer.precision`` and ``allocator`` can be had; without looking at the data.

    Raises:
        ConfigError: an unknown word, or float16 without a GPU.
    """
    asked, device = precision_of(settings["trainer"]), device_of(settings["trainer"])
    if asked not in ("auto", FULL, HALF, OLD_HALF, DOUBLE):
        raise ConfigError(
            "trainer.precision",
            found=f"{asked!r}",
            expected="auto, 32-true, bf16-mixed, 16-mixed or 64-true (or auto, 32, bf16, 16, 64)",
            remedy="weights and statistics stay in float32 here: choose a mixed precision",
        )
    if asked == OLD_HALF and device == "cpu":
        raise ConfigError(
            "trainer.precision",
            found="16-mixed on a CPU, which cannot compute in float16",
            expected="bf16-mixed, 32-true or auto",
            remedy="set trainer.precision=bf16-mixed, or choose trainer=gpu on a machine that has one",
        )
    if settings.get("allocator", "default") not in ALLOCATORS:
        raise ConfigError(
            "allocator",
            found=f"{settings['allocator']!r}",
            expected=f"one of {', '.join(ALLOCATORS)}",
            remedy="leave it at auto",
        )


def settle(
    settings: Settings, sample_shape: Sequence[int] | None, *, earlier: Sequence[Sequence[int] | None] = ()
) -> Choice:
    """What ``auto`` means for this run on this machine: on a CPU a trial of about a second decides.

    Nothing is in force yet (``allocator.use``). One process of a training asks; the others read the answer.

    Args:
        settings: of the run.
        sample_shape: S of a sample; None: unknown.
        earlier: the same in earlier stages.

    Raises:
        ConfigError: as ``check_precision``, or bf16 on a processor that computes some gradients wrongly in it.
    """
    check_precision(settings)
    asked, device = precision_of(settings["trainer"]), device_of(settings["trainer"])
    memory = str(settings.get("allocator", "default"))
    if device != "cpu":
        return _on_gpu(asked, memory, device)
    return _on_cpu(asked, memory, settings, sample_shape, [shape for shape in (sample_shape, *earlier) if shape])


def precision_of(trainer: Mapping[str, Any]) -> str:
    """The precision asked for, in Lightning's long words."""
    asked = str(trainer.get("precision") or FULL)
    return SHORT.get(asked, asked)


def device_of(trainer: Mapping[str, Any]) -> str:
    """``cpu``, ``cuda`` or ``mps``: where a trainer with these settings computes."""
    accelerator = str(trainer.get("accelerator", "auto"))
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("gpu", "mps", "auto") and torch.backends.mps.is_available():
        return "mps"
    return "cuda" if accelerator in ("gpu", "cuda") else "mps" if accelerator == "mps" else "cpu"


def _on_gpu(asked: str, memory: str, device: str) -> Choice:
    """bf16 where it is native, float16 with scaled gradients on older tensor cores, float32 elsewhere."""
    memory = "default" if memory == "auto" else memory  # the CPU has no large tensors then
    if asked != "auto":
        return Choice(asked, memory)
    if device != "cuda" or not torch.cuda.is_available():
        return Choice(FULL, memory, f"{device}: float32; overrule with trainer.precision=...")
    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    precision = HALF if capability >= (8, 0) else OLD_HALF if capability >= (7, 0) else FULL
    reason = {HALF: "computes in bf16", OLD_HALF: "has tensor cores for float16 alone", FULL: "gains nothing from half"}
    return Choice(precision, memory, f"{name} {reason[precision]}: {precision}; overrule with trainer.precision=...")


def _on_cpu(
    asked: str, memory: str, settings: Settings, sample_shape: Sequence[int] | None, shapes: Sequence[Sequence[int]]
) -> Choice:
    wanted = memory == "resident" or (memory == "auto" and _large(settings, sample_shape))
    hindrance = cannot_keep() if wanted else None
    ask_half, ask_memory = asked == "auto", memory == "auto" and wanted and not hindrance
    words = [f"memory is not kept ({hindrance})"] if hindrance else []
    if memory == "auto":
        memory = "default"
    wrong = (
        next((shape for shape in shapes if _wrong_in_half(settings, shape)), None) if asked in (HALF, "auto") else None
    )
    if wrong and ask_half:
        words.append(f"this processor computes gradients of volumes of {FEW} slices wrongly in bf16, so {FULL}")
        asked, ask_half = FULL, False
    if wrong and asked == HALF:
        raise ConfigError(
            "trainer.precision",
            found=f"{HALF}, on a processor that computes gradients of volumes of {FEW} slices wrongly in bf16 "
            f"(PyTorch {torch.__version__}), and a network whose deepest maps have so few at samples of {tuple(wrong)}",
            expected=f"{FULL}, or larger samples",
            remedy="set trainer.precision=32-true",
        )
    if not ask_half and not ask_memory:
        return Choice(asked, memory, f"CPU: {'; '.join(words)}" if words else None)
    channels_last = bool(settings["model"].get("channels_last"))
    trial = try_out(len(sample_shape or "YX"), half=ask_half, resident=ask_memory, channels_last=channels_last)
    overrule = []
    if trial.half is not None:
        asked = HALF if trial.half >= HALF_GAIN else FULL
        words.append(f"bf16 {trial.half:.1f}x as fast as float32, so {asked}")
        overrule.append("trainer.precision=...")
    if trial.resident is not None:
        memory = "resident" if trial.resident >= RESIDENT_GAIN else "default"
        words.append(f"large tensors {trial.resident:.1f}x as fast where freed memory is kept, so allocator={memory}")
        overrule.append("allocator=...")
    said = f"CPU: {'; '.join(words)} (trial {trial.seconds:.1f} s); overrule with {' '.join(overrule)}"
    return Choice(asked, memory, said)


def _wrong_in_half(settings: Settings, sample_shape: Sequence[int]) -> bool:
    """Whether a network meets volumes whose gradients this processor computes wrongly (``few_slices``)."""
    node = settings["model"].get("network") or {}
    channels = node.get("in_channels")
    if len(sample_shape) < 3 or not isinstance(channels, int) or not computed_wrongly():
        return False
    first, *others = sample_shape
    seen = first // 2 if settings["model"].get("hemispheres") else first
    with torch.device("meta"):
        network = build(node)
    return few_slices(network, channels, (seen, *others))


def _large(settings: Settings, sample_shape: Sequence[int] | None) -> bool:
    """Whether the first stage's tensors exceed what glibc keeps by itself; True where that cannot be told."""
    batch, width = settings["data"].get("batch_size"), (settings["model"].get("network") or {}).get("base")
    if sample_shape is None or not isinstance(batch, int) or not isinstance(width, int):
        return True
    return 4 * batch * width * prod(sample_shape) >= LARGE_BLOCK
