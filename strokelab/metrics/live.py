"""Training-time accumulators. Knows tensors and processes; knows no files, cases or profiles.

Counts are int64 and are summed over batches and processes before anything is divided, so that a run on several
processes logs the number of a single one, and the number that ``metrics.overlap`` gives on the same masks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class PooledDice(Metric):
    """Dice of all masks of an epoch side by side (micro-Dice): 2 TP / (2 TP + FP + FN) over summed counts.

    Nothing to find and nothing found is 1. Patches and slices seen twice are counted twice: this is a training
    signal, never to be compared with a mean Dice over cases.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    tp: Tensor
    fp: Tensor
    fn: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for state in ("tp", "fp", "fn"):
            self.add_state(state, default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, reference: Tensor) -> None:
        """Add the counts of a batch.

        Args:
            prediction: binary mask of any shape; bool, or numbers of which non-zero means lesion.
            reference: binary mask of the same shape.

        Raises:
            ValueError: the shapes differ (broadcasting would count voxels that do not exist).
        """
        if prediction.shape != reference.shape:
            raise ValueError(f"prediction {tuple(prediction.shape)} and reference {tuple(reference.shape)} differ")
        predicted, true = prediction != 0, reference != 0
        hits = torch.count_nonzero(predicted & true)
        self.tp += hits
        self.fp += torch.count_nonzero(predicted) - hits
        self.fn += torch.count_nonzero(true) - hits

    def compute(self) -> Tensor:
        """The Dice of everything since the last reset, float32 () in 0..1."""
        found, missed = 2 * self.tp, self.fp + self.fn
        dice = found.float() / (found + missed).clamp(min=1).float()
        return torch.where(found + missed == 0, torch.ones_like(dice), dice)
