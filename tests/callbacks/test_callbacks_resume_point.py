"""Checkpoints within and after epochs, on a model whose dropout shows every lost random number."""

import contextlib
import itertools
import os
import random
import signal

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from strokelab.callbacks.metrics_file import MetricsFile
from strokelab.callbacks.preemption import STOP, Stopped
from strokelab.callbacks.resume_point import ResumePoint

DATA = torch.arange(40.0).reshape(10, 4) / 40
pytestmark = pytest.mark.filterwarnings("ignore")


class Stop(Exception):
    pass


class Noisy(L.LightningModule):
    """Dropout, everybody's random numbers, momentum and a rate per epoch: what a checkpoint forgets changes the end."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))

    def training_step(self, batch, batch_idx):
        loss = self.layers(batch).square().mean() * (random.random() + np.random.rand() + np.random.randn())
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


class SignalAt(L.Callback):
    """The process gets a signal within a certain step, or while validating."""

    def __init__(self, step, name="SIGUSR1", validating=False):
        self.step, self.number, self.validating = step, getattr(signal, name), validating

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.step and not self.validating:
            os.kill(os.getpid(), self.number)

    def on_validation_batch_start(self, trainer, *_):
        if self.validating and trainer.global_step > self.step:
            os.kill(os.getpid(), self.number)


def seed(number):
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)


def fit(folder, *callbacks, every=None, minutes=None, resume=False, accumulate=1, epochs=3, model=Noisy, keep=True):
    seed(3)
    data = Data() if model is Noisy else ValidationData()
    model = model()
    if resume:
        seed(99)  # whatever the new process drew
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    last = folder / "checkpoints/last.ckpt"
    step = torch.load(last, weights_only=True)["global_step"] if resume else None
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=MetricsFile(folder / "metrics.csv", resumed_step=step),
        callbacks=[ResumePoint(folder / "checkpoints", every, minutes, keep), *callbacks],
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=accumulate,
    )
    with contextlib.suppress(Stop), STOP.listening():
        trainer.fit(model, datamodule=data, ckpt_path=last if resume else None, weights_only=True)
    return last


def end_of(folder):
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return state["state_dict"], state["global_step"], (folder / "metrics.csv").read_text()


def assert_same(one, other):
    (mine, my_step, my_rows), (theirs, their_step, their_rows) = end_of(one), end_of(other)
    assert my_step == their_step
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert my_rows == their_rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Trainings that nobody disturbed, by batches a step."""
    folder = tmp_path_factory.mktemp("whole")
    for accumulate in (1, 2):
        fit(folder / str(accumulate), accumulate=accumulate)
    return folder


@pytest.mark.parametrize("every", [None, 1, 2, 3])
@pytest.mark.parametrize("stop", [5, 6, 8, 10, 13])
def test_an_interrupted_training_ends_like_a_whole_one(every, stop, whole, tmp_path):
    fit(tmp_path, StopAt(stop), every=every)
    fit(tmp_path, every=every, resume=True)
    assert_same(tmp_path, whole / "1")


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


def steps_of(folder):
    """Global step of each checkpoint."""
    return {
        path.name: torch.load(path, weights_only=True)["global_step"]
        for path in (folder / "checkpoints").glob("*.ckpt")
    }


