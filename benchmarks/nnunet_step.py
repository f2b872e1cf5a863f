"""A training step of the ATLAS U-Net on the CPU beside nnU-Net's, as it ships and in our precision.

``python -m benchmarks.nnunet_step SIDE BATCH PRECISION ALLOCATOR STEPS`` is our child: seconds of a step, peak memory.
"""

from __future__ import annotations

import logging
import statistics
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console
from torch.utils.data import DataLoader

import strokelab
from benchmarks.measure import Row, Watch, in_child, report
from benchmarks.peer import NoPeerError, in_peer, peer_python
from strokelab.allocator import use
from strokelab.contract import Batch

CHILD, PEER = "benchmarks.nnunet_step", "benchmarks.peer_step"
SIZES = {64: 1, 128: 2}  # side of the patch -> patches of a batch; 128 x 2 is what ATLAS trains with
STEPS = {64: 5, 128: 1}  # that count, after one that does not
# Side -> the peer's time over ours: against nnU-Net as it ships (float32), and against its network in bf16.
GOALS = {64: (3.0, 1.0), 128: (3.0, 1.5)}
MEMORY_GOAL = 0.65  # of nnU-Net's peak as it ships, at 128


def rows(folder: Path, rounds: int) -> list[Row]:
    """Ours, nnU-Net in float32 and nnU-Net in bf16 take turns, each in a fresh process; none without its Python."""
    try:
        peer_python()
    except NoPeerError as error:
        Console(stderr=True).print(f"[dim]the step is not measured: {error}[/]")
        return []
    lines = []
    for side, batch in SIZES.items():
        size, steps = (str(side), str(batch)), str(STEPS[side])
        ours: list[dict[str, Any]] = []
        shipped: list[dict[str, Any]] = []
        half: list[dict[str, Any]] = []
        for _ in range(rounds if side == min(SIZES) else min(rounds, 2)):
            ours.append(in_child(CHILD, *size, "bf16-mixed", "resident", steps))
            shipped.append(in_peer(PEER, *size, "float32", steps))
            half.append(in_peer(PEER, *size, "bf16", steps))
        seconds, processor, memory = _median(ours)
        for name, answers, goal in zip(("as it ships, float32", "in bf16"), (shipped, half), GOALS[side], strict=True):
            peers, peers_processor, peers_memory = _median(answers)
            share = f"{memory / peers_memory:.2f} of it"
            if answers is shipped and side == max(SIZES):
                share += f", goal {MEMORY_GOAL} {'met' if memory <= MEMORY_GOAL * peers_memory else 'MISSED'}"
            note = f"peak memory {memory:.0f} MiB against {peers_memory:.0f} MiB, {share}"
            note += f"; {peers_processor / processor:.1f}x our processor time"
            work = f"training step of nnunet, {batch} x {side}^3, bf16 and kept memory"
            lines.append(Row(work, seconds, f"nnU-Net {name}", peers, goal, note=note))
    return lines


class Clock(L.Callback):
    """What each step took."""

    def __init__(self) -> None:
        self.watch, self.steps = Watch(), list[dict[str, float]]()

    def on_train_batch_start(self, *_: Any) -> None:
        """A step begins."""
        self.watch = Watch()

    def on_train_batch_end(self, *_: Any) -> None:
        """A step is over."""
        self.steps.append(self.watch.read())


def batch_of(seed: int, side: int, size: int) -> Batch:
    """Noise, with a lesion where it is bright."""
    torch.manual_seed(seed)
    image = torch.randn(size, 1, side, side, side)
    return {
        "image": image,
        "lesion": (image > 2.5).to(torch.uint8),
        "brain": torch.ones(size, 1, side, side, side, dtype=torch.uint8),
        "site": torch.zeros(size, dtype=torch.int64),
        "case_id": [str(number) for number in range(size)],
        "origin": torch.zeros(size, 3, dtype=torch.int64),
    }


def main(side: int, size: int, precision: str, allocator: str, steps: int) -> None:
    """Train for some steps; the first does not count."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    use(allocator)
    clock = Clock()
    trainer = L.Trainer(
        accelerator="cpu",
        precision=precision,  # type: ignore[arg-type]
        max_steps=steps + 1,
        gradient_clip_val=12,
        logger=False,
        callbacks=[clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = DataLoader([batch_of(step, side, size) for step in range(steps + 1)], batch_size=None)  # type: ignore[arg-type]
    trainer.fit(strokelab.build_model("nnunet"), batches)
    names = ("seconds", "processor")
    report(**{name: statistics.median(step[name] for step in clock.steps[1:]) for name in names})


def _median(answers: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Seconds, seconds of the processor, MiB."""
    seconds, processor, memory = (
        statistics.median(answer[key] for answer in answers) for key in ("seconds", "processor", "peak_mib")
    )
    return seconds, processor, memory


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
