"""A small Segmenter with the parts one asks for, its batches and its trainer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger

from strokelab.callbacks.site_adversary import SiteAdversarySchedule
from strokelab.losses.dice import DiceLoss
from strokelab.models.adversary import SiteAdversary
from strokelab.models.segmenter import Segmenter
from strokelab.networks.hemispheres import Hemispheres
from strokelab.networks.masked_adain import MaskedAdaIN
from strokelab.networks.unet import UNet

PLANE = (16, 24)
SITES = 3


def build(main=True, halves=True, adversary=True, *, channels=1, seed=0, network=None, **settings) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(
        network or UNet(channels, base=4, depth=3),
        DiceLoss(),
        partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.96),
        standardizer=MaskedAdaIN(channels, PLANE, bn_momentum=None, patch=8) if main else None,
        hemispheres=Hemispheres() if halves else None,
        adversary=partial(SiteAdversary, n_sites=SITES) if adversary else None,
        **settings,
    )


def batch_of(size=6, *, channels=1, seed=0, plane=PLANE) -> dict[str, object]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(size, channels, *plane, generator=generator)
    brain = torch.zeros(size, 1, *plane, dtype=torch.uint8)
    brain[:, :, 2:-2, 4:-4] = 1
    return {
        "image": image,
        "lesion": ((image[:, :1] > 1) & (brain != 0)).to(torch.uint8),
        "brain": brain,
        "site": torch.randint(0, SITES, (size,), generator=generator),
        "case_id": [f"case{i}" for i in range(size)],
        "origin": torch.zeros(size, 3, dtype=torch.int64),
    }


class Batches:
    """A loader of ready batches that can leave out those an interrupted epoch has seen."""

    def __init__(self, count: int, skip: int = 0) -> None:
        self.count, self.skip = count, skip

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        skip, self.skip = self.skip, 0
        yield from (batch_of(seed=i) for i in range(skip, self.count))


class Memory(Logger):
    """Keeps everything that was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    name = "memory"
    version = 0

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args, **kwargs):
        pass

    def by_epoch(self, prefixes=("train/loss", "train/seg", "main/", "site/", "val/")) -> dict[float, dict[str, float]]:
        epochs: dict[float, dict[str, float]] = {}
        for _, row in self.rows:
            kept = {k: v for k, v in row.items() if k.startswith(prefixes) and k != "train/loss_step"}
            if kept:
                epochs.setdefault(row["epoch"], {}).update(kept)
        return epochs


def trainer_with(folder: Path, epochs: int, *, callbacks=(), **kwargs) -> tuple[L.Trainer, Memory]:
    memory = Memory()
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=memory,
        default_root_dir=folder,
        callbacks=[SiteAdversarySchedule(), *callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **kwargs,
    )
    return trainer, memory
