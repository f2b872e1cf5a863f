from dataclasses import replace

import numpy as np
import pytest

from strokelab.phantoms.anatomy import mni_grid, subject
from strokelab.phantoms.head import FLUID, GREY, WHITE
from strokelab.phantoms.scanners import acquire_t1, add_noise, degrade, site_scanner, t1_curve
from strokelab.seeding import stream

SITES = [site_scanner(0, f"Site{i + 1}", i) for i in range(9)]


@pytest.mark.parametrize("scanner", SITES, ids=lambda s: s.name)
def test_every_site_looks_like_t1(scanner):
    fluid, grey, white = t1_curve(scanner, np.array([FLUID, GREY, WHITE], dtype=np.float32))
    assert fluid < 0.8 * grey < grey < 0.95 * white
    curve = t1_curve(scanner, np.linspace(FLUID, WHITE, 50, dtype=np.float32))
    assert (np.diff(curve) > 0).all()


def test_sites_differ_by_more_than_gain_and_offset():
    position = [(s.grey - s.fluid) / (1 - s.fluid) for s in SITES]  # unchanged by any linear rescaling
    assert max(position) - min(position) > 0.35
    assert np.diff(sorted(position)).max() < 0.2
    head = subject(0, "p", 4.0)
    scans = [acquire_t1(s, head.tissue, head.grid, stream(0, "scan", s.name))[head.brain].astype(float) for s in SITES]
    scores = [np.sort((scan - scan.mean()) / scan.std()) for scan in scans]
    apart = [np.abs(a - b).mean() for i, a in enumerate(scores) for b in scores[:i]]
    again = acquire_t1(SITES[0], head.tissue, head.grid, stream(0, "again"))[head.brain].astype(float)
    same = np.abs(np.sort((again - again.mean()) / again.std()) - scores[0]).mean()
    assert max(apart) > 0.2
    assert np.median(apart) > 3 * same


def test_a_scan_is_whole_numbers_of_the_sites_gain():
    head = subject(0, "p", 4.0)
    for scanner in SITES[:3]:
        scan = acquire_t1(scanner, head.tissue, head.grid, stream(0, "scan"))
        assert scan.dtype == np.int16
        assert scan.min() >= 0
        white = scan[head.brain & (head.tissue > 1.95)].mean() / scanner.gain
        assert white == pytest.approx(1 + scanner.offset, abs=0.25)


def test_noise_is_rician():
    grid_shape = (60, 60, 60)
    background = add_noise(np.zeros(grid_shape, dtype=np.float32), 2.0, stream(0, "n"))
    assert background.mean() == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)  # Rayleigh
    bright = add_noise(np.full(grid_shape, 100.0, dtype=np.float32), 2.0, stream(0, "n"))
    assert bright.std() == pytest.approx(2.0, rel=0.02)


def test_thick_slices_blur_along_their_axis_only():
    head = subject(0, "p", 4.0)
    point = np.zeros(head.grid.shape, dtype=np.float32)
    point[24, 28, 20] = 1
    seen = degrade(point, head.grid, blur=0.5, thickness=8.0, axis=1)
    assert seen.sum() == pytest.approx(1.0, abs=1e-3)
    assert seen[24, 29, 20] > 0.05
    assert seen[25, 28, 20] == seen[24, 28, 21] == 0


def test_a_coil_belongs_to_its_site():
    grid = mni_grid(8.0)
    flat = np.full(grid.shape, WHITE, dtype=np.float32)
    scanner = max(SITES, key=lambda s: s.coil)
    first, second = (acquire_t1(scanner, flat, grid, stream(0, k)).ravel().astype(float) for k in ("a", "b"))
    other = acquire_t1(replace(scanner, name="elsewhere"), flat, grid, stream(0, "a")).ravel().astype(float)
    assert np.corrcoef(first, second)[0, 1] > 0.7
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.5


def test_nine_sites_share_the_range_of_every_property():
    for name in ("fluid", "fluid_knee", "white_knee", "coil", "blur", "noise"):
        values = sorted(getattr(scanner, name) for scanner in SITES)
        assert len(set(values)) == 9
        assert np.diff(values).max() < 0.35 * (values[-1] - values[0])
