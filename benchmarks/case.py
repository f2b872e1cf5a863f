"""One full-size case on the CPU, prepared and predicted: seconds, peak memory, and the arithmetic floor."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, in_child

CHILD = "benchmarks.one_case"


def prepare_rows(folder: Path, rounds: int) -> list[Row]:
    """A file to SG-Net's slices; each turn a fresh process, the first one of each not counted."""
    answers: dict[str, list[dict[str, Any]]] = {"prepare": [], "prepare_torchio": []}
    for turn in range(rounds + 1):
        for what, kept in answers.items():
            answer = in_child(CHILD, what, folder)
            if turn:
                kept.append(answer)
    ours, theirs = (_median(kept) for kept in answers.values())
    note = f"peak memory {ours['peak_mib']:.0f} MiB against {theirs['peak_mib']:.0f} MiB; ours finds the brain as well"
    peer = "TorchIO read, canonical, crop, z-score"
    return [Row("prepare a 197 x 233 x 189 case", ours["seconds"], peer, theirs["seconds"], note=note)]


def predict_rows(folder: Path, rounds: int) -> list[Row]:
    """Whole case through the full-size SG-Net, once: it takes minutes."""
    answer = in_child(CHILD, "predict", folder)
    work = f"predict it with full-size SG-Net ({answer['slices']:.0f} slices)"
    peer = f"floor: {answer['gmacs']:.2f} GMAC a slice at {answer['gflops']:.0f} GFLOP/s"
    note = f"peak memory {answer['peak_mib']:.0f} MiB; one round"
    return [Row(work, answer["seconds"], peer, answer["floor"], note=note)]


def _median(answers: list[dict[str, Any]]) -> dict[str, float]:
    return {key: statistics.median(answer[key] for answer in answers) for key in ("seconds", "peak_mib")}
