"""MAPPING's post-processing: its choices, its units, its yaml and what it refuses; the method itself: tests/papers."""

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from mapping_volumes import CASES, FIVE, cubes
from omegaconf import OmegaConf

from strokelab.errors import ConfigError
from strokelab.inference.postprocess import finish, mapping, small_components, threshold

CONF = Path(__file__).parents[2] / "conf" / "postprocess"


def test_which_core_goes_can_be_chosen():
    weak = cubes(*FIVE)
    weak[11:14, 5:8, 5:8] = 0.75  # the second smallest, and the weakest of the three smallest
    assert not mapping(weak)[2:4].any()
    assert mapping(weak, drop_extra="weakest")[2:4].any()
    assert not mapping(weak, drop_extra="weakest")[11:14].any()
    for off in ("off", False):
        assert mapping(weak, drop_extra=off).sum() == 440
    twins = cubes(*[((corner, 5, 5), 3, 0.9) for corner in (2, 11, 20, 29, 38)])
    for order in "CF":
        mask = mapping(np.array(twins, order=order))
        assert not mask[2:5].any(), "of equal ones the first in the file's order, x fastest"
        assert mask.sum() == 4 * 27
        upright = mapping(np.array(twins.transpose(2, 1, 0), order=order))
        assert not upright[:, :, 2:5].any()


def test_the_size_limit_is_a_volume():
    fine = cubes((2, 15, 0.9), (30, 3, 0.53))  # 3402 voxels: much lesion at 1 mm, little at 0.5 mm
    assert mapping(fine).sum() == 3402
    assert mapping(fine, voxel_mm3=0.125).sum() == 3375, "the weak one has no core at 0.7"
    assert finish(mapping, fine, voxel_mm3=0.125).sum() == 3375
    assert finish(threshold, fine, voxel_mm3=0.125).sum() == 3402
    assert finish(lambda p: p > 0.6, fine, voxel_mm3=0.125).sum() == 3375, "a user's own takes the map alone"


def test_the_yaml_holds_the_constants_of_the_method():
    post = instantiate(OmegaConf.load(CONF / "mapping.yaml"))
    for probability, voxels, _ in CASES.values():
        assert finish(post, probability, voxel_mm3=1.0).sum() == voxels
    assert finish(instantiate(OmegaConf.load(CONF / "small_components.yaml")), CASES[9][0], voxel_mm3=8).sum() == 3402
    assert small_components(CASES[9][0]).sum() == 3402


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"high_small": 0.4}, "high_small"),
        ({"relax": 0.6}, "relax"),
        ({"low": -0.1, "relax": -0.2}, "low"),
        ({"high_large": float("nan")}, "high_large"),
        ({"size_limit": -1}, "size_limit"),
        ({"drop_extra": "largest"}, "smallest, weakest, off"),
        ({"fallback": "all"}, "nearest_max, empty"),
    ],
)
def test_impossible_constants_are_refused_by_name(wrong, named):
    with pytest.raises(ConfigError, match=named):
        mapping(CASES[1][0], **wrong)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_maximum_of_the_margin_itself_is_no_lesion_in_any_precision(kind):
    volume = np.full((6, 6, 6), 0.1, kind)
    assert not mapping(volume).any()
    assert mapping(np.nextafter(volume, kind(1))).any()
