"""Some training steps in one precision with one allocator, alone in a process, because allocators cannot be put back.

``python -m benchmarks.training_step MODEL PRECISION ALLOCATOR`` prints seconds of a step and the peak memory.
"""

from __future__ import annotations

import logging
import statistics
import sys
import time
import warnings
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

import strokelab
from benchmarks.measure import report
from strokelab.allocator import use
from strokelab.contract import Batch

BATCH, PLANE, BASE = 8, (224, 192), 32  # the paper's slices; half its batch and half its width, for the time it takes
STEPS = 3


class Clock(L.Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """A step is over."""
        self.ends.append(time.perf_counter())


def batch_of(seed: int) -> Batch:
    """Noise in a brain, with a lesion where it is bright."""
    torch.manual_seed(seed)
    brain = torch.zeros(BATCH, 1, *PLANE, dtype=torch.uint8)
    brain[:, :, 20:-20, 20:-20] = 1
    image = torch.randn(BATCH, 1, *PLANE) * brain
    return {
        "image": image,
        "lesion": (image > 2.5).to(torch.uint8),
        "brain": brain,
        "site": torch.randint(0, 8, (BATCH,)),
        "case_id": [str(number) for number in range(BATCH)],
        "origin": torch.zeros(BATCH, 3, dtype=torch.int64),
    }


def main(model: str, precision: str, allocator: str) -> None:
    """Train for some steps; the first does not count."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    use(allocator)
    clock = Clock()
    trainer = L.Trainer(
        accelerator="cpu",
        precision=precision,  # type: ignore[arg-type]
        max_steps=STEPS + 1,
        logger=False,
        callbacks=[clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    network = strokelab.build_model(model, network__base=BASE)
    trainer.fit(network, DataLoader([batch_of(step) for step in range(STEPS + 1)], batch_size=None))  # type: ignore[arg-type]
    report(seconds=statistics.median(b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)))


if __name__ == "__main__":
    main(*sys.argv[1:4])
