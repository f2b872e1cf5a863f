"""TensorBoard's files in the run folder, continued where a run goes on."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger

from strokelab.buildable import buildable
from strokelab.callbacks.run_facts import RunFacts


@buildable(training=("logger", "callbacks"))
class TensorBoard(TensorBoardLogger):
    """Lightning's logger in one folder for all starts of a run; what a resumed run logs again replaces what was there.

    Args:
        save_dir: the run folder; the files lie in its ``tensorboard``.
    """

    def __init__(self, save_dir: str | Path) -> None:
        super().__init__(save_dir=save_dir, name="", version="tensorboard", default_hp_metric=False)

    def describe(self, facts: RunFacts) -> None:
        """Learn where the run goes on."""
        if facts.resumed_step is not None:
            self._kwargs["purge_step"] = facts.resumed_step
