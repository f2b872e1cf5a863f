"""A network of which some calls are computed and timed and the others are not. Knows tensors; imports no contestant."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.measure import Watch


class Partly(nn.Module):
    """Computes the first calls, the very first to warm up; answers the others with zeros, and keeps the time of all.

    Args:
        compute: image (B, C, *S) -> (B, K, *S).
        calls: how many are timed.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], calls: int) -> None:
        super().__init__()
        self.compute = compute
        self.calls = calls
        self.asked = 0
        self.timed = {"seconds": 0.0, "processor": 0.0}  # of the calls that count
        self.spent = {"seconds": 0.0, "processor": 0.0}  # of all
        self._like: Tensor | None = None

    def forward(self, image: Tensor) -> Tensor:
        """What ``compute`` gives, or zeros of that kind."""
        watch = Watch()
        if self._like is None:
            self._like = self.compute(image)
            self._add(self.spent, watch)
            watch = Watch()
        self.asked += 1
        computed = self.asked <= self.calls
        scores = self.compute(image) if computed else torch.zeros_like(self._like)
        self._add(self.spent, watch)
        if computed:
            self._add(self.timed, watch)
        return scores

    def whole(self, total: dict[str, float]) -> dict[str, float]:
        """Seconds of a volume with every call computed, from those that it took with some.

        Args:
            total: of ``Watch.read``, of the volume.
        """
        return {key: total[key] - self.spent[key] + self.timed[key] / self.calls * self.asked for key in total}

    @staticmethod
    def _add(sums: dict[str, float], watch: Watch) -> None:
        for key, value in watch.read().items():
            sums[key] += value
