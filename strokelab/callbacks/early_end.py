"""Why a training ended before its length: a callback or a model asked for it. Knows Lightning's trainer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer

_SIGNAL = " Signaling Trainer to stop."  # how Lightning ends its reasons


def early_end(trainer: Trainer) -> dict[str, Any] | None:
    """What asked the training to end, where and when; None: nothing did, or it is too early to end.

    Args:
        trainer: in a hook of training, or after it.

    Returns:
        ``why`` (in words), ``epoch`` (from 1) and ``step``.
    """
    if not trainer.should_stop or not trainer.fit_loop._can_stop_early:
        return None
    epoch = trainer.fit_loop.epoch_progress.current.ready
    return {"why": _reason(trainer), "epoch": epoch, "step": trainer.global_step}


def _reason(trainer: Trainer) -> str:
    reasons = []
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch == trainer.current_epoch:
            reason = callback.stopping_reason_message or callback.monitor  # epoch 0 also means: did not stop
            reasons += [f"EarlyStopping: {reason.removesuffix(_SIGNAL).rstrip('.')}"] * bool(
                callback.stopping_reason.value
            )
        remaining = callback.time_remaining() if isinstance(callback, Timer) else None
        if remaining is not None and remaining <= 0:
            reasons.append(f"max_time is over: {timedelta(seconds=round(callback.time_elapsed()))} of training")
    return "; ".join(reasons) or "a callback or the model asked for it (trainer.should_stop)"
