"""A training step of SG-Net and of the plain U-Net on the CPU: bf16 and kept memory against Lightning as it comes."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, in_child
from benchmarks.training_step import BASE, BATCH, PLANE

CHILD = "benchmarks.training_step"
GOAL = 1.5
PEER = ("32-true", "default")
OURS = {
    ("bf16-mixed", "default"): "bf16",
    ("32-true", "resident"): "kept memory",
    ("bf16-mixed", "resident"): "bf16 and kept memory",
}


def rows(folder: Path, rounds: int) -> list[Row]:
    """All four combinations take turns, each in a fresh process; both together are what ``auto`` chooses here."""
    lines = []
    for model in ("sgnet", "unet2d"):
        answers: dict[tuple[str, str], list[dict[str, Any]]] = {PEER: [], **{name: [] for name in OURS}}
        for _ in range(rounds):
            for (precision, allocator), kept in answers.items():
                kept.append(in_child(CHILD, model, precision, allocator))
        medians = {name: _median(kept) for name, kept in answers.items()}
        peers = medians[PEER]
        for name, words in OURS.items():
            note = f"peak memory {medians[name]['peak_mib']:.0f} MiB against {peers['peak_mib']:.0f} MiB"
            work = f"training step of {model}, {BATCH} slices {PLANE[0]} x {PLANE[1]}, base {BASE}: {words}"
            goal = GOAL if words == "bf16 and kept memory" else None
            peer = "Lightning, float32, glibc's allocator"
            lines.append(Row(work, medians[name]["seconds"], peer, peers["seconds"], goal, note=note))
    return lines


def _median(answers: list[dict[str, Any]]) -> dict[str, float]:
    return {key: statistics.median(answer[key] for answer in answers) for key in ("seconds", "peak_mib")}