@pytest.mark.parametrize(
    ("step", "accumulate"), [(0, 1), (3, 1), (4, 1), (5, 1), (9, 1), (14, 1), (0, 2), (3, 2), (4, 2), (6, 2)]
)
def test_a_signal_is_heeded_at_the_end_of_a_step_and_nothing_is_lost(step, accumulate, whole, tmp_path):
    """Fifteen batches, five an epoch: the last of an epoch included, and with gradients of two batches gathered."""
    with pytest.raises(Stopped) as stopped:
        fit(tmp_path / "broken", SignalAt(step), accumulate=accumulate)
    assert stopped.value.code == 143
    epoch, batch = divmod(step, 5)
    done = -(-(batch + 1) // accumulate)  # a step that gathers two batches is finished
    assert steps_of(tmp_path / "broken")["last.ckpt"] == epoch * -(-5 // accumulate) + done
    fit(tmp_path / "broken", resume=True, accumulate=accumulate)
    assert_same(tmp_path / "broken", whole / str(accumulate))


class Validated(Noisy):
    def validation_step(self, batch, batch_idx):
        self.log("val", self.layers(batch).mean())


class ValidationData(Data):
    def val_dataloader(self):
        return DataLoader(DATA, batch_size=5)


@pytest.mark.parametrize(("step", "saved"), [(0, None), (5, 5)])
def test_while_validating_a_signal_ends_the_work_at_once(step, saved, tmp_path):
    fit(tmp_path / "whole", model=Validated)
    with pytest.raises(Stopped):
        fit(tmp_path / "broken", SignalAt(step, "SIGTERM", validating=True), model=Validated)
    assert steps_of(tmp_path / "broken").get("last.ckpt") == saved
    assert not list((tmp_path / "broken/checkpoints").glob(".*"))
    if saved:
        fit(tmp_path / "broken", resume=True, model=Validated)
        assert_same(tmp_path / "broken", tmp_path / "whole")


def test_a_signal_before_validation_ends_the_work_before_it(tmp_path):
    """The last step of an epoch cannot be saved before the epoch is validated."""
    with pytest.raises(Stopped):
        fit(tmp_path, SignalAt(9), model=Validated)
    assert steps_of(tmp_path)["last.ckpt"] == 5


def test_lightnings_own_handler_of_sigterm_is_out_of_the_way(tmp_path):
    """It would let the process end with status 0, and talk to other processes from within the handler."""
    seen = []

    class Look(L.Callback):
        def on_train_start(self, trainer, pl_module):
            seen.append(signal.getsignal(signal.SIGTERM))

        on_train_end = on_train_start

    fit(tmp_path, Look(), epochs=1)
    assert seen == [STOP._hear, STOP._hear]


def test_when_checkpoints_are_made_changes_no_number(whole, tmp_path):
    fit(tmp_path, minutes=0)
    assert_same(tmp_path, whole / "1")
    assert steps_of(tmp_path)["previous.ckpt"] == 14  # the last step within an epoch
    assert steps_of(whole / "1")["previous.ckpt"] == 10


def test_the_one_before_the_last_stays_where_the_last_cannot_be_read(tmp_path):
    folder = tmp_path / "checkpoints"
    fit(tmp_path, StopAt(11))
    assert steps_of(tmp_path) == {"last.ckpt": 10, "previous.ckpt": 5}
    (folder / "last.ckpt").write_bytes(b"half of it")
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        callbacks=[ResumePoint(folder), StopAt(8)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with contextlib.suppress(Stop):
        trainer.fit(Noisy(), datamodule=Data(), ckpt_path=folder / "previous.ckpt", weights_only=True)
    assert torch.load(folder / "previous.ckpt", weights_only=True)["global_step"] == 5
    assert (folder / "last.ckpt").read_bytes() == b"half of it"


def test_none_is_kept_where_none_is_wanted(tmp_path):
    fit(tmp_path, keep=False)
    assert steps_of(tmp_path) == {"last.ckpt": 15}


def test_a_checkpoint_of_earlier_versions_is_taken(tmp_path):
    """It knows PyTorch's random state alone."""
    last = fit(tmp_path, StopAt(6))
    content = torch.load(last, weights_only=True)
    state = next(state for name, state in content["callbacks"].items() if name.startswith("ResumePoint"))
    state["random_state"] = state["random_state"][0]["torch"]
    del state["begun_with"]
    torch.save(content, last)
    fit(tmp_path, resume=True)
    assert steps_of(tmp_path)["last.ckpt"] == 15
