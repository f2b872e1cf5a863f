"""nnU-Net's own augmentation of single samples; runs in its environment (``benchmarks.peer``).

``python -m benchmarks.peer_augmentation SIDE SAMPLES`` prints the mean seconds of a sample; as nnU-Net's loader does,
each comes as the larger patch that its spatial step cuts from.
"""

from __future__ import annotations

import math
import sys

import numpy as np
import torch
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from benchmarks.measure import Watch, report


def main(side: int, samples: int) -> None:
    """Image and label of ``nnUNetTrainer``'s loaders, deep supervision's small labels left out; the first is free."""
    torch.set_num_threads(1)
    angles = (-math.radians(30), math.radians(30))
    source = get_patch_size((side,) * 3, angles, angles, angles, (0.85, 1.25))
    transforms = nnUNetTrainer.get_training_transforms((side,) * 3, angles, None, (0, 1, 2), False)
    image = torch.randn(1, *(int(length) for length in source), generator=torch.Generator().manual_seed(0))
    label = torch.zeros(image.shape, dtype=torch.int16)
    label[..., 90:110, 90:110, 90:110] = 1
    spent = {"seconds": 0.0, "processor": 0.0}
    for sample in range(samples + 1):
        np.random.seed(sample)
        torch.manual_seed(sample)
        content = {"image": image.clone(), "segmentation": label.clone()}
        watch = Watch()
        transforms(**content)
        if sample:
            spent = {name: spent[name] + value for name, value in watch.read().items()}
    report(**{name: value / samples for name, value in spent.items()}, source=float(source[0]))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
