"""Forward pass and training step of the 3D ResU-Net at 128^3 beside the same network built plainly.

``python -m benchmarks.volume_step KIND SIDE`` is one contestant, alone in a process: seconds and peak memory.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.measure import Row, Watch, in_child, report
from benchmarks.plain_resunet3d import PlainResUNet3D
from strokelab.allocator import use
from strokelab.losses.compound import BCEDiceLoss
from strokelab.networks.resunet3d import ResUNet3D

CHILD = "benchmarks.volume_step"
SIDE = 128
GOAL, MEMORY_GOAL = 2.0, 0.7  # of the plain network's seconds and peak memory
# Words -> recompute, channels last, bf16, allocator.
OURS: dict[str, tuple[str, bool, bool, str]] = {
    "float32": ("none", False, False, "default"),
    "float32, channels last": ("none", True, False, "default"),
    "float32, full resolution made again": ("full_resolution", False, False, "default"),
    "float32, all made again": ("all", False, False, "default"),
    "bf16 and kept memory": ("none", False, True, "resident"),
}
_HALF = "bf16 and kept memory"


def rows(folder: Path, rounds: int) -> list[Row]:
    """All take turns, each in a fresh process, twice at most; bf16 only where the processor has its instructions."""
    names = [name for name in OURS if name != _HALF or torch.cpu._is_avx512_bf16_supported()]
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in ("plain", *names)}
    for _ in range(min(rounds, 2)):
        for name, kept in answers.items():
            kept.append(in_child(CHILD, name, str(SIDE)))
    medians = {name: _median(kept) for name, kept in answers.items()}
    plain = medians["plain"]
    lines = []
    for name in names:
        own = medians[name]
        share = own["peak_mib"] / plain["peak_mib"]
        note = f"peak memory {own['peak_mib']:.0f} MiB against {plain['peak_mib']:.0f} MiB, {share:.2f} of it"
        note += f", goal {MEMORY_GOAL} {'met' if share <= MEMORY_GOAL else 'missed'}"
        note += f"; {plain['processor'] / own['processor']:.2f}x in processor time"
        goal = GOAL if name == _HALF else None
        peer = "built plainly, float32"
        work = f"resunet3d, 1 x {SIDE}^3: {name}"
        lines.append(Row(f"{work}, training step", own["seconds"], peer, plain["seconds"], goal, note=note))
        lines.append(Row(f"{work}, forward", own["forward"], peer, plain["forward"]))
    return lines


def main(kind: str, side: int) -> None:
    """A forward pass without gradients, and one training step."""
    recompute, last, half, allocator = OURS.get(kind, ("none", False, False, "default"))
    use(allocator)
    torch.manual_seed(0)
    network: nn.Module = PlainResUNet3D(1) if kind == "plain" else ResUNet3D(1, recompute=recompute)  # type: ignore[arg-type]
    if last:
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimizer, loss = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4), BCEDiceLoss()
    image = torch.rand(1, 1, side, side, side)
    lesion = (image > 0.99).float()
    half_precision = torch.autocast("cpu", dtype=torch.bfloat16, enabled=half)
    watch = Watch()
    with torch.no_grad(), half_precision:
        network(image)
    forward = watch.read()["seconds"]
    watch = Watch()
    with half_precision:
        total = loss(network(image), lesion)
    total.backward()
    optimizer.step()
    report(forward=forward, **watch.read())


def _median(answers: list[dict[str, Any]]) -> dict[str, float]:
    return {key: statistics.median(answer[key] for answer in answers) for key in answers[0]}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
