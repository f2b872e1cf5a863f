"""Seconds of a case with a clock of our own: what is computed, what is reckoned, and what is always measured."""

import numpy as np
import pytest
import torch

from strokelab.errors import ConfigError
from strokelab.inference import timing
from strokelab.inference.slices import SliceWindows
from strokelab.inference.timing import Timing, time_case

SLICES = 12


class Clock:
    """Predicting a sample takes 2 seconds (the very first call 50 more), everything around it 7 in all."""

    def __init__(self) -> None:
        self.now, self.batches = 0.0, []

    def __call__(self) -> float:
        return self.now

    def predict(self, image, brain):
        self.now += 2.0 * len(image) + (50 if not self.batches else 0)
        self.batches.append(len(image))
        return torch.full((len(image), 2, *image.shape[2:]), 0.25)

    def windows(self, image, predict, brain):
        self.now += 7
        self.scores = SliceWindows(batch_size=5, min_brain_pixels=1)(image, predict, brain)
        return self.scores


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", made)
    return made


def timed(clock, samples):
    image, brain = np.zeros((1, 6, 8, SLICES), np.float32), np.ones((6, 8, SLICES), bool)
    return time_case(image, brain, predict=clock.predict, windows=clock.windows, samples=samples)


@pytest.mark.parametrize("samples", [0, 1, 4, 5, 7, 12, 99])
def test_the_reckoned_time_is_that_of_all_samples_without_the_warm_up(clock, samples):
    found = timed(clock, samples)
    assert found == Timing(seconds=7 + 2 * SLICES, samples=SLICES, timed=samples if 0 < samples < SLICES else SLICES)
    assert found.scaled == (0 < samples < SLICES)


def test_only_the_asked_for_samples_are_computed_and_batches_stay_batches(clock):
    timed(clock, 7)
    assert clock.batches == [1, 5, 2], "one to warm up, a whole batch, a part of the next"
    assert clock.scores.shape == (2, 6, 8, SLICES)


def test_a_case_without_brain_takes_only_what_is_around(clock):
    image, brain = np.zeros((1, 6, 8, 3), np.float32), np.zeros((6, 8, 3), bool)
    found = time_case(image, brain, predict=clock.predict, windows=clock.windows)
    assert found.samples == 1, "the blank slice that windows ask for"


def test_a_negative_number_of_samples_is_refused(clock):
    with pytest.raises(ConfigError, match="samples"):
        timed(clock, -1)
