"""Training-time accumulators. Knows tensors and processes; knows no files, cohorts or profiles.

Nothing is divided before it was summed or gathered over batches and processes, so that a run on several processes logs
the number of a single one, and the number that ``metrics.overlap`` and ``statistics`` give on the same masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from strokelab.metrics.overlap import Counts, dice


class PooledDice(Metric):
    """Dice of all masks of an epoch side by side (micro-Dice): 2 TP / (2 TP + FP + FN) over int64 counts.

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
        """The Dice of everything since the last reset, float64 () in 0..1, on the CPU."""
        counts = Counts(int(self.tp), int(self.fp), int(self.fn), tn=0)  # healthy voxels play no part
        return torch.tensor(dice(counts), dtype=torch.float64)


class SampleMean(Metric):
    """Mean over the samples of an epoch of a number that comes batch by batch, each batch with its own weight.

    Not Lightning's mean of ``log``, which over processes rounds their mean number of samples to a whole one (2.6), nor
    ``torchmetrics.MeanMetric``, which leaves out what is not a number, or else the weights (1.9).
    """

    is_differentiable = False
    full_state_update = False

    total: Tensor
    samples: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", default=torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("samples", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, mean: Tensor, samples: int) -> None:
        """Add a batch: its mean () and how many samples it has."""
        self.total += mean.detach() * samples
        self.samples += samples

    def compute(self) -> Tensor:
        """Float32 (); NaN without a sample, or when a batch had none."""
        return self.total / self.samples


class CaseRows(Metric):
    """The rows of a case table, gathered from all processes: every case once, in the order of the case indices.

    A case that several processes scored, or one process twice (a distributed sampler fills up with cases that were
    already there), has one row. Whoever takes means of the table therefore takes them of the same numbers in the same
    order, however many processes there are: the last bit does not depend on them.

    Args:
        columns: the numbers of a case; counts below 2^53 are exact.
    """

    is_differentiable = False
    full_state_update = False

    rows: list[Tensor]

    def __init__(self, columns: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns = tuple(columns)
        # Flat, and of one type: a process without a case takes part with an empty tensor of the metric's type.
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.set_dtype(torch.float64)

    def update(self, case: int, row: Mapping[str, float]) -> None:
        """Add a case.

        Args:
            case: its index in the list of all cases, the same on every process.
            row: column -> number; columns that are not asked for are not looked at, those it lacks are NaN.
        """
        numbers = [float(case), *(float(row.get(column, np.nan)) for column in self.columns)]
        self.rows.append(torch.tensor(numbers, dtype=torch.float64, device=self.device))

    def compute(self) -> pd.DataFrame:
        """One row per case: ``case`` (int64, its index) and the columns (float64)."""
        flat = dim_zero_cat(self.rows).cpu().numpy() if len(self.rows) else np.empty(0)
        table = flat.reshape(-1, 1 + len(self.columns))
        cases, first = np.unique(table[:, 0].astype(np.int64), return_index=True)
        return pd.DataFrame({"case": cases, **dict(zip(self.columns, table[first, 1:].T, strict=True))})
