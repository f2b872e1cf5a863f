import numpy as np
import pytest

from strokelab.phantoms.anatomy import MNI_GRID, Pull, mni_grid, subject, template
from strokelab.phantoms.head import AIR, FAT


def test_full_size_is_the_templates_own_grid_exactly():
    grid = mni_grid(1.0)
    assert grid is MNI_GRID
    assert grid.shape == (197, 233, 189)
    np.testing.assert_array_equal(grid.matrix, [[1, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])


@pytest.mark.parametrize("spacing", [2.0, 4.0])
def test_coarser_grids_cover_the_same_field_of_view(spacing):
    grid = mni_grid(spacing)
    edges = grid.matrix[:3, :3] @ np.asarray(grid.shape)
    np.testing.assert_allclose(edges, [197, 233, 189], atol=spacing)
    np.testing.assert_allclose(grid.matrix[:3, 3] - spacing / 2, [-98.5, -134.5, -72.5])


def test_the_template_has_the_tissues_of_a_head():
    head = template(4.0)
    volume = head.brain.sum() * 64 / 1e6
    assert 1.6 < volume < 2.0  # litres, MNI152
    inside = head.tissue[head.brain]
    assert (inside > 1.6).mean() == pytest.approx(0.35, abs=0.12)  # white matter
    assert (inside < 0.5).mean() == pytest.approx(0.08, abs=0.06)  # fluid
    assert head.tissue[0, 0, -1] == AIR
    assert (head.tissue[~head.brain] > FAT - 0.4).sum() > 500  # scalp
    assert (head.tissue[head.brain] >= -0.2).all()


def test_people_differ_and_a_person_is_always_the_same():
    a, again, b = subject(1, "a", 4.0), subject(1, "a", 4.0), subject(1, "b", 4.0)
    np.testing.assert_array_equal(a.tissue, again.tissue)
    assert np.abs(a.tissue - b.tissue)[a.brain].mean() > 0.15
    overlap = 2 * (a.brain & b.brain).sum() / (a.brain.sum() + b.brain.sum())
    assert 0.88 < overlap < 0.999


def test_a_person_is_the_same_person_at_every_spacing():
    fine, coarse = subject(1, "a", 4.0), subject(1, "a", 8.0)
    assert fine.brain.sum() * 64 == pytest.approx(coarse.brain.sum() * 512, rel=0.03)
    other = subject(1, "b", 8.0)
    x, y, z = (np.searchsorted(f, c) for f, c in zip(fine.axes, coarse.axes, strict=True))
    seen = fine.brain[np.ix_(x.clip(max=48), y.clip(max=57), z.clip(max=46))]
    assert (seen == coarse.brain).mean() > (seen == other.brain).mean()


def test_a_cavity_draws_the_ventricles_towards_it_and_a_swelling_closes_them():
    centre = (30.0, -10.0, 18.0)

    def fluid_near(strength):
        head = subject(1, "a", 4.0, (Pull(centre, 18.0, strength),) if strength else ())
        x, y, z = np.meshgrid(*head.axes, indexing="ij")
        near = np.sqrt((x - 24) ** 2 + (y + 10) ** 2 + (z - 18) ** 2) < 16
        return np.clip(1 - head.tissue, 0, 1)[near & head.brain].sum()

    assert fluid_near(-0.2) < fluid_near(0.0) < fluid_near(0.35)
