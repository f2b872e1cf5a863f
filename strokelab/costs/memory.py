"""Memory of a training step: reckoned and measured by crop and precision, and the largest crop that fits."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from strokelab.configuration import build_model
from strokelab.errors import ConfigError, ProcessError
from strokelab.models.segmenter import Segmenter
from strokelab.models.step_memory import StepMemory, step_memory
from strokelab.report.cells import NOTHING, Cell, Table, number_cell

CROPS = ((64, 64, 64), (128, 128, 128), (144, 172, 168))
PRECISIONS = {"float32": False, "bf16": True}
DEVICES_GB = (12, 24, 48, 80, 141)
"""Of 10^9 bytes, the first of which is left to the device's own."""
_PROBES = (128, 192)  # sides of the cubes from which larger ones are reckoned; every network of ours divides them
_STEP = 8  # voxels, the least between two cubes
_MIB = 2**20


@dataclass(frozen=True)
class Step:
    """A training step of one model on one sample."""

    name: str
    sample: tuple[int, ...]
    precision: str
    memory: StepMemory
    measured: int | None = None  # bytes


@dataclass(frozen=True)
class Training:
    """Which training steps are asked for.

    Args:
        crops: beside a model's own sample; of them those that its network can take.
        measured: whether steps are taken as well.
    """

    crops: tuple[tuple[int, ...], ...] = CROPS
    measured: bool = False


def steps_of(name: str, model: Segmenter, own: tuple[int, ...], asked: Training, *, device: str) -> tuple[Step, ...]:
    """The steps of a model, by crop and precision.

    Args:
        name: of a file in ``conf/model``.
        model: that was built of it.
        own: its sample.
        asked: what is asked for.
        device: "cpu", or a GPU, which must be there only where steps are measured.

    Raises:
        ConfigError: the network cannot take its sample.
        ProcessError: a process that took a step failed.
    """
    steps = []
    for crop in _crops_of(model, own, asked.crops):
        for precision, half in PRECISIONS.items():
            memory = step_memory(model, crop, half=half, device=device.partition(":")[0])
            taken = asked.measured and _can_measure(precision, device)
            steps.append(
                Step(name, crop, precision, memory, _measured(name, crop, precision, device) if taken else None)
            )
    return tuple(steps)


