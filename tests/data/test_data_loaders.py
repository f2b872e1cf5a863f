"""Loader workers that die, cannot share memory or raise: told at once, by case, with what the user can do."""

import os
import resource
import signal

import pytest
from data_small_cohort import small_view, write_cohort

from strokelab import resources
from strokelab.data.loaders import WatchedLoader, batch_loader
from strokelab.data.readers.atlas_v1 import read
from strokelab.data.samples import Samples
from strokelab.data.sources import samples_of
from strokelab.data.worker_count import WAITING, WORKER_BYTES, fitting_workers
from strokelab.errors import ConfigError, DataError, RunError
from strokelab.preparation.store import PreparedStore
from strokelab.resources import Memory
from strokelab.sampling.order import EpochBatchSampler, InOrder

BAD_BATCH = 3


class AtBatch:
    """An augmentation that does something else when it meets a certain case; picklable."""

    def __init__(self, case_id, act):
        self.case_id, self.act = case_id, act

    def __call__(self, batch, streams):
        if self.case_id in batch["case_id"]:
            self.act()
        return batch


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(7)


def refuse():
    raise DataError("sub-x", found="a hole", expected="none", remedy="mend it")


def fill_shared_memory():
    """What a batch finds when /dev/shm has no room for it: no file may grow."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    base = tmp_path_factory.mktemp("loaders")
    cases = read(write_cohort(base / "data"))
    return PreparedStore(base / "store").prepare(cases, small_view().preparation, progress=False)


def a_loader(stored, act=None, *, workers=2):
    victim = stored[BAD_BATCH].case_id
    view = small_view(augment=AtBatch(victim, act) if act else None)
    dataset = samples_of(stored, "train", view=view, batch_size=4, sites={}, seed=0)
    return batch_loader(dataset, EpochBatchSampler(len(dataset), 4, 0, order=InOrder()), workers=workers), victim


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (die, RunError, ("SIGKILL", "pid ", "at work on", "memory ran out", "data.workers lower or to 0", "GiB free")),
        (leave, RunError, ("status 7", "at work on", "data.workers=0")),
        (refuse, DataError, ("sub-x", "mend it")),
        (fill_shared_memory, RunError, ("/dev/shm", "no room", "--shm-size")),
    ],
    ids=["killed", "left", "raised", "no shared memory"],
)
def test_a_worker_that_fails_is_told_by_its_case_not_as_torch_does(stored, act, kind, words):
    loader, victim = a_loader(stored, act)
    with pytest.raises(kind) as caught:
        list(loader)
    said = str(caught.value)
    for word in words:
        assert word in said
    if act in (die, leave):
        assert victim in said
        assert any(f"(pid {p.pid})" in said for p in loader.processes if p.exitcode not in (None, 0))


@pytest.mark.slow
def test_a_worker_killed_between_batches_is_told_at_the_next_one(stored):
    loader, _ = a_loader(stored)
    batches = iter(loader)
    next(batches)
    os.kill(loader.processes[1].pid, signal.SIGKILL)
    loader.processes[1].join()
    with pytest.raises(RunError, match="SIGKILL"):
        next(batches)


@pytest.mark.slow
def test_a_worker_killed_while_the_next_epoch_begins_is_told(stored, monkeypatch):
    loader, _ = a_loader(stored)
    assert list(loader)
    os.kill(loader.processes[0].pid, signal.SIGKILL)
    loader.processes[0].join()
    seen = iter([[]])  # not looked at beforehand: torch finds it as it begins
    sentinels = loader._sentinels()
    monkeypatch.setattr(loader, "_sentinels", lambda: next(seen, sentinels))
    with pytest.raises(RunError, match="after its batch of"):
        iter(loader)


def test_without_workers_nothing_is_watched(stored):
    loader, _ = a_loader(stored, workers=0)
    assert not isinstance(loader, WatchedLoader)
    assert isinstance(loader.dataset, Samples)


# ---------------------------------------------------------------- how many


@pytest.fixture
def machine(monkeypatch):
    """A machine of stated size."""

    def build(cores=64, free_gib=1000.0, shm_gib=1000.0):
        monkeypatch.setattr(resources, "cores", lambda processes: max(1, cores // processes))
        for name, gib in (("memory", free_gib), ("shared_memory", shm_gib)):
            size = None if gib is None else int(gib * 2**30)
            monkeypatch.setattr(resources, name, lambda size=size: Memory(size, size))

    return build


def test_what_fits_is_started_without_a_word(machine):
    machine()
    assert fitting_workers(8, 2**20) == (8, None)
    assert fitting_workers(0, 2**60) == (0, None)
    machine(cores=2, free_gib=None, shm_gib=None)
    assert fitting_workers(8, 2**20) == (8, None)  # what is unknown is not guessed


@pytest.mark.parametrize(
    ("size", "expected", "word"),
    [({"cores": 1}, 4, "1 core"), ({"free_gib": 1}, 3, "memory"), ({"shm_gib": 0.0625}, 21, "/dev/shm")],
)
def test_what_does_not_fit_is_lowered_and_said_in_one_line(machine, size, expected, word):
    machine(**size)
    count, said = fitting_workers(40, 2**20)
    assert count == expected
    assert word in said
    assert "data.workers=40" in said
    assert "\n" not in said


def test_a_machine_without_room_reads_in_the_training_process(machine):
    machine(shm_gib=0.0625)  # docker's 64 MiB
    count, said = fitting_workers(4, 100 * 2**20)
    assert count == 0
    assert "/dev/shm" in said


def test_every_loader_and_process_needs_its_own(machine):
    each = WORKER_BYTES + WAITING * 2**20
    machine(free_gib=16 * each / 0.8 / 2**30 + 0.01)
    assert fitting_workers(16, 2**20)[0] == 16
    assert fitting_workers(16, 2**20, loaders=2)[0] == 8
    assert fitting_workers(16, 2**20, loaders=2, processes=4)[0] == 2


def test_auto_is_for_those_who_have_something_to_do(machine):
    machine(cores=6)
    assert fitting_workers("auto", 2**20) == (5, None)
    assert fitting_workers("auto", 2**20, processes=3) == (1, None)
    assert fitting_workers("auto", 2**20, useful=False) == (0, None)
    machine(cores=64)
    assert fitting_workers("auto", 2**20) == (8, None)


@pytest.mark.parametrize("asked", [-1, 1.5, "many", True, None])
def test_other_words_are_refused(machine, asked):
    machine()
    with pytest.raises(ConfigError, match="workers"):
        fitting_workers(asked, 2**20)
