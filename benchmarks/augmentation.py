"""Augmentation of single 128^3 patches on one thread, steps as often as drawn: ours against nnU-Net's and TorchIO's.

All times are processor seconds, so that other work on the machine counts less. nnU-Net runs in its own environment
(``benchmarks.peer``); without it the row is left out with a note. TorchIO has no transform of a patch's brightness and
contrast; the nearest ones of its own stand for them. We move a brain mask besides image and lesion, the peers do not.
"""

from __future__ import annotations

import math
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torchio as tio
import yaml
from rich.console import Console

from benchmarks.measure import ROOT, Row, Watch, in_child, report
from benchmarks.peer import NoPeerError, in_peer
from strokelab.augment.nnunet import NNUNetAugmentation
from strokelab.augment.patch_plan import PatchPlan
from strokelab.contract import Batch
from strokelab.seeding import stream

SIDE, SAMPLES = 128, 60
NNUNET_GOAL, TORCHIO_GOAL = 3.0, 1.7
STANDARD = NNUNetAugmentation()
_STRONG = yaml.safe_load((ROOT / "conf" / "augment" / "strong.yaml").read_text(encoding="utf-8"))
STRONG = replace(STANDARD, **{key: value for key, value in _STRONG.items() if key != "defaults"})
OURS = {"standard": STANDARD, "cubic": replace(STANDARD, interpolation="cubic"), "strong": STRONG}


def rows(folder: Path, rounds: int) -> list[Row]:
    """Ours, linear, cubic and strong, beside each peer; every turn of every contestant is a process of its own."""
    turns: dict[str, list[float]] = {}
    contestants = (*OURS, "torchio", "nnunet")
    missing = ""
    for _ in range(max(1, rounds // 2)):
        for name in contestants:
            try:
                turns.setdefault(name, []).append(_turn(name))
            except NoPeerError as error:
                missing = str(error)
                contestants = contestants[:-1]
    if missing:
        Console(stderr=True).print(f"[dim]nnU-Net not measured: {missing}[/]")
    mean = {name: statistics.median(values) for name, values in turns.items() if values}
    note = "processor time, mean over samples"
    lines = [Row("augment a 128^3 patch", mean["standard"], "TorchIO", mean["torchio"], TORCHIO_GOAL, note=note)]
    if "nnunet" in mean:
        peer = "nnU-Net v2"
        lines += [
            Row("augment a 128^3 patch", mean["standard"], peer, mean["nnunet"], NNUNET_GOAL, note=note),
            Row("augment, images cubic", mean["cubic"], f"{peer}, linear", mean["nnunet"], note="not the default"),
            Row(
                "augment, strong", mean["strong"], f"{peer}, standard", mean["nnunet"], note="with elastic deformation"
            ),
        ]
    return lines


def main(contestant: str, samples: int) -> None:
    """Report the mean seconds of one contestant over samples 0, 1, ...; a first one does not count."""
    work = _torchio() if contestant == "torchio" else _ours(OURS[contestant])
    seconds = [work(sample) for sample in range(-1, samples)]
    report(processor=statistics.mean(seconds[1:]))


def _turn(contestant: str) -> float:
    if contestant == "nnunet":
        settings = {"OMP_NUM_THREADS": "1"}
        return float(
            in_peer("benchmarks.peer_augmentation", str(SIDE), str(SAMPLES), environment=settings)["processor"]
        )
    return float(in_child("benchmarks.augmentation", contestant, str(SAMPLES))["processor"])


def _ours(augmentation: NNUNetAugmentation) -> Callable[[int], float]:
    def work(sample: int) -> float:
        plan = augmentation.draw(stream(0, "augment", sample), 1, (SIDE,) * 3)
        batch = _batch(plan)
        watch = Watch()
        augmentation.apply(batch, [plan])
        return watch.read()["processor"]

    return work


def _batch(plan: PatchPlan) -> Batch:
    batch: Batch = {key: value[None] for key, value in _box(plan.patch).items()}
    if plan.source != plan.patch:
        batch["sources"] = {0: _box(plan.source)}
    return batch


def _box(size: Sequence[int]) -> dict[str, torch.Tensor]:
    """A noisy ball of a brain with a ball of a lesion, (1, X, Y, Z), memory along x first."""
    z, y, x = np.ogrid[tuple(slice(0.5 - length / 2, length / 2) for length in reversed(size))]
    brain = x**2 + y**2 + z**2 < 75**2
    lesion = (x - 15) ** 2 + (y - 15) ** 2 + (z - 15) ** 2 < 12**2
    image = np.random.default_rng(0).standard_normal(brain.shape, dtype=np.float32) + brain + lesion
    arrays = {"image": image, "lesion": lesion.astype(np.uint8), "brain": brain.astype(np.uint8)}
    return {key: torch.from_numpy(array).permute(2, 1, 0)[None] for key, array in arrays.items()}


def _torchio() -> Callable[[int], float]:
    gamma = (math.log(0.7), math.log(1.5))
    transform = tio.Compose(
        [
            tio.RandomAffine(scales=(0.7, 1.4), degrees=30, isotropic=True, default_pad_value=0, p=0.36),
            tio.RandomNoise(std=(0, 0.1), p=0.1),
            tio.RandomBlur(std=(0.5, 1.0), p=0.1),
            tio.RandomGamma(log_gamma=(-0.22, 0.22), p=0.15),
            tio.RescaleIntensity(p=0.15),
            tio.RandomAnisotropy(downsampling=(1, 2), p=0.125),
            tio.RandomGamma(log_gamma=gamma, p=0.1),
            tio.RandomGamma(log_gamma=gamma, p=0.3),
            tio.RandomFlip(axes=(0, 1, 2), flip_probability=0.5),
        ]
    )
    patch = {key: value.contiguous() for key, value in _box((SIDE,) * 3).items()}

    def work(sample: int) -> float:
        torch.manual_seed(sample)
        subject = tio.Subject(
            image=tio.ScalarImage(tensor=patch["image"].clone()), lesion=tio.LabelMap(tensor=patch["lesion"].clone())
        )
        watch = Watch()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gamma of negative values
            transform(subject)
        return watch.read()["processor"]

    return work


if __name__ == "__main__":
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    main(sys.argv[1], int(sys.argv[2]))
