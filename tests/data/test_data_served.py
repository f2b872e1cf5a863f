"""A batch that is larger than an epoch is said before training, with the number that mends it."""

import re
import warnings
from types import SimpleNamespace

import pytest

from strokelab.data.served import served
from strokelab.errors import DataWarning


class Few:
    sites = None
    sample_bytes = 8
    in_thread = False

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


def loader(samples, batch_size, *, resumed=(0, 0), processes=1, rank=0):
    trainer = SimpleNamespace(
        global_rank=rank, world_size=processes, num_devices=processes, is_global_zero=rank == 0, overfit_batches=0
    )
    settings = {"seed": 0, "drop_last": False, "workers": 0, "useful": False, "loaders": 1}
    return served(Few(samples), None, batch_size=batch_size, resumed=resumed, trainer=trainer, **settings)[0]


@pytest.mark.parametrize(("processes", "smaller"), [(1, 9), (12, 12)])
def test_what_the_warning_names_makes_more_steps(processes, smaller):
    with pytest.warns(DataWarning, match=r"an epoch has 36 training samples, fewer than a batch of 100000") as caught:
        assert len(loader(36, 100_000, processes=processes)) == 1
    (named,) = re.findall(r"data\.batch_size=(\d+) makes (\d+) of it", str(caught[0].message))
    assert int(named[0]) == smaller
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(loader(36, int(named[0]), processes=processes)) == int(named[1]) > 1


@pytest.mark.parametrize(
    ("samples", "batch_size", "how"),
    [
        (36, 36, {}),  # all of them in one step: what was asked for
        (1, 16, {}),  # nothing makes more steps of one sample
        (36, 100, {"resumed": None}),  # validation
        (36, 100, {"processes": 2, "rank": 1}),  # the first process says it
    ],
)
def test_nothing_is_said_where_nothing_is_lost(samples, batch_size, how):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader(samples, batch_size, **how)
