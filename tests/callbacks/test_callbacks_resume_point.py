"""Checkpoints within and after epochs, on a model whose dropout shows every lost random number."""

import contextlib
import itertools

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from strokelab.callbacks.metrics_file import MetricsFile
from strokelab.callbacks.resume_point import ResumePoint

DATA = torch.arange(40.0).reshape(10, 4) / 40
pytestmark = pytest.mark.filterwarnings("ignore")


class Stop(Exception):
    pass


class Noisy(L.LightningModule):
    """Dropout, momentum and a rate per epoch: whatever a checkpoint forgets changes the end."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))

    def training_step(self, batch, batch_idx):
        loss = self.layers(batch).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


class Data(L.LightningDataModule):
    """Five batches an epoch; a resumed epoch goes on after those that were seen."""

    def __init__(self):
        super().__init__()
        self.skip = 0

    def train_dataloader(self):
        return Batches(self)

    def state_dict(self):
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return {"skip": 0 if progress.is_last_batch else progress.current.processed}

    def load_state_dict(self, state_dict):
        self.skip = state_dict["skip"]


class Batches:
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return 5

    def __iter__(self):
        skip, self.data.skip = self.data.skip, 0
        loader = DataLoader(DATA, batch_size=2, generator=torch.Generator())
        yield from itertools.islice(loader, skip, None)


class StopAt(L.Callback):
    """Ends a training before a certain call, as a crash would."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise Stop


def fit(folder, *callbacks, every=None, resume=False, accumulate=1, epochs=3):
    torch.manual_seed(3)
    model = Noisy()
    if resume:
        torch.manual_seed(99)  # whatever the new process drew
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    last = folder / "checkpoints/last.ckpt"
    step = torch.load(last, weights_only=True)["global_step"] if resume else None
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=MetricsFile(folder / "metrics.csv", resumed_step=step),
        callbacks=[ResumePoint(folder / "checkpoints", every_n_steps=every), *callbacks],
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=accumulate,
    )
    with contextlib.suppress(Stop):
        trainer.fit(model, datamodule=Data(), ckpt_path=last if resume else None, weights_only=True)
    return last


def end_of(folder):
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return state["state_dict"], state["global_step"], (folder / "metrics.csv").read_text()


def assert_same(one, other):
    (mine, my_step, my_rows), (theirs, their_step, their_rows) = end_of(one), end_of(other)
    assert my_step == their_step
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert my_rows == their_rows


@pytest.mark.parametrize("every", [None, 1, 2, 3])
@pytest.mark.parametrize("stop", [5, 6, 8, 10, 13])
def test_an_interrupted_training_ends_like_a_whole_one(every, stop, tmp_path):
    fit(tmp_path / "whole", every=every)
    fit(tmp_path / "broken", StopAt(stop), every=every)
    fit(tmp_path / "broken", every=every, resume=True)
    assert_same(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize(
    ("every", "stop", "saved"),
    [(None, 4, None), (None, 5, 5), (None, 9, 5), (3, 2, None), (3, 4, 3), (3, 5, 5), (3, 8, 6), (1, 8, 7)],
)
def test_which_step_a_crash_falls_back_to(every, stop, saved, tmp_path):
    last = fit(tmp_path, StopAt(stop), every=every)
    assert (torch.load(last, weights_only=True)["global_step"] if last.is_file() else None) == saved
    assert {path.name for path in last.parent.iterdir()} - {"previous.ckpt"} == ({"last.ckpt"} if saved else set())


def test_half_gathered_gradients_are_not_saved(tmp_path):
    """Two batches a step, five batches an epoch: steps end at batches 2, 4 and 5."""
    saved = []

    class Watch(ResumePoint):
        def _save(self, trainer):
            saved.append((trainer.global_step, trainer.fit_loop.epoch_loop.batch_progress.current.processed))
            super()._save(trainer)

    (tmp_path / "checkpoints").mkdir()
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[Watch(tmp_path / "checkpoints", every_n_steps=1)],
        accumulate_grad_batches=2,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Noisy(), datamodule=Data())
    assert saved == [(1, 2), (2, 4), (3, 5)]


def test_what_a_killed_process_left_half_written_never_counts(tmp_path):
    waiting = tmp_path / "checkpoints/.last.ckpt.part"
    waiting.parent.mkdir()
    waiting.write_bytes(b"half")
    last = fit(tmp_path, StopAt(2))
    assert not last.exists()
    assert not waiting.exists()


def test_the_row_of_an_epoch_is_written_before_its_checkpoint_counts(tmp_path):
    """At no moment does a checkpoint stand whose numbers are not in the file."""
    last = tmp_path / "checkpoints/last.ckpt"
    stands: list[tuple[int, int]] = []

    class Watch(MetricsFile):
        def save(self):
            if last.is_file():
                step = torch.load(last, weights_only=True)["global_step"]
                stands.append((step, len(self.path.read_text().splitlines()) - 1))
            super().save()

    last.parent.mkdir()
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=Watch(tmp_path / "metrics.csv"),
        callbacks=[ResumePoint(last.parent, every_n_steps=2)],
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Noisy(), datamodule=Data())
    assert stands
    assert all(rows >= step for step, rows in stands)
