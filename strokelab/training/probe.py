"""How much of the site an adversary has left in the features of a finished training: ``site/probe_accuracy``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from rich.console import Console
from torch import Tensor

from strokelab import runs
from strokelab.callbacks.site_adversary import site_scores
from strokelab.configuration import Settings
from strokelab.data.datamodule import CohortDataModule
from strokelab.data.samples import Samples
from strokelab.data.sources import samples_of
from strokelab.distributed import gathered, together
from strokelab.metrics.site_probe import pooled, probe
from strokelab.models.parts import shown_to
from strokelab.models.segmenter import Segmenter, evaluation_mode
from strokelab.sampling.order import Key

PER_SITE = 32
"""Samples of each training site, at most: a probe costs as much as predicting so many slices."""
_AT_ONCE = 8
Read = tuple[list[Tensor], list[Tensor], list[str]]


def probe_sites(
    settings: Settings, folder: Path, datamodule: CohortDataModule, trainer: Trainer, *, console: Console
) -> None:
    """Fit a fresh classifier on what the adversary's head reads, of the model as it is evaluated, and log its accuracy.

    Samples are those of the training cases, not augmented; a subject is asked about by a classifier that was fitted on
    others. Every process reads its own share. A model without adversary is left alone.
    """
    if not settings["model"].get("adversary"):
        return
    trainer.strategy.barrier("trained")  # until the first process has put the last checkpoint in its place

    def share() -> Read:
        run = runs.load_run(folder, device=str(trainer.strategy.root_device), allow=("",))
        cases = [case for case in datamodule.volumes("train") if case.lesion_voxels is not None]
        chosen: dict[str, Any] = {"view": datamodule.view, "sites": datamodule.sites, "seed": datamodule.seed}
        samples = samples_of(cases, "val", batch_size=datamodule.batch_size, **chosen)
        keys = _keys(samples, datamodule.n_sites)[trainer.global_rank :: trainer.world_size]
        return _read(run.model, samples, keys)

    read = gathered(together(share))
    if not trainer.is_global_zero:
        return
    features = torch.cat([one for part in read for one in part[0]])
    sites = torch.cat([one for part in read for one in part[1]])
    subjects = {case.case_id: case.subject_id for case in datamodule.cases}
    confusion = probe(features, sites, [subjects.get(name, name) for part in read for name in part[2]])
    if confusion is None:
        console.print("Site probe: left out, it needs two training sites with two subjects each.")
        return
    scores = site_scores(confusion)
    logged = {f"site/probe_{name}": float(scores[name]) for name in ("accuracy", "balanced_accuracy")}
    for logger in trainer.loggers:
        logger.log_metrics(logged, step=trainer.global_step)
        logger.save()
    console.print(
        f"Site probe: a fresh classifier names {scores['accuracy']:.3f} of {int(confusion.sum())} samples right "
        f"(chance {scores['chance']:.3f}, {len(confusion)} sites)",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _keys(samples: Samples, n_sites: int) -> list[Key]:
    """Equally many of each site, spread over its cases; of samples whose place decides, the first ones."""
    sites = samples.sites
    if sites is None:
        return [(0, index) for index in range(min(len(samples), PER_SITE * n_sites))]
    chosen: list[int] = []
    for site in range(n_sites):
        of_it = np.flatnonzero(sites == site)
        places = np.linspace(0, len(of_it) - 1, min(PER_SITE, len(of_it))).round().astype(int)
        chosen += of_it[places].tolist()
    return [(0, index) for index in chosen]


def _read(model: Segmenter, samples: Samples, keys: Sequence[Key]) -> Read:
    features, sites, cases = list[Tensor](), list[Tensor](), list[str]()
    with evaluation_mode(model), torch.no_grad():
        for some in _batches(keys):
            batch = samples.__getitems__(some)
            image, brain = (batch[name].to(model.device) for name in ("image", "brain"))
            weights = next(model.parameters()).dtype
            seen = model.condition({"image": image.to(torch.promote_types(image.dtype, weights)), "brain": brain})
            shown = pooled(shown_to(model.adversary, model.network, seen["image"])).cpu()
            parts = len(shown) // len(some)  # hemispheres: all of one side, then all of the other
            features.append(shown)
            sites.append(batch["site"].repeat(parts))
            cases += list(batch["case_id"]) * parts
    return features, sites, cases


def _batches(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for first in range(0, len(keys), _AT_ONCE):
        yield keys[first : first + _AT_ONCE]
