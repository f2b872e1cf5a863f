"""One synthetic 192^3 sample from maps on 256^3, one thread: ours against MONAI's transforms and against cornucopia.

Ours does all of SynthStroke's sections 3 to 5. The composition of MONAI's transforms does the same steps, once in the
listed order (the crop late) and once with the crop first, which no longer sees what blur brings in from outside it.
cornucopia's own transform is the one that SynthStroke was published with; it neither pastes nor strips, and is timed
without that, given six fractional channels. Where a peer is not installed its rows are left out with a note.
"""

from __future__ import annotations

import statistics
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.measure import Row, Watch, in_child, report

GRID, SIZE = 256, 192
TISSUES = 4
PEERS = {"monai": ("MONAI", 2.0), "monai_crop": ("MONAI, crop first", None), "cornucopia": ("cornucopia", 10.0)}
SAMPLES = {"ours": 4}
"""Counted in one turn; of a peer one, which takes up to a minute."""
Work = Callable[[int], object]


def rows(folder: Path, rounds: int) -> list[Row]:
    """Ours beside each peer; every turn of every contestant is a process of its own, several samples in it."""
    material = folder / "synthesis.npz"
    if not material.exists():
        np.savez(material, **_material(GRID))
    there = {name: find_spec(name.split("_")[0]) is not None for name in PEERS}
    for name, found in there.items():
        if not found:
            Console(stderr=True).print(f"[dim]{PEERS[name][0]} not measured: it is not installed[/]")
    turns: dict[str, list[dict[str, float]]] = {"ours": []}
    for _ in range(max(1, rounds // 2)):
        for name in ("ours", *(name for name, found in there.items() if found)):
            turns.setdefault(name, []).append(in_child("benchmarks.synthesis", name, material))
    seconds = {name: statistics.median(turn["processor"] for turn in each) for name, each in turns.items()}
    peak = {name: max(turn["peak_mib"] for turn in each) for name, each in turns.items()}
    return [
        Row(
            f"a synthetic {SIZE}^3 sample",
            seconds["ours"],
            PEERS[name][0],
            seconds[name],
            PEERS[name][1],
            note=f"processor time, mean; peak memory {peak['ours']:.0f} MiB against {peak[name]:.0f} MiB",
        )
        for name in PEERS
        if name in turns
    ]


def main(contestant: str, material: str, samples: int) -> None:
    """Report the mean seconds of one contestant over samples; a first one does not count."""
    with np.load(material) as stored:
        maps, brain, lesion = (torch.from_numpy(stored[name]) for name in ("maps", "brain", "lesion"))
    makers = {"ours": _ours, "monai": _monai, "monai_crop": _monai_crop, "cornucopia": _cornucopia}
    work = makers[contestant](maps, brain, lesion)
    spent = []
    for sample in range(-1, samples):
        watch = Watch()
        work(sample)
        spent.append(watch.read()["processor"])
    report(processor=statistics.mean(spent[1:]))


def _material(side: int) -> dict[str, np.ndarray]:
    """Shells of tissue of a head's size with soft borders, on a grid of ``side``; a lesion of 14 ml."""
    scale = side / 256
    x, y, z = (np.arange(side, dtype=np.float32)[tuple(shape)] - (side - 1) / 2 for shape in _open_grid())
    radius = np.sqrt((x / 68) ** 2 + (y / 86) ** 2 + (z / 68) ** 2, dtype=np.float32) / scale
    edges = [(0.76, 0.9), (0, 0.62), (0.62, 0.76), (0.9, 1.0)]
    maps = np.stack(
        [np.clip((radius - low) * 30 + 0.5, 0, 1) * np.clip((high - radius) * 30 + 0.5, 0, 1) for low, high in edges]
    )
    maps[1] = np.clip((0.62 - radius) * 30 + 0.5, 0, 1)
    maps /= np.maximum(maps.sum(0), 1)
    lesion = ((x / scale - 30) ** 2 + (y / scale - 10) ** 2 + (z / scale - 8) ** 2 < 15**2).astype(np.uint8)
    return {"maps": maps.astype(np.float32), "brain": (radius < 1).astype(np.uint8), "lesion": lesion}


def _open_grid() -> list[list[object]]:
    everything = slice(None)
    return [[everything, None, None], [None, everything, None], [None, None, everything]]


def _ours(maps: Tensor, brain: Tensor, lesion: Tensor) -> Work:
    from strokelab.seeding import stream
    from strokelab.synthesis.generator import Generator

    generator = Generator(grid=maps.shape[1:])

    def work(sample: int) -> object:
        plan = generator.sampled(stream(0, "synthesis", sample), size=(SIZE,) * 3, channels=TISSUES)
        return generator.made(maps, brain, lesion, plan)

    return work


def _monai(maps: Tensor, brain: Tensor, lesion: Tensor) -> Work:
    from benchmarks.peer_synthesis import composition

    return composition(maps, brain, lesion, SIZE, late=True)


def _monai_crop(maps: Tensor, brain: Tensor, lesion: Tensor) -> Work:
    from benchmarks.peer_synthesis import composition

    return composition(maps, brain, lesion, SIZE, late=False)


def _cornucopia(maps: Tensor, brain: Tensor, lesion: Tensor) -> Work:
    from cornucopia import SynthFromLabelTransform

    pasted = torch.cat([maps * (1 - lesion.float()), lesion[None].float()])
    labels = torch.cat([1 - pasted.sum(0, keepdim=True), pasted])
    transform = SynthFromLabelTransform(
        patch=SIZE,
        rotation=15,
        shears=0.012,
        zooms=0.15,
        translations=0.1,
        elastic=0.05,
        elastic_nodes=10,
        gmm_fwhm=2,
        bias=7,
        bias_strength=0.5,
        gamma=0.6,
        motion_fwhm=3,
        resolution=8,
        snr=10,
        gfactor=5,
    )

    def work(sample: int) -> object:
        torch.manual_seed(sample + 1)
        return transform(labels)

    return work


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main(sys.argv[1], sys.argv[2], SAMPLES.get(sys.argv[1], 1))
