from collections import Counter
from functools import cache

import numpy as np
import pytest

from strokelab.phantoms.lesion_law import (
    LARGEST_MM3,
    SMALLEST_MM3,
    Stroke,
    draw_strokes,
    volume_at,
    with_a_second,
)


@cache
def cohort():
    """3,000 subjects; made when a test asks, as every process of a test run collects this file."""
    return [strokes for site in range(60) for strokes in draw_strokes(5, f"Site{site}", 50)]


def totals():
    return np.array([sum(stroke.volume_mm3 for stroke in strokes) for strokes in cohort()])


def test_sizes_follow_the_published_law():
    assert totals().min() >= SMALLEST_MM3 * 0.999
    assert totals().max() <= LARGEST_MM3 * 1.001
    assert np.median(totals()) == pytest.approx(4170, rel=0.15)
    lower, upper = np.percentile(totals(), (25, 75))
    assert lower == pytest.approx(886, rel=0.25)
    assert upper == pytest.approx(21_639, rel=0.25)
    logs = np.log(totals())
    assert abs(np.mean(((logs - logs.mean()) / logs.std()) ** 3)) < 0.3  # the logarithm is symmetric: log-normal


def test_volumes_at_the_ends_of_the_law_are_the_limits():
    ends = volume_at(np.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, [SMALLEST_MM3, LARGEST_MM3], rtol=1e-6)


def test_sides_and_numbers_have_the_published_shares():
    sides = Counter(strokes[0].side for strokes in cohort())
    assert sides["left"] / len(cohort()) == pytest.approx(0.48, abs=0.025)
    assert sides["right"] / len(cohort()) == pytest.approx(0.44, abs=0.025)
    assert sides["other"] / len(cohort()) == pytest.approx(0.08, abs=0.015)
    single = sum(len(strokes) == 1 for strokes in cohort()) / len(cohort())
    assert single == pytest.approx(0.59, abs=0.04)  # 58 %, and the tiniest cannot be divided


def test_places_fit_their_volumes():
    places = Counter(stroke.place for strokes in cohort() for stroke in strokes)
    assert set(places) == {"cortical", "subcortical", "brainstem", "cerebellum"}
    assert places["subcortical"] > 0.25 * places["cortical"]
    everything = [stroke for strokes in cohort() for stroke in strokes]
    assert max(s.volume_mm3 for s in everything if s.place == "brainstem") < 3_000
    assert max(s.volume_mm3 for s in everything if s.place == "subcortical") < 30_000
    assert all((s.side == "other") == (s.place in ("brainstem", "cerebellum")) for s in everything)


def test_a_small_site_is_spread_over_the_whole_law():
    for site in range(5):
        totals = sorted(sum(s.volume_mm3 for s in strokes) for strokes in draw_strokes(1, f"S{site}", 8))
        edges = volume_at(np.linspace(0, 1, 9))
        assert all(low <= t <= high for t, low, high in zip(totals, edges[:-1], edges[1:], strict=True))


def test_strokes_are_a_function_of_seed_and_site():
    assert draw_strokes(1, "A", 5) == draw_strokes(1, "A", 5)
    assert draw_strokes(1, "A", 5) != draw_strokes(2, "A", 5)
    assert draw_strokes(1, "A", 5) != draw_strokes(1, "B", 5)


def test_a_cohort_always_has_somebody_with_two_lesions():
    small, large = (Stroke(100.0, "left", "cortical"),), (Stroke(1000.0, "right", "cortical"),)
    first, second = with_a_second([small, large])
    assert first == small
    assert [stroke.volume_mm3 for stroke in second] == [700.0, 300.0]
    assert with_a_second([second, small]) == [second, small]
