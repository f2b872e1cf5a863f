import numpy as np
import pytest

from strokelab.phantoms.anatomy import mni_grid
from strokelab.phantoms.fields import axes_of, smooth_field
from strokelab.seeding import stream


def test_axes_are_world_coordinates_of_voxel_centres():
    x, y, z = axes_of(mni_grid(1.0))
    assert (x[0], x[-1], y[0], y[-1], z[0], z[-1]) == (-98, 98, -134, 98, -72, 116)


def test_a_field_is_the_same_at_every_spacing():
    fine = tuple(np.arange(-60.0, 61.0, 2.0) for _ in range(3))
    coarse = tuple(axis[::3] for axis in fine)
    a, b = (smooth_field(stream(3, "field"), axes, 15.0) for axes in (fine, coarse))
    np.testing.assert_allclose(a[::3, ::3, ::3], b, atol=1e-4)


@pytest.mark.parametrize("pitch", [8.0, 25.0])
def test_a_field_has_mean_zero_unit_deviation_and_the_asked_smoothness(pitch):
    axes = tuple(np.arange(-120.0, 121.0, 4.0) for _ in range(3))
    fields = np.stack([smooth_field(stream(k, "field"), axes, pitch) for k in range(6)])
    assert abs(fields.mean()) < 0.15
    assert fields.std() == pytest.approx(1.0, abs=0.1)
    step = np.abs(np.diff(fields, axis=1)).mean()
    assert step == pytest.approx(0.8 * 4.0 / pitch, rel=0.35)
