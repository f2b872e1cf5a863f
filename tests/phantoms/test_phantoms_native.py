import numpy as np
import pytest

from strokelab.phantoms.anatomy import mni_grid, template
from strokelab.phantoms.native import largest, pose, scan_grid, see


def test_an_upright_head_on_the_same_grid_is_itself():
    head = template(4.0)
    lie = pose((0, 0, 0), (0.0, -18.0, 12.0))
    np.testing.assert_allclose(lie.matrix, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(see(head.tissue, head.grid, head.grid, lie), head.tissue, atol=1e-4)


def test_the_brain_keeps_its_volume_and_centre_in_any_pose():
    head = template(4.0)
    brain = head.brain.astype(np.float32)
    grid = scan_grid((70, 70, 30), (4.0, 4.0, 8.0), np.diag([-1.0, -1.0, 1.0]), (10.0, -5.0, 30.0))
    seen = see(brain, head.grid, grid, pose((12, -5, 8), (10.0, -5.0, 30.0)))
    assert seen.sum() * 128 == pytest.approx(brain.sum() * 64, rel=0.02)
    middle = grid.matrix[:3, :3] @ np.array([(np.indices(seen.shape)[i] * seen).sum() / seen.sum() for i in range(3)])
    np.testing.assert_allclose(middle + grid.matrix[:3, 3], [10, -5, 30], atol=9)


def test_a_scan_grid_has_its_middle_where_it_was_asked():
    grid = scan_grid((5, 7, 9), (1.0, 2.0, 3.0), np.diag([-1.0, 1.0, 1.0]), (4.0, 5.0, 6.0))
    np.testing.assert_allclose(grid.matrix @ [2, 3, 4, 1], [4, 5, 6, 1])
    assert grid.spacing == (1.0, 2.0, 3.0)
    assert grid.orientation == "LAS"


def test_the_largest_shares_make_the_mask():
    share = np.linspace(0, 1, 27, dtype=np.float32).reshape(3, 3, 3)
    allowed = np.ones((3, 3, 3), dtype=bool)
    assert largest(share, 4, allowed).ravel()[-4:].all()
    assert largest(share, 4, allowed).sum() == 4
    assert largest(share * 0.001, 4, allowed).sum() == 1  # a lesion never vanishes
    assert largest(share, 0, allowed).sum() == 0
    assert mni_grid(4.0).shape == (49, 58, 47)
