"""The order of samples: a pure function of (seed, epoch, rank) that a resumed run can enter anywhere."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from strokelab.errors import ConfigError
from strokelab.sampling.order import EpochBatchSampler, InOrder, Shuffle
from strokelab.sampling.site_balanced import SiteBalanced


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_order_depends_on_seed_and_epoch_alone():
    def make(seed=3):
        return EpochBatchSampler(50, 8, seed)

    straight = [epoch_of(make(), epoch) for epoch in range(4)]
    backwards = make()
    assert [epoch_of(backwards, epoch) for epoch in (3, 2, 1, 0)] == straight[::-1]
    assert straight[0] != straight[1]
    assert straight[0] != epoch_of(make(seed=4), 0)
    assert sorted(index for batch in straight[2] for _, index in batch) == list(range(50))
    assert {epoch for batch in straight[2] for epoch, _ in batch} == {2}


def test_known_order():
    # Written down once: a changed stream or another NumPy would silently change every published run.
    assert epoch_of(EpochBatchSampler(6, 4, 0), 0) == [[(0, 5), (0, 3), (0, 0), (0, 2)], [(0, 1), (0, 4)]]


@pytest.mark.parametrize("skip", [0, 1, 3, 6])
def test_skipping_gives_the_tail(skip):
    whole = epoch_of(EpochBatchSampler(50, 8, 3), 2)
    sampler = EpochBatchSampler(50, 8, 3)
    sampler.resume(2, skip)
    assert list(sampler) == whole[skip:]  # also before anybody called set_epoch: workers fetch ahead
    assert epoch_of(sampler, 2) == whole[skip:]
    assert len(sampler) == len(whole) == 7
    assert epoch_of(sampler, 3) == epoch_of(EpochBatchSampler(50, 8, 3), 3)


@given(
    length=st.integers(1, 60),
    batch=st.integers(1, 24),
    world=st.integers(1, 4),
    drop_last=st.booleans(),
    epoch=st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_ranks_are_disjoint_cover_and_keep_step(length, batch, world, drop_last, epoch):
    if batch < world or length < (batch if drop_last else world):
        with pytest.raises(ConfigError, match="batch"):
            EpochBatchSampler(length, batch, 0, drop_last=drop_last, rank=0, world_size=world)
        return
    ranks = [EpochBatchSampler(length, batch, 0, drop_last=drop_last, rank=r, world_size=world) for r in range(world)]
    batches = [epoch_of(sampler, epoch) for sampler in ranks]
    assert {len(steps) for steps in batches} == {len(ranks[0])}
    assert all(steps and all(steps) for steps in batches)
    seen = [index for steps in batches for step in steps for _, index in step]
    assert len(seen) == len(set(seen)) == (length // batch * batch if drop_last else length)


@given(length=st.integers(8, 70), batch=st.integers(4, 20), world=st.integers(2, 4))
def test_ranks_see_together_in_every_step_what_one_process_sees(length, batch, world):
    assume(length % batch == 0 or length % batch >= world)  # a smaller last step is joined to the one before
    one = epoch_of(EpochBatchSampler(length, batch, 5), 1)
    all_ranks = [epoch_of(EpochBatchSampler(length, batch, 5, rank=r, world_size=world), 1) for r in range(world)]
    together = [sorted(chain(*shares)) for shares in zip(*all_ranks, strict=True)]
    assert together == [sorted(step) for step in one]


def test_a_batch_with_fewer_samples_than_processes_is_refused():
    with pytest.raises(ConfigError, match="at least one sample per process"):
        EpochBatchSampler(50, 3, 0, rank=0, world_size=4)


def test_lightning_finds_set_epoch():
    sampler = EpochBatchSampler(10, 2, 0)
    assert sampler.sampler is sampler


def test_validation_is_the_same_every_epoch():
    sampler = EpochBatchSampler(5, 2, 0, order=InOrder())
    expected = [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]
    assert epoch_of(sampler, 0) == epoch_of(sampler, 7) == expected


def test_shuffle_does_not_look_at_sites():
    rng = np.random.default_rng
    assert (Shuffle().arrange(np.zeros(9), rng(1)) == Shuffle().arrange(np.arange(9), rng(1))).all()


@given(sizes=st.lists(st.integers(1, 400), min_size=2, max_size=9), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_balanced_sites_have_equal_shares(sizes, seed):
    sites = np.repeat(np.arange(len(sizes)), sizes)
    draws = 20_000 // len(sites) + 1
    drawn = np.concatenate([SiteBalanced().arrange(sites, np.random.default_rng((seed, i))) for i in range(draws)])
    share = np.bincount(sites[drawn], minlength=len(sizes)) / len(drawn)
    chance = 1 / len(sizes)
    # six binomial standard deviations: wrong about once in 10^9 shares
    assert np.abs(share - chance).max() < 6 * np.sqrt(chance * (1 - chance) / len(drawn))


def test_balanced_draws_are_uniform_inside_a_site_and_keep_the_length():
    sites = np.array([0] * 3 + [1] * 30)
    drawn = np.concatenate([SiteBalanced().arrange(sites, np.random.default_rng(i)) for i in range(2000)])
    assert len(drawn) == 2000 * len(sites)
    counts = np.bincount(drawn, minlength=33) / len(drawn)
    np.testing.assert_allclose(counts[:3], 1 / 6, rtol=0.03)
    np.testing.assert_allclose(counts[3:], 1 / 60, rtol=0.12)


def test_balanced_order_needs_sites():
    sampler = EpochBatchSampler(10, 2, 0, order=SiteBalanced())
    with pytest.raises(ConfigError, match="without sites"):
        list(sampler)


def test_balanced_order_is_resumable():
    sites = np.repeat([0, 1, -1], [5, 20, 8])

    def make():
        return EpochBatchSampler(33, 4, 1, order=SiteBalanced(), sites=sites)

    resumed = make()
    resumed.resume(6, 3)
    assert list(resumed) == epoch_of(make(), 6)[3:]
    assert len(make()) == 9
