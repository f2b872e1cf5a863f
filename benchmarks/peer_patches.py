"""nnU-Net's own reading of patches, alone and with its augmentation; runs in its environment (``benchmarks.peer``).

``python -m benchmarks.peer_patches write FOLDER ENTRY...`` stores prepared cases as nnU-Net does;
``python -m benchmarks.peer_patches WORK FOLDER COUNT`` prints the mean seconds of a patch.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from benchmarks.measure import Watch, evict, report

PATCH = (128, 128, 128)
BATCH, WORKERS = 2, 2
ANGLES = (-math.radians(30), math.radians(30))


def write(folder: Path, entries: list[str]) -> None:
    """The arrays of our store in nnU-Net's format, with the lesion voxels it keeps."""
    folder.mkdir(parents=True)
    for entry in map(Path, entries):
        image = np.load(entry / "image.npy")
        lesion = np.load(entry / "lesion.npy")[None].astype(np.int8)
        voxels = np.argwhere(lesion)
        kept = max(min(10_000, len(voxels)), math.ceil(0.01 * len(voxels)))
        chosen = np.random.default_rng(0).choice(len(voxels), kept, replace=False)
        blocks, chunks = comp_blosc2_params(image.shape, PATCH, image.itemsize)
        seg_blocks, seg_chunks = comp_blosc2_params(lesion.shape, PATCH, lesion.itemsize)
        nnUNetDatasetBlosc2.save_case(
            image,
            lesion,
            {"class_locations": {1: voxels[chosen]}},
            str(folder / entry.name),
            chunks=chunks,
            blocks=blocks,
            chunks_seg=seg_chunks,
            blocks_seg=seg_blocks,
        )
    report()


def measure(work: str, folder: Path, count: int) -> None:
    """``patch`` and ``cold``: the image of one random patch; ``loader``: batches; ``augmented``: by two workers."""
    torch.set_num_threads(1)
    np.random.seed(0)
    dataset = nnUNetDatasetBlosc2(str(folder))
    if work in ("patch", "cold"):
        return _patches(dataset, folder, count, cold=work == "cold")
    batches = _batches(dataset, augmented=work == "augmented")
    for _ in range(4):
        next(batches)
    watch = Watch()
    for _ in range(count):
        next(batches)
    report(patch=watch.read()["seconds"] / (count * BATCH))


def _patches(dataset: Any, folder: Path, count: int, *, cold: bool) -> None:
    seconds = []
    for name in itertools.islice(itertools.cycle(dataset.identifiers), count + len(dataset.identifiers)):
        if cold:
            evict(folder / f"{name}.b2nd")
        watch = Watch()
        data = dataset.load_case(name)[0]
        begin = [np.random.randint(0, side - length + 1) for side, length in zip(data.shape[1:], PATCH, strict=True)]
        box = [[low, low + length] for low, length in zip(begin, PATCH, strict=True)]
        torch.from_numpy(crop_and_pad_nd(data, box, 0)).float()
        seconds.append(watch.read()["seconds"])
        del data
    report(patch=float(np.median(seconds[len(dataset.identifiers) :])))


def _batches(dataset: Any, *, augmented: bool) -> Iterator[Any]:
    labels = LabelManager({"background": 0, "lesion": 1}, None)
    source, transforms = PATCH, None
    if augmented:
        source = tuple(int(side) for side in get_patch_size(PATCH, ANGLES, ANGLES, ANGLES, (0.85, 1.25)))
        scales = [[1 / 2**stage] * 3 for stage in range(5)]
        transforms = nnUNetTrainer.get_training_transforms(PATCH, ANGLES, scales, (0, 1, 2), False)
    loader = nnUNetDataLoader(
        dataset, BATCH, source, PATCH, labels, oversample_foreground_percent=0.33, transforms=transforms
    )
    if not augmented:
        return loader
    return NonDetMultiThreadedAugmenter(loader, None, WORKERS, num_cached=6, seeds=None, pin_memory=False)


def main() -> None:
    """See the module."""
    work, folder, *rest = sys.argv[1:]
    if work == "write":
        return write(Path(folder), rest)
    return measure(work, Path(folder), int(rest[0]))


if __name__ == "__main__":
    main()
