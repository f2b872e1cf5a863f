"""What an epoch accumulates, against one volume that holds all batches and one table that holds all cases."""

import pytest
import torch

from strokelab.metrics.live import CaseRows, PooledDice, SampleMean


def test_counts_are_pooled_not_averaged():
    # TP (10, 500), FP (10, 100), FN (30, 100): Dice 0.3333 and 0.8333, pooled 0.8095
    metric = PooledDice()
    for tp, fp, fn in [(10, 10, 30), (500, 100, 100)]:
        truth = torch.tensor([1] * tp + [0] * fp + [1] * fn + [0] * 50)
        predicted = torch.tensor([1] * tp + [1] * fp + [0] * fn + [0] * 50)
        metric.update(predicted.bool(), truth.bool())
    assert metric.compute().item() == pytest.approx(2 * 510 / (2 * 510 + 110 + 130), abs=1e-7)
    assert metric.tp.dtype == torch.int64
    metric.reset()
    assert metric.tp == 0


def test_any_batching_gives_the_number_of_one_volume():
    generator = torch.Generator().manual_seed(0)
    truth, predicted = (torch.rand(24, 1, 8, 8, generator=generator) > 0.7 for _ in range(2))
    values = []
    for size in (1, 5, 24):
        metric = PooledDice()
        for t, p in zip(truth.split(size), predicted.split(size), strict=True):
            metric(p, t)
        values.append(metric.compute().item())
    expected = 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())
    assert values == [pytest.approx(expected.item(), abs=1e-7)] * 3


def test_nothing_to_find_and_nothing_found_is_perfect():
    metric = PooledDice()
    metric.update(torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool))
    assert metric.compute() == 1
    metric.update(torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool))
    assert metric.compute() == 0


def test_labels_of_255_do_not_wrap():
    truth = torch.full((1000,), 255, dtype=torch.uint8)
    metric = PooledDice()
    metric.update(truth, truth)
    assert metric.tp == 1000
    assert metric.compute() == 1


def test_two_processes_add_up():
    # what torchmetrics does between processes: gather each state, then apply its reduction
    whole, parts = PooledDice(), [PooledDice(), PooledDice()]
    generator = torch.Generator().manual_seed(1)
    for rank, cases in ((0, 2), (1, 1)):
        for _ in range(cases):
            t, p = (torch.rand(50, generator=generator) > 0.5 for _ in range(2))
            whole.update(p, t)
            parts[rank].update(p, t)
    for state, reduce in parts[0]._reductions.items():
        setattr(parts[0], state, reduce(torch.stack([getattr(part, state) for part in parts])))
    assert parts[0].compute() == whole.compute()


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="differ"):
        PooledDice().update(torch.ones(3), torch.ones(1, 3))


def test_the_mean_over_samples_weighs_batches_and_hides_nothing():
    metric = SampleMean()
    for mean, samples in ((1.0, 16), (2.0, 16), (5.0, 3)):
        metric.update(torch.tensor(mean, requires_grad=True), samples)
    assert metric.compute().item() == pytest.approx((16 * 1 + 16 * 2 + 3 * 5) / 35)
    assert not metric.compute().requires_grad
    metric.update(torch.tensor(float("nan")), 1)
    assert metric.compute().isnan(), "a loss that is not a number is to be seen"


def test_case_rows_come_once_each_in_the_order_of_the_cases():
    rows = CaseRows(("dice", "tp"))
    for case, dice in ((5, 0.1), (0, 1 / 3), (5, 0.1), (2, float("inf"))):
        rows.update(case, {"dice": dice, "tp": 2**53 - 1, "profile": "default"})
    rows.update(9, {"failed": 1.0})
    table = rows.compute()
    assert table["case"].tolist() == [0, 2, 5, 9]
    assert table["dice"].tolist()[:3] == [1 / 3, float("inf"), 0.1]
    assert table["tp"].tolist()[:3] == [2**53 - 1] * 3
    assert table.loc[3, ["dice", "tp"]].isna().all()
    assert list(table) == ["case", "dice", "tp"]
    rows.reset()
    rows.update(1, {"dice": 1.0})
    assert rows.compute()["case"].tolist() == [1]
