"""Samples and their order as the loader of one process of a training. Knows Lightning's trainer; knows no cohort."""

from __future__ import annotations

import warnings
from typing import Any

from torch.utils.data import DataLoader

from strokelab.contract import Batch
from strokelab.data.loaders import batch_loader
from strokelab.data.samples import SampleSet
from strokelab.data.worker_count import Workers, fitting_workers
from strokelab.errors import DataWarning
from strokelab.sampling.order import EpochBatchSampler, Order

_MORE_STEPS = 4  # of an epoch, where one batch holds more than all of it


def served(
    samples: SampleSet,
    order: Order,
    *,
    batch_size: int,
    seed: int,
    drop_last: bool,
    workers: Workers,
    useful: bool,
    loaders: int,
    resumed: tuple[int, int] | None,
    trainer: Any,
) -> tuple[DataLoader[Batch], str | None]:
    """The loader, and one line that says why it has not the workers asked for.

    Args:
        samples: of a part.
        order: in which an epoch visits them.
        batch_size: samples per step, over all processes.
        seed: of the run.
        drop_last: leave out a last step that is not full.
        workers: asked for, as ``fitting_workers``, like the two arguments after it.
        useful: whether there is more to do than to read.
        loaders: how many loaders the training has.
        resumed: the epoch, and the steps of it that are done already; None: begin with the first.
        trainer: of Lightning; None: one process, no devices.

    Raises:
        ConfigError: no step comes out of these numbers, or workers cannot be started.

    Warns where a batch of the training is larger than its epoch.
    """
    batches = EpochBatchSampler(
        len(samples),
        batch_size,
        seed,
        order=order,
        sites=samples.sites,
        drop_last=drop_last,
        same_every_epoch=bool(getattr(trainer, "overfit_batches", 0)),
        rank=trainer.global_rank if trainer else 0,
        world_size=trainer.world_size if trainer else 1,
    )
    if resumed is not None:
        batches.resume(*resumed)
        if trainer and trainer.global_rank == 0:
            _warn_one_step(len(samples), batches)
    count, reason = fitting_workers(
        workers,
        samples.sample_bytes * -(-batch_size // batches.world_size),
        loaders=loaders,
        processes=trainer.num_devices if trainer else 1,
        useful=useful,
    )
    return batch_loader(samples, batches, workers=count), reason


def _warn_one_step(samples: int, batches: EpochBatchSampler) -> None:
    """Say that a batch is larger than an epoch, so that each epoch is one step, where a smaller one makes more."""
    smaller = max(batches.world_size, samples // _MORE_STEPS)
    if samples < batches.batch_size and samples > smaller:
        warnings.warn(
            f"an epoch has {samples} training samples, fewer than a batch of {batches.batch_size}: each epoch is one "
            f"optimiser step. data.batch_size={smaller} makes {-(-samples // smaller)} of it.",
            DataWarning,
            stacklevel=2,
        )
