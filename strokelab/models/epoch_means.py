"""Means and minima over one training epoch that survive an interruption. Knows numbers; knows no model.

Lightning's own epoch means forget what a killed run had already seen, so that a resumed run would log other numbers
than an unbroken one. These travel with the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class EpochMeans:
    """Sums over the samples of the current epoch; starts afresh whenever the epoch's number changes."""

    def __init__(self) -> None:
        self._begin(-1)

    def _begin(self, epoch: int) -> None:
        self.epoch = epoch
        self._sums: dict[str, Tensor] = {}
        self._minima: dict[str, Tensor] = {}
        self._weights: dict[str, int] = {}

    def add(self, epoch: int, samples: int, means: Mapping[str, Tensor], minima: Mapping[str, Tensor]) -> None:
        """Add one batch.

        Args:
            epoch: the epoch the batch belongs to.
            samples: number of samples in the batch, the weight of its means.
            means: name -> mean over the batch, ().
            minima: name -> minimum over the batch, ().
        """
        if epoch != self.epoch:
            self._begin(epoch)
        for name, value in means.items():
            before = self._sums.get(name)
            now = value.detach().float() * samples
            self._sums[name] = now if before is None else before.to(now.device) + now
            self._weights[name] = self._weights.get(name, 0) + samples
        for name, value in minima.items():
            before = self._minima.get(name)
            now = value.detach().float()
            self._minima[name] = now if before is None else torch.minimum(before.to(now.device), now)

    def means(self, join: Callable[[Tensor], Tensor] = torch.clone) -> dict[str, Tensor]:
        """Mean over all samples of the epoch so far, float32 () each.

        Args:
            join: sums a tensor over the processes of a training: sums and weights are joined before they are divided,
                because processes need not have seen equally many samples.
        """
        if not self._sums:
            return {}
        sums = torch.stack(list(self._sums.values()))
        weights = torch.tensor(list(self._weights.values()), dtype=sums.dtype, device=sums.device)
        sums, weights = join(torch.stack([sums, weights]))
        return dict(zip(self._sums, sums / weights, strict=True))

    def minima(self) -> dict[str, Tensor]:
        """Minimum over all samples of the epoch so far."""
        return dict(self._minima)

    def state_dict(self) -> dict[str, Any]:
        """Plain data and CPU tensors, fit for ``torch.load(weights_only=True)``."""
        return {
            "epoch": self.epoch,
            "sums": {name: value.cpu() for name, value in self._sums.items()},
            "minima": {name: value.cpu() for name, value in self._minima.items()},
            "weights": dict(self._weights),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self.epoch = state["epoch"]
        self._sums, self._minima, self._weights = dict(state["sums"]), dict(state["minima"]), dict(state["weights"])
