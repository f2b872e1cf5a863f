"""How a machine is shared out among members that run at once."""

import os

import pytest

from strokelab.errors import ConfigError
from strokelab.sweeps.sharing import Shares, gpus_here, shares_of

CPU, GPU = {"accelerator": "cpu", "devices": 1}, {"accelerator": "gpu", "devices": 1}
FOUR = ("0", "1", "2", "3")


@pytest.fixture(autouse=True)
def _no_choice_of_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("trainer", "asked", "at_once", "gpus"),
    [
        (CPU, {}, 1, ()),
        (CPU, {"at_once": 3}, 3, ()),
        (GPU, {}, 4, FOUR),
        (GPU | {"devices": 2}, {}, 2, ("0,1", "2,3")),
        (GPU | {"devices": [0, 1, 2]}, {}, 1, ("0,1,2",)),
        (GPU | {"devices": "auto"}, {}, 1, ("0,1,2,3",)),
        (GPU | {"devices": -1}, {}, 1, ("0,1,2,3",)),
        (GPU, {"at_once": 2}, 2, ("0", "1")),
        (GPU, {"at_once": 8}, 8, (*FOUR, *FOUR)),  # two on each
        (GPU, {"gpus": 0, "at_once": 2}, 2, ()),
        (GPU, {"gpus": 3}, 1, ("0,1,2",)),
    ],
)
def test_gpus_and_numbers(trainer, asked, at_once, gpus):
    shares = shares_of(trainer, devices=FOUR, **asked)
    assert (shares.at_once, shares.gpus) == (at_once, gpus)


def test_cores_are_shared_out_unless_somebody_said(monkeypatch):
    cores = len(os.sched_getaffinity(0))
    assert shares_of(CPU).threads is None
    assert shares_of(CPU, at_once=2).threads == max(1, cores // 2)
    assert shares_of(CPU, at_once=100).threads == 1
    assert shares_of(CPU, threads=5).threads == 5
    assert shares_of(CPU, at_once=2, threads=None).threads is None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert shares_of(CPU, at_once=2).threads is None


def test_no_gpu_is_no_mistake_of_the_launcher():
    assert shares_of(GPU, devices=()) == Shares(1, None, ())


@pytest.mark.parametrize("wrong", [{"at_once": 0}, {"at_once": "two"}, {"threads": -1}, {"gpus": 5}, {"at_once": True}])
def test_numbers_that_are_none(wrong):
    with pytest.raises(ConfigError, match=r"hydra\.launcher"):
        shares_of(GPU, devices=FOUR, **wrong)


@pytest.mark.parametrize(
    ("visible", "found"), [("2,3", ("2", "3")), ("", ()), ("GPU-a, MIG-b", ("GPU-a", "MIG-b")), ("1,-1,2", ("1",))]
)
def test_gpus_are_those_that_the_environment_leaves(monkeypatch, visible, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_here() == found


def test_each_slot_has_its_environment():
    shares = Shares(2, 4, ("0", "1"))
    assert shares.environment(1) == {"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "1"}
    assert Shares(2).environment(1) == {}
