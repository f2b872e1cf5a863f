"""Plans: nnU-Net's own for the same geometry, and around what is given."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import ConfigError
from strokelab.planning import Fingerprint, Planner
from strokelab.planning.topology import feature_values, topology_of
from strokelab.preparation.recipe import Preparation

BOXED = Preparation(("T1w",), box="nonzero")
WHOLE = Preparation(("T1w",))
WIDTHS = (32, 64, 128, 256, 320, 320)
CUBES = ((3, 3, 3),) * 6


def cohort(shape, spacing=(1, 1, 1), cases=655, share=1.0) -> Fingerprint:
    """Equal cases whose box has ``shape`` and takes ``share`` of the volume."""
    boxes = np.tile(np.asarray(shape), (cases, 1))
    shapes = boxes.copy()
    shapes[:, 2] = np.round(boxes[:, 2] / share)
    return Fingerprint(np.tile(np.asarray(spacing, dtype=float), (cases, 1)), shapes, boxes)


@pytest.mark.parametrize("shape", [(197, 233, 189), (189, 230, 189), (189, 233, 197)])
def test_atlas_is_planned_as_published(shape):
    """Spec, section 4: 128^3, batch 2, five poolings, for both networks: a plan does not ask which one."""
    plan = Planner().plan(cohort(shape), BOXED)
    assert plan.patch == (128, 128, 128)
    assert (plan.batch_size, plan.spacing, plan.normalize) == (2, (1, 1, 1), "zscore_volume")
    assert plan.widths == WIDTHS
    assert plan.kernels == CUBES
    assert plan.strides == ((1, 1, 1), *((2, 2, 2),) * 5)


# What nnunetv2 2.8.1's ExperimentPlanner says of the same geometry (`python -m benchmarks.nnunet_plans` asks it again).
PEER = [
    # box, mm, cases -> patch, batch, times each axis is pooled, kernels of the first two stages
    ((140, 175, 150), (1, 1, 1), 28, (112, 160, 128), 2, (4, 5, 5), CUBES[:2]),  # ISLES 2015 SISS
    ((72, 90, 70), (2, 2, 2), 30, (80, 96, 80), 2, (4, 4, 4), CUBES[:2]),  # ISLES 2015 SPES
    ((75, 90, 70), (2, 2, 2), 250, (80, 96, 80), 8, (4, 4, 4), CUBES[:2]),  # ISLES 2022
    ((160, 190, 22), (0.88, 0.88, 6.5), 250, (160, 192, 24), 5, (5, 5, 2), ((3, 3, 1), (3, 3, 1))),
    ((120, 150, 30), (1.2, 1.2, 5.0), 250, (128, 160, 32), 6, (5, 5, 3), ((3, 3, 1), (3, 3, 1))),
]


@pytest.mark.parametrize(("box", "mm", "cases", "patch", "batch", "poolings", "kernels"), PEER)
def test_other_cohorts_are_planned_as_nnunet_does(box, mm, cases, patch, batch, poolings, kernels):
    plan = Planner().plan(cohort(box, mm, cases, share=0.5), BOXED)
    assert (plan.patch, plan.batch_size, plan.normalize) == (patch, batch, "zscore_nonzero")
    assert tuple(sum(stage[axis] == 2 for stage in plan.strides) for axis in range(3)) == poolings
    assert plan.kernels[:2] == kernels
    assert plan.kernels[-1] == (3, 3, 3)


def test_coarse_slices_take_the_spacing_of_the_finest_tenth():
    seen = cohort((200, 200, 20), (1, 1, 8), cases=100)
    seen.spacings[:20, 2] = 4.0
    assert Planner().plan(seen, BOXED).spacing == (1, 1, 4)
    assert Planner(anisotropy=9).plan(seen, BOXED).spacing == (1, 1, 8)


def test_the_measure_of_memory_is_that_of_the_plain_network():
    """``compute_conv_feature_map_size`` of dynamic-network-architectures 0.4: 450,699,264 at 128^3, 563,374,080."""
    strides = ((1, 1, 1), *((2, 2, 2),) * 5)
    assert feature_values((128, 128, 128), strides, WIDTHS) == 450_699_264
    assert feature_values((128, 160, 128), strides, WIDTHS) == 563_374_080


sides, lengths = st.integers(24, 320), st.sampled_from([0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 6.5])


@settings(max_examples=60, deadline=None)
@given(st.tuples(sides, sides, sides), st.tuples(lengths, lengths, lengths), st.integers(3, 400), st.integers(0, 9))
def test_every_plan_holds(box, mm, cases, seed):
    rng = np.random.default_rng(seed)
    seen = cohort(box, mm, cases)
    seen.boxes[:] = np.maximum(16, seen.boxes * rng.uniform(0.8, 1.2, (cases, 1))).astype(int)
    plan = Planner().plan(seen, BOXED)
    topology = topology_of(plan.patch, plan.spacing)
    assert topology.strides == plan.strides, "the stages are those of the patch"
    assert all(side % divisor == 0 for side, divisor in zip(plan.patch, topology.divisors, strict=True))
    assert all(side // divisor >= 4 for side, divisor in zip(plan.patch, topology.divisors, strict=True))
    assert feature_values(plan.patch, plan.strides, plan.widths) <= 560e6
    assert len(plan.widths) == len(plan.kernels) == len(plan.strides)
    assert plan.batch_size >= 2
    order = rng.permutation(cases)
    shuffled = Fingerprint(seen.spacings[order], seen.shapes[order], seen.boxes[order])
    assert Planner().plan(shuffled, BOXED) == plan, "the order of the cases is nothing"
    larger = Planner(memory_gb=16).plan(seen, BOXED)
    assert math.prod(larger.patch) >= math.prod(plan.patch)


def test_what_is_given_is_obeyed_and_the_rest_follows():
    seen = cohort((197, 233, 189))
    small = Planner().plan(seen, BOXED, given={"patch": [64, 64, 64], "batch_size": 3})
    assert (small.patch, small.batch_size, len(small.strides)) == ((64, 64, 64), 3, 5)
    few = Planner().plan(seen, BOXED, given={"widths": [8, 16, 32]})
    assert (few.widths, len(few.strides)) == ((8, 16, 32), 3)
    coarse = Planner().plan(seen, BOXED, given={"spacing": [2.0, 2.0, 2.0], "normalize": "none"})
    assert (coarse.spacing, coarse.normalize, coarse.patch) == ((2, 2, 2), "none", (112, 128, 96))
    own = Planner().plan(seen, BOXED, given={"spacing": None})
    assert (own.spacing, own.patch) == (None, (128, 128, 128))
    flat = Planner().plan(seen, BOXED, given={"strides": [[1, 1, 1], [2, 2, 1]], "kernels": [[3, 3, 3], [3, 3, 1]]})
    assert (flat.strides, flat.kernels) == (((1, 1, 1), (2, 2, 1)), ((3, 3, 3), (3, 3, 1)))
    large = Planner().plan(seen, BOXED, given={"batch_size": 8})
    assert (large.batch_size, math.prod(large.patch) < 128**3 / 2) == (8, True)
    cropped = Planner().plan(seen, Preparation(("T1w",), crop=(64, None, 48)))
    assert (cropped.patch[0], cropped.patch[2]) == (64, 48)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"patch": [100, 96, 96]}, ["view.sampler.patch", "divisible by [16, 16, 16]", "[112, 96, 96]"]),
        ({"patch": [16, 16, 16], "widths": [4, 8, 8, 8]}, ["model.network.widths", "3", "fewer widths"]),
        ({"patch": [32, 32, 30], "strides": [[1, 1, 1], [2, 2, 4]]}, ["[32, 32, 32]"]),
        ({"kernels": [3, 3, 3]}, ["model.network.kernels", "three numbers per stage"]),
        ({"strides": 2}, ["model.network.strides", "three numbers per stage"]),
        ({"widths": 32}, ["model.network.widths", "one number per stage"]),
        ({"batch_size": 0}, ["data.batch_size", "at least 1"]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(given_, words):
    with pytest.raises(ConfigError) as caught:
        Planner().plan(cohort((197, 233, 189)), BOXED, given=given_)
    for word in words:
        assert word in str(caught.value)


def test_a_memory_without_room_is_refused():
    with pytest.raises(ConfigError, match=r"planner\.memory_gb"):
        Planner(memory_gb=1e-6).plan(cohort((197, 233, 189)), BOXED)
    with pytest.raises(ConfigError, match=r"planner\.width"):
        Planner(width=0)


def test_hemispheres_span_the_width_and_halves_divide():
    cropped = Preparation(("T1w",), crop=(192, None, None))
    plan = Planner().plan(cohort((197, 233, 189)), cropped, hemispheres=True)
    halves = (plan.patch[0] // 2, *plan.patch[1:])
    divisors = [math.prod(axis) for axis in zip(*plan.strides, strict=True)]
    assert plan.patch[0] == 192
    assert all(side % divisor == 0 for side, divisor in zip(halves, divisors, strict=True))
    assert feature_values(plan.patch, plan.strides, plan.widths) <= 560e6
    with pytest.raises(ConfigError, match=r"view\.preparation\.crop=\[224,null,null\]"):
        Planner().plan(cohort((197, 233, 189)), Preparation(("T1w",), crop=(194, None, None)), hemispheres=True)