def _crops_of(model: Segmenter, own: tuple[int, ...], asked: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    divisors = getattr(model.network, "divisors", None) or (1,) * len(own)
    fitting = [
        crop
        for crop in asked
        if len(crop) == len(own) and not any(side % by for side, by in zip(crop, divisors, strict=True))
    ]
    return list(dict.fromkeys([own, *fitting]))


def _can_measure(precision: str, device: str) -> bool:
    """Whether a step takes seconds here and not hours: bf16 on a CPU needs its instructions."""
    import torch

    return precision == "float32" or device != "cpu" or torch.cpu._is_avx512_bf16_supported()


def step_table(steps: Sequence[Step], *, device: str, machine: str) -> Table:
    """One row for each step."""
    header = (
        "Model",
        "Crop",
        "Precision",
        "Weights (MiB)",
        "Gradients (MiB)",
        "Optimiser (MiB)",
        "Kept activations (MiB)",
        "Peak (MiB)",
        "Peak, measured (MiB)",
        "Measured to reckoned",
    )
    rows = []
    for step in steps:
        memory = step.memory
        parts = (memory.weights, memory.gradients, memory.optimizer, memory.kept, memory.peak)
        cells = [Cell(step.name, heading=True), Cell(" x ".join(map(str, step.sample))), Cell(step.precision)]
        cells += [number_cell(part / _MIB, 0) for part in parts]
        if step.measured is None:
            cells += [Cell(NOTHING), Cell(NOTHING)]
        else:
            cells += [number_cell(step.measured / _MIB, 0), number_cell(step.measured / memory.peak, 2)]
        rows.append(tuple(cells))
    notes = [
        f"One sample per step, on {device}. Reckoned on tensors without numbers: all that is held at one moment, with "
        "the operands of the convolution under way in a second layout as its workspace.",
    ]
    if any(step.measured is not None for step in steps):
        notes.append(
            f"Measured: a second step, in a fresh process on {machine}; what the process had before is taken off."
        )
    if any(not _can_measure(step.precision, device) for step in steps):
        notes.append("This processor has no bf16 instructions: such steps are not measured here.")
    return Table("Peak memory of a training step", header, tuple(rows), tuple(notes), name="costs_training")


def largest_table(names: Sequence[str]) -> Table | None:
    """The largest cube that a training step fits into devices of several sizes; None: no model of volumes."""
    rows = []
    for name in names:
        for label, model in _variants(name):
            for precision, half in PRECISIONS.items():
                sides = largest_cubes(model, [(gb - 1) * 10**9 for gb in DEVICES_GB], half=half)
                rows.append(
                    (
                        Cell(label, heading=True),
                        Cell(precision),
                        *(number_cell(side, 0) if side else Cell(NOTHING) for side in sides),
                    )
                )
    if not rows:
        return None
    header = ("Model", "Precision", *(f"{gb} GB" for gb in DEVICES_GB))
    notes = (
        "Side of the largest cube in voxels, one sample per step, in steps that the network can take (at least "
        f"{_STEP} voxels). Reckoned for CUDA from cubes of {_PROBES[0]} and {_PROBES[1]} voxels; 1 GB is left to the "
        "device's own. Not measured on a GPU.",
    )
    return Table("The largest crop that fits", header, tuple(rows), notes, name="costs_largest")


def largest_cubes(model: Segmenter, budgets: Sequence[int], *, half: bool) -> list[int]:
    """Side of the largest cube whose training step takes at most so many bytes on a GPU; 0: none.

    Memory is a constant and a multiple of the voxels, as long as sides divide through the poolings.
    """
    voxels = [side**3 for side in _PROBES]
    peaks = [step_memory(model, (side,) * 3, half=half, device="cuda").peak for side in _PROBES]
    each = (peaks[1] - peaks[0]) / (voxels[1] - voxels[0])
    step = math.lcm(_STEP, *(getattr(model.network, "divisors", None) or (1,)))
    rooms = (max((most - peaks[0]) / each + voxels[0], 0) for most in budgets)
    return [int(room ** (1 / 3) + 1e-9) // step * step for room in rooms]


def _variants(name: str) -> list[tuple[str, Segmenter]]:
    """A model of volumes as it comes, and with activations made again where its network can."""
    import torch

    with torch.device("meta"):
        model = build_model(name)
        if getattr(model.network, "dimensions", 2) != 3:
            return []
        found = [(name, model)]
        if hasattr(model.network, "recompute"):
            found += [
                (f"{name}, {how}", build_model(name, network__recompute=how)) for how in ("full_resolution", "all")
            ]
    return found


def _measured(name: str, sample: tuple[int, ...], precision: str, device: str) -> int:
    words = [sys.executable, "-m", "strokelab.costs.one_step", name, "x".join(map(str, sample)), precision, device]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProcessError(
            f"a training step of {name}, {words[4]} voxels",
            found=(done.stderr.splitlines() or [f"status {done.returncode}"])[-1],
            expected="a step that fits into this machine's memory",
            remedy="measure a smaller crop, or reckon without measuring",
        )
    return int(json.loads(done.stdout.splitlines()[-1])["bytes"])


def crop_of(text: str) -> tuple[int, ...]:
    """The crop that a command names, e.g. 64x64x64.

    Raises:
        ConfigError: other words.
    """
    sides = text.split("x")
    if len(sides) not in (2, 3) or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ConfigError("--crop", found=text, expected="sides in voxels", remedy="write it as 64x64x64")
    return tuple(int(side) for side in sides)
