"""How long a model takes for a whole case, measured on some of its samples. Knows arrays and callables; no model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelab.errors import ConfigError
from strokelab.inference.accumulate import scan_on
from strokelab.inference.precision import Precision, computing

Predict = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Timing:
    """Seconds of one case, on its prepared grid."""

    seconds: float
    samples: int  # that the case has
    timed: int  # that were really computed

    @property
    def scaled(self) -> bool:
        """Whether the seconds were reckoned from a part of the samples."""
        return self.timed < self.samples


def time_case(
    image: NDArray[Any],
    brain: NDArray[Any],
    *,
    predict: Predict,
    windows: Callable[..., Tensor],
    samples: int = 4,
    device: torch.device | str = "cpu",
    precision: Precision = "32",
) -> Timing:
    """Time cutting a prepared volume into samples, predicting them and putting the scores together.

    The first ``samples`` of them are computed, after one that warms up and does not count; the others get scores
    without being computed, and their share of the time is reckoned. What stands around the network is always measured
    in full.

    Args:
        image: (C, X, Y, Z), model units.
        brain: (X, Y, Z), non-zero = brain.
        predict: (B, C, *S) image and (B, 1, *S) brain -> (B, K, *S) probabilities.
        windows: as ``inference.predict.case_scores`` takes them.
        samples: how many to compute; 0 = all.
        device: where ``predict`` computes.
        precision: in which it does.

    Raises:
        ConfigError: a negative number of samples.
    """
    if samples < 0:
        raise ConfigError("samples", found=str(samples), expected="0 (all) or more", remedy="use --samples 4")
    spent = idle = 0.0
    asked = timed = 0
    sketch: Tensor | None = None

    def clock() -> float:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def watched(part: Tensor, mask: Tensor) -> Tensor:
        nonlocal spent, idle, asked, timed, sketch
        part, mask = part.to(device), mask.to(device)
        if sketch is None:
            started = clock()
            sketch = predict(part[:1], mask[:1])
            idle += clock() - started
        asked += len(part)
        take = len(part) if samples == 0 else min(len(part), samples - timed)
        if take > 0:
            started = clock()
            scores = predict(part[:take], mask[:take])
            spent += clock() - started
            timed += take
            if take == len(part):
                return scores
        return torch.zeros_like(sketch[:1]).expand(len(part), *sketch.shape[1:])

    started = clock()
    with torch.inference_mode(), computing(precision, device):
        scan, inside = scan_on(device, image, brain)
        windows(scan, watched, inside)
    around = clock() - started - spent - idle
    each = spent / timed if timed else 0.0
    return Timing(seconds=around + each * asked, samples=asked, timed=timed)
