"""A training that has found nothing after many epochs is reported, or begun anew with less momentum. Knows no loss.

Huo 2022, released code: SGD with momentum 0.99 can push a network, in its first steps, to where it calls everything
healthy and stays there. The sign is a pooled Dice of exactly 0.
"""

from __future__ import annotations

import warnings
from typing import Any

import lightning as L
import torch

from strokelab.buildable import buildable
from strokelab.contract import CURVES_ONLY
from strokelab.errors import ConfigError, DataWarning

METRIC = "val/pooled_dice"  # without a validation part it warns by the curves, and changes nothing


@buildable(training="callbacks")
class Rescue(L.Callback):
    """Looks once, at the first validation after ``after_epochs`` epochs.

    Args:
        after_epochs: how many epochs a training has.
        restart: draw the network's weights anew, empty the optimizer's memory and set its momentum; else warn only.
        momentum: of the optimizer after a restart.
        seed: of the new weights, the same on all processes.

    Raises:
        ConfigError: ``restart`` for a network without ``reset_parameters`` or an optimizer without momentum.
    """

    def __init__(
        self, after_epochs: int = 100, *, restart: bool = False, momentum: float = 0.95, seed: int = 0
    ) -> None:
        self.after_epochs = after_epochs
        self.restart = restart
        self.momentum = momentum
        self.seed = seed
        self._looked = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a restart that could not be made, before the first epoch."""
        if not self.restart:
            return
        network: Any = pl_module.network
        optimizers = trainer.optimizers
        if not hasattr(network, "reset_parameters") or any("momentum" not in each.defaults for each in optimizers):
            raise ConfigError(
                "callbacks.rescue.restart",
                found=f"{type(network).__name__} trained by {', '.join(type(each).__name__ for each in optimizers)}",
                expected="a network that can be initialised anew (NNUNet) and an optimizer with momentum (SGD)",
                remedy="set callbacks.rescue.restart=false",
            )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the pooled Dice, if it is time and was not done."""
        if self._looked or trainer.sanity_checking or trainer.current_epoch + 1 < self.after_epochs:
            return
        metrics = trainer.callback_metrics  # of all processes
        found = metrics.get(METRIC, None if self.restart else metrics.get(f"{CURVES_ONLY}/pooled_dice"))
        if found is None:
            return
        self._looked = True
        if float(found) > 0:
            return
        if trainer.is_global_zero:
            deed = (
                f"weights are initialised anew, with momentum {self.momentum}" if self.restart else "nothing is changed"
            )
            warnings.warn(
                f"the pooled Dice is exactly 0 after {trainer.current_epoch + 1} epochs: the network calls everything "
                f"healthy, and may have done so from its first steps on; {deed} (callbacks.rescue.restart, "
                "model.optimizer.momentum)",
                DataWarning,
                stacklevel=2,
            )
        if self.restart:
            self._begin_anew(trainer, pl_module)

    def _begin_anew(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        network: Any = module.network
        devices = [module.device] if module.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed)
            network.reset_parameters()
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                group["momentum"] = self.momentum

    def state_dict(self) -> dict[str, Any]:
        """Whether it has looked: a resumed training is not begun anew a second time."""
        return {"looked": self._looked}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self._looked = bool(state_dict["looked"])
