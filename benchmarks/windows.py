"""Whole-volume inference: the work around the network beside MONAI's, and an ATLAS-size case beside nnU-Net's.

Everybody is alone in a process, since peak memory is a process's own. Where the machine is busy, processor seconds are
the fairer figure: the rows about the work around the network are in them.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.measure import Row, in_child
from benchmarks.peer import NoPeerError, in_peer, peer_python

CHILD, PEER = "benchmarks.window_case", "benchmarks.peer_windows"
CALLS = "2"  # passes of the full network that are computed, of 144
AROUND_GOAL, VOLUME_GOAL, DICE_GOAL = 2.0, 3.0, 0.999


def rows(folder: Path, rounds: int) -> list[Row]:
    """Contestants take turns; a whole volume at most twice, it takes minutes."""
    lines = _around(rounds)
    try:
        peer_python()
    except NoPeerError as error:
        Console(stderr=True).print(f"[dim]nnU-Net not measured: {error}[/]")
        return lines
    return [*lines, *_volume(min(rounds, 2))]


def _around(rounds: int) -> list[Row]:
    lines = []
    for mirror, words in (("none", "18 windows of 128^3"), ("xyz", "18 windows, 8 mirror images")):
        answer = in_child(CHILD, "around", mirror, str(rounds))
        work = f"lesion probability of a volume, {words}: all but the network, processor time"
        note = "one thread; ours adds up the lesion's map alone"
        lines.append(Row(work, answer["ours"], "MONAI, both maps", answer["monai"], AROUND_GOAL, note=note))
        lines.append(Row(work, answer["ours"], "MONAI, lesion's map alone", answer["monai_lesion"], note="one thread"))
    return lines


def _volume(rounds: int) -> list[Row]:
    answers: dict[str, list[dict[str, Any]]] = {"bf16": [], "32": [], "peer": []}
    for _ in range(rounds):
        answers["bf16"].append(in_child(CHILD, "volume", "bf16", CALLS))
        answers["peer"].append(in_peer(PEER, CALLS))
        answers["32"].append(in_child(CHILD, "volume", "32", CALLS))
    half, full, peer = (_median(answers[name]) for name in ("bf16", "32", "peer"))
    quality = in_child(CHILD, "quality")
    met = "met" if quality["dice"] >= DICE_GOAL else "MISSED"
    work = f"197 x 233 x 189 case, ATLAS U-Net, 8 mirror images ({half['calls']:.0f} passes, {CALLS} computed)"
    lines = []
    for name, ours, goal in (("bf16", half, VOLUME_GOAL), ("float32", full, None)):
        note = (
            f"peak memory {ours['peak_mib']:.0f} MiB against {peer['peak_mib']:.0f} MiB; processor time "
            f"{peer['processor'] / ours['processor']:.1f}x"
        )
        if goal:
            note += f"; Dice to float32 {quality['dice']:.4f}, goal {DICE_GOAL} {met} (small trained network)"
        lines.append(
            Row(f"{work}: {name}", ours["seconds"], "nnU-Net's predictor, float32", peer["seconds"], goal, note=note)
        )
    return lines


def _median(answers: list[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(answer[name] for answer in answers) for name in answers[0]}
