"""One window in the middle of a volume: where it lies, that the rest is 0, and what a full region does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_inference_predict import case_on

from strokelab.errors import ConfigError
from strokelab.grid import Grid
from strokelab.inference.centre_window import CentreWindow
from strokelab.inference.postprocess import threshold
from strokelab.inference.predict import case_scores, covered_by, scores_together, to_native
from strokelab.inference.windows import PatchWindows

MNI = (197, 233, 189)


def brain_in(shape, *ends):
    brain = np.zeros(shape, bool)
    brain[tuple(slice(*each) for each in ends)] = True
    return brain


def shifted(image, brain):
    """Two maps that depend on the place in the window and on the brain; never 0."""
    ramp = torch.linspace(0.1, 0.2, image[0, 0].numel()).reshape(image.shape[2:])
    return torch.cat([image[:, :1].sigmoid() + ramp, brain + 2 * ramp], dim=1)


def volume_of(shape, seed=0):
    stream = np.random.default_rng(seed)
    return stream.standard_normal((2, *shape)).astype(np.float32), stream.random(shape) < 0.5


@pytest.mark.parametrize(
    ("shape", "ends", "centre", "start"),
    [
        (MNI, ((20, 100), (30, 90), (0, 40)), "auto", (26, 30, 10)),  # the template's grid: its middle
        (MNI, ((20, 100), (30, 90), (0, 40)), "brain", (0, 0, 0)),  # as far as the grid reaches
        (MNI, ((100, 197), (110, 233), (30, 189)), "brain", (53, 61, 21)),
        (MNI, ((20, 180), (30, 210), (0, 180)), "brain", (28, 34, 6)),
        ((193, 229, 193), ((20, 180), (30, 210), (0, 180)), "auto", (28, 34, 6)),
        ((193, 229, 193), ((20, 180), (30, 210), (0, 180)), "grid", (24, 28, 12)),
        ((193, 229, 193), ((0, 0), (0, 0), (0, 0)), "auto", (24, 28, 12)),  # no brain
        ((140, 300, 168), ((0, 140), (100, 200), (0, 9)), "auto", (-2, 64, 0)),
    ],
)
def test_where_the_window_lies(shape, ends, centre, start):
    assert CentreWindow((144, 172, 168), centre=centre).start(brain_in(shape, *ends)) == start


@given(
    shape=st.tuples(*[st.integers(2, 12)] * 3),
    window=st.tuples(*[st.integers(2, 12)] * 3),
    centre=st.sampled_from(["auto", "grid", "brain"]),
)
@settings(deadline=None, max_examples=60)
def test_scores_are_those_of_one_padded_window_and_0_elsewhere(shape, window, centre):
    plan, (image, brain) = CentreWindow(window, centre=centre), volume_of(shape)
    calls = []
    scores = plan(image, lambda *sample: calls.append(sample) or shifted(*sample), brain).numpy()
    ((sample, inside),) = calls
    assert (sample.shape, inside.shape, inside.dtype) == ((1, 2, *window), (1, 1, *window), torch.uint8)
    start, made, box = plan.start(brain), shifted(sample, inside)[0].numpy(), plan.covered(brain)
    for voxel in np.ndindex(*shape):
        there = tuple(index - first for index, first in zip(voxel, start, strict=True))
        looked_at = all(0 <= index < side for index, side in zip(there, window, strict=True))
        assert looked_at == all(each.start <= index < each.stop for index, each in zip(voxel, box, strict=True))
        expected = made[:, *there] if looked_at else [0, 0]
        assert scores[:, *voxel].tolist() == list(expected)
        if looked_at:
            assert sample[0, :, *there].tolist() == image[:, *voxel].tolist()
    margin = torch.ones(window, dtype=torch.bool)
    margin[tuple(slice(each.start - first, each.stop - first) for each, first in zip(box, start, strict=True))] = False
    assert not sample[0, :, margin].any()
    assert not inside[0, 0, margin].any()


def test_a_full_region_is_windows_over_the_whole_grid():
    image, brain = volume_of((14, 11, 9))
    plan = CentreWindow((6, 4, 8), region="full")
    assert plan.covered(brain) is None
    same = PatchWindows((6, 4, 8), mirror="none")
    np.testing.assert_array_equal(plan(image, shifted, brain), same(image, shifted, brain))


def test_models_side_by_side_get_the_numbers_of_one_after_the_other():
    prepared = case_on(Grid.of((12, 10, 9), np.eye(4)))
    plan = CentreWindow((6, 6, 6))
    predicts = [shifted, lambda image, brain: 1 - shifted(image, brain)]
    how = {"windows": plan, "lesion_channel": 1, "device": "cpu", "precision": "32", "classes": False}
    for together, predict in zip(scores_together(prepared, predicts=predicts, **how), predicts, strict=True):
        alone = case_scores(prepared, predict=predict, windows=plan, lesion_channel=1)
        np.testing.assert_array_equal(together.lesion, alone.lesion)


class TestCovered:
    NATIVE = Grid.of((12, 10, 9), np.diag([-1.0, 1.0, 1.0, 1.0]))

    def test_is_where_probabilities_are_on_the_native_grid_also_of_a_turned_and_cropped_case(self):
        for crop in (None, ((3, 0, 0), (8, 10, 9))):
            prepared = case_on(self.NATIVE, crop=crop)
            plan = CentreWindow((6, 6, 6))
            scores = case_scores(prepared, predict=lambda image, brain: image.sigmoid(), windows=plan)
            covered = covered_by([(prepared, plan)])
            made = to_native(prepared, scores, postprocess=threshold, covered=covered)
            np.testing.assert_array_equal(made.covered, made.probability > 0)
            assert made.covered.sum() == 6**3

    def test_what_a_crop_of_the_preparation_cut_is_not_looked_at(self):
        prepared = case_on(self.NATIVE, crop=((3, 0, 0), (8, 10, 9)))
        assert covered_by([(prepared, CentreWindow((12, 10, 9)))]).sum() == 8 * 10 * 9

    def test_of_several_members_is_their_union_and_nothing_where_one_looks_everywhere(self):
        prepared = case_on(self.NATIVE)
        wide, high = CentreWindow((12, 2, 2)), CentreWindow((2, 2, 9))
        assert covered_by([(prepared, wide), (prepared, high)]).sum() == 12 * 4 + 9 * 4 - 8
        for everywhere in (PatchWindows((6, 6, 6)), CentreWindow((6, 6, 6), region="full")):
            assert covered_by([(prepared, wide), (prepared, everywhere)]) is None


@pytest.mark.parametrize(
    ("setting", "value"), [("window", (0, 4, 4)), ("region", "middle"), ("centre", "head"), ("accumulate", "disk")]
)
def test_settings_out_of_range(setting, value):
    with pytest.raises(ConfigError, match=rf"view\.windows\.{setting}"):
        CentreWindow(**{"window": (4, 4, 4), setting: value})


def test_an_image_and_a_brain_that_do_not_fit():
    with pytest.raises(ValueError, match="expected"):
        CentreWindow((4, 4, 4))(np.zeros((1, 8, 8, 8), np.float32), shifted, np.zeros((8, 8, 9), bool))
