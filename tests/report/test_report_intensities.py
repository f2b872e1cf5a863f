import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from strokelab.report.intensities import SitePixels, grey_values, histograms, mean_pairwise_distance, slice_index


@pytest.mark.parametrize(("slices", "index"), [(189, 93), (95, 46), (48, 23), (1, 0)])
def test_the_papers_slice_on_any_grid(slices, index):
    assert slice_index(slices) == index


def test_no_slice_is_an_error():
    with pytest.raises(ValueError, match="0 slices"):
        slice_index(0)


def test_distance_of_shifted_copies_is_the_shift():
    values = np.random.default_rng(0).normal(size=5000)
    # pairs 1-2, 1-3, 2-3 lie 1, 3 and 2 apart
    assert mean_pairwise_distance({"1": values, "2": values + 1, "3": values + 3}) == pytest.approx(2.0, abs=1e-9)


def test_distance_agrees_with_scipy_on_unequal_samples():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=3000), rng.gamma(2.0, 1.5, size=1777)
    assert mean_pairwise_distance({"a": a, "b": b}) == pytest.approx(wasserstein_distance(a, b), rel=5e-3)


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_relative_distance_ignores_scale_and_shift(scale, shift):
    rng = np.random.default_rng(2)
    sites = {"1": rng.normal(size=400), "2": rng.normal(1, 2, size=300)}
    moved = {site: scale * values + shift for site, values in sites.items()}
    before, after = histograms(sites), histograms(moved)
    assert after.relative_distance == pytest.approx(before.relative_distance, rel=1e-6)
    assert after.distance == pytest.approx(scale * before.distance, rel=1e-6)


def test_one_site_has_no_distance():
    assert np.isnan(histograms({"1": np.arange(10.0)}).distance)


def test_density_integrates_to_the_share_inside_the_edges():
    panel = histograms({"1": np.random.default_rng(0).normal(size=20000), "2": np.full(100, 0.0)})
    width = np.diff(panel.edges)
    assert (panel.density["1"] * width).sum() == pytest.approx(0.998, abs=0.002)
    assert (panel.density["2"] * width).sum() == pytest.approx(1.0)


def test_constant_pixels_draw_one_bin():
    panel = histograms({"1": np.zeros(50)})
    assert np.count_nonzero(panel.density["1"]) == 1
    assert np.isnan(panel.relative_distance)


def test_aligning_brings_sites_together_and_the_mask_makes_a_spike():
    rng = np.random.default_rng(0)
    brain = np.zeros((30, 30), dtype=bool)
    brain[5:25, 5:25] = True
    scans = [(site, rng.normal(size=brain.shape)) for site in "123" for _ in range(3)]
    values = grey_values(SitePixels(site, z + float(site), z * brain, brain) for site, z in scans)
    assert values.scans == 9
    assert values.before_brain.distance == pytest.approx(4 / 3, abs=0.1)
    assert values.after_brain.distance < 0.2
    spike = values.after_all.density["1"].argmax()
    assert values.after_all.edges[spike] <= 0 <= values.after_all.edges[spike + 1]
    assert values.after_all.density["1"].max() > 5 * values.after_brain.density["1"].max()


def test_pixels_outside_the_brain_do_not_reach_the_brain_panels():
    brain = np.eye(8, dtype=bool)
    clean = [SitePixels(site, np.eye(8) * k, np.eye(8), brain) for k, site in enumerate("12", 1)]
    dirty = [SitePixels(s.site, s.before + 99 * ~brain, s.after, brain) for s in clean]
    a, b = grey_values(clean), grey_values(dirty)
    assert a.before_brain.distance == b.before_brain.distance == 1.0
    assert a.before_all.distance == pytest.approx(1 / 8)


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no pixel"):
        grey_values([])
