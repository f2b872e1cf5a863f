"""The same masks scored in one process and in two: equal to the last bit, also when the cases are odd in number."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DistributedSampler

from strokelab.metrics import overlap, score_row
from strokelab.metrics.live import CaseRows, PooledDice, SampleMean
from strokelab.statistics.aggregate import micro_dice, summarize

CASES = 7
pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")  # a process without a case

COLUMNS = ("dice", "hd95", "assd", "volume_difference", "tp", "fp", "fn", "tn")


def masks(case):
    """Prediction and reference of a case, each case on a grid of its own; one is missed, one has no lesion."""
    rng = np.random.default_rng(case)
    shape = (9 + case, 8, 7)
    reference, prediction = rng.random(shape) > 0.9, rng.random(shape) > 0.8
    return (prediction & (case != 2)).astype(np.uint8), (reference & (case != 4)).astype(np.uint8)


def table_of(cases, pause_after=None):
    rows = CaseRows(COLUMNS)
    for done, case in enumerate(cases):
        rows.update(case, score_row(*masks(case), (1.0, 1.5, 2.0)))
        if done == pause_after:
            rows.compute()  # looking does not change what is gathered
    return rows.compute()


def pooled(cases, size):
    """Dice over batches of ``size`` flat masks, cut anywhere."""
    metric = PooledDice()
    for case in cases:
        prediction, reference = (torch.from_numpy(mask).flatten() for mask in masks(case))
        for p, r in zip(prediction.split(size), reference.split(size), strict=True):
            metric.update(p, r)
    return metric.compute()


def weighted(rank, world):
    """A loss over nine samples, of which the first of two processes has five."""
    metric = SampleMean()
    for sample in range(rank, 9, world):
        metric.update(torch.tensor(float(sample)), 1)
    return metric.compute()


def scored(rank, world):
    """Everything that is compared, from one process of several."""
    sampler = DistributedSampler(range(CASES), num_replicas=world, rank=rank, shuffle=False)
    assert len(sampler) * world == CASES + world - 1, "the sampler fills up: a case comes twice"
    return {
        "shares": table_of(range(rank, CASES, world)),
        "filled up": table_of(sampler),
        "all on all": table_of(range(CASES)),
        "looked at in between": table_of(range(rank, CASES, world), pause_after=1),
        "one case": table_of(range(rank, 1, world)),
        "no case": table_of([]),
        "pooled": pooled(range(rank, CASES, world), 100 + rank),
        "weighted": weighted(rank, world),
        "pooled one": pooled(range(rank, 1, world), 100),
    }


def process(rank, world, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save(scored(rank, world), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(process, args=(2, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def one():
    return scored(0, 1)


def test_tables_of_two_processes_are_those_of_one(one, two):
    for name in ("shares", "filled up", "all on all", "looked at in between", "one case", "no case"):
        for rank in range(2):
            pd.testing.assert_frame_equal(two[rank][name], one[name], check_exact=True, obj=f"{name}, rank {rank}")
    assert one["shares"]["case"].tolist() == list(range(CASES))
    for name in ("filled up", "all on all", "looked at in between"):
        pd.testing.assert_frame_equal(two[0][name], one["shares"], check_exact=True, obj=name)
    assert one["one case"]["case"].tolist() == [0]
    assert one["no case"].empty


def test_means_of_two_processes_are_those_of_an_evaluation(two):
    rows = [{"case": case, **score_row(*masks(case), (1.0, 1.5, 2.0)), "error": ""} for case in range(CASES)]
    evaluation, live = pd.DataFrame(rows), two[1]["shares"]
    metrics = COLUMNS[:4]
    pd.testing.assert_frame_equal(summarize(live, metrics), summarize(evaluation, metrics), check_exact=True)
    infinite = summarize(live, metrics).set_index("metric")["infinite"]
    assert infinite["hd95"] == 2, "one missed, one without lesion"
    assert micro_dice(live)["micro_dice"].item() == micro_dice(evaluation)["micro_dice"].item()


def test_pooled_dice_of_two_processes_is_that_of_one(one, two):
    sums = sum(
        (overlap.count(*(mask != 0 for mask in masks(case))) for case in range(CASES)), overlap.Counts(0, 0, 0, 0)
    )
    for rank in range(2):
        assert two[rank]["pooled"].item() == one["pooled"].item() == overlap.dice(sums)
        assert two[rank]["pooled one"].item() == one["pooled one"].item(), "a process without a batch"


def test_means_over_samples_weigh_processes_by_their_samples(one, two):
    assert [two[rank]["weighted"].item() for rank in range(2)] == [4.0, 4.0] == [one["weighted"].item()] * 2
