"""The processes of one training: what each knows, brought together. Knows ``torch.distributed``; knows no trainer.

Every function is collective: all processes of a training call it at the same place, or all wait. In a training of one
process each of them gives back what it was given, at no cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from strokelab.errors import ProcessError, StrokelabError

T = TypeVar("T")

_LOST = ("gloo", "connection closed", "connection reset", "nccl", "broken pipe")  # words of a lost connection


def connection_lost(error: BaseException) -> bool:
    """Whether an error says that another process of the training cannot be reached any more."""
    said = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _LOST)
    return said or isinstance(error, dist.DistError)


def rank() -> int:
    """The number of this process, 0 for the first or only one."""
    return dist.get_rank() if _several() else 0


def world_size() -> int:
    """How many processes train together; 1 before they have met."""
    return dist.get_world_size() if _several() else 1


def gathered(value: T) -> list[T]:
    """What every process gave, by rank: for checkpoints, which the first process writes for all.

    Args:
        value: anything that can be pickled; tensors on the CPU.

    Returns:
        One value per process; ``[value]`` in a training of one.
    """
    if not _several():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return cast(list[T], values)


def own(values: list[T] | T) -> T | None:
    """This process's part of what ``gathered`` kept.

    Args:
        values: the list; anything else, as checkpoints of one process once had it, is given back as it is.

    Returns:
        None when another number of processes kept it: nothing of it is this process's.
    """
    if not isinstance(values, list):
        return values
    return values[rank()] if len(values) == world_size() else None


def together(work: Callable[[], T]) -> T:
    """Each process does its own work, and goes on when all have: where one fails, all do, and none waits.

    Returns:
        What the work of this process gave.

    Raises:
        StrokelabError: what the first of the failed processes raised, if it is one.
        Exception: this process's own other failure.
        ProcessError: another process's other failure, by its name.
    """
    if not _several():
        return work()
    failure: Exception | None = None
    result: T | None = None
    try:
        result = work()
    except Exception as error:
        failure = error
    for number, reason in enumerate(gathered(_portable(failure))):
        if reason is None:
            continue
        if failure is not None and not isinstance(failure, StrokelabError):
            raise failure
        if isinstance(reason, StrokelabError):
            raise reason
        raise ProcessError(
            f"process {number} of {world_size()}",
            found=reason,
            expected="processes that all do their part",
            remedy="its own message says where it failed",
        )
    return cast(T, result)


def _portable(failure: Exception | None) -> StrokelabError | str | None:
    """An error fit to travel: others may not be picklable."""
    if failure is None or isinstance(failure, StrokelabError):
        return failure
    return f"{type(failure).__name__}: {(str(failure).splitlines() or [''])[0]}"


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def summed(x: Tensor) -> Tensor:
    """The sum of a tensor over the processes, of any shape; the gradient is that of the sum of all their losses.

    A loss whose numerators and denominators are summed is the loss of all samples on every process; DDP's mean of the
    gradients is then the gradient of one process with the whole batch, also where processes have unequal shares.
    """
    return cast(Tensor, _Summed.apply(x)) if _several() else x  # type: ignore[no-untyped-call]


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
