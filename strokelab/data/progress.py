"""How far a training is through its batches, as a checkpoint remembers it. Knows Lightning's loops; knows no data."""

from __future__ import annotations

from typing import Any


def progress_of(trainer: Any, resumed: tuple[int, int]) -> dict[str, int]:
    """The epoch and the batches of it that are done, and how many processes did them.

    Args:
        trainer: of Lightning; None before there is one.
        resumed: epoch and batch where it began.
    """
    if trainer is None:
        return {"epoch": resumed[0], "batch": resumed[1], "processes": 1}
    batch = trainer.fit_loop.epoch_loop.batch_progress
    done = 0 if batch.is_last_batch else batch.current.processed
    return {"epoch": trainer.fit_loop.epoch_progress.current.processed, "batch": done, "processes": trainer.world_size}
