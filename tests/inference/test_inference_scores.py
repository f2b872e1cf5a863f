"""Scores on their way to a prediction: logits after the mean and after the way back, all maps restored at once."""

from dataclasses import replace

import numpy as np
import pytest
from test_inference_predict import NATIVE, case_on

from strokelab.errors import ConfigError
from strokelab.inference.ensemble import means_of
from strokelab.inference.geometric_mean import GeometricMean
from strokelab.inference.postprocess import argmax, asks_classes, finish, threshold
from strokelab.inference.predict import case_scores, to_native
from strokelab.inference.scores import Scores
from strokelab.inference.windows import PatchWindows
from strokelab.preparation.restore import restore


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


def test_logits_are_averaged_as_such_and_disagreement_is_that_of_the_lesions_probability():
    maps = [Scores(random(3, 4, 5, 6, seed=seed), "logits", 1) for seed in range(3)]
    groups = {"all": {0: 1.0, 1: 1.0, 2: 1.0}, "pair": {0: 1.0, 2: 3.0}}
    found = dict(means_of(enumerate(maps), groups, disagreement=True))
    values = np.stack([one.values for one in maps]).astype(float)
    done = found["all"].finished()
    np.testing.assert_allclose(done.classes, softmax(values.mean(axis=0)), atol=1e-6)
    np.testing.assert_array_equal(done.lesion, done.classes[1])
    spread = np.std([softmax(one)[1] for one in values], axis=0)
    np.testing.assert_allclose(done.disagreement, spread, atol=1e-6)
    np.testing.assert_allclose(found["pair"].values, (values[0] + 3 * values[2]) / 4, rtol=1e-5, atol=1e-6)


def test_of_sums_there_are_those_of_unfinished_groups_only():
    """A group is handed out with its last member, before the next member is made."""
    order = []

    def made():
        for member in "abc":
            order.append(member)
            yield member, Scores(np.full((2, 2, 2), ord(member), np.float32))

    groups = {"all": dict.fromkeys("abc", 1.0), "first": dict.fromkeys("ab", 1.0), "last": {"c": 1.0}}
    for name, mean in means_of(made(), groups):
        order.append((name, float(mean.lesion.mean())))
    assert order == ["a", "b", ("first", 97.5), "c", ("all", 98.0), ("last", 99.0)]


def test_single_precision_rounds_as_a_plain_sum_of_float32():
    maps = np.random.default_rng(0).random((7, 3, 4, 5), dtype=np.float32)
    total = maps[0]
    for one in maps[1:]:
        total = total + one
    scores = enumerate(map(Scores, maps))
    ((_, mean),) = means_of(scores, {"": dict.fromkeys(range(7), 1.0)}, dtype=np.float32)
    np.testing.assert_array_equal(mean.lesion, total / 7)


@pytest.mark.parametrize("spacing", [None, (3.0, 3.0, 3.0)])
def test_maps_come_home_together_as_each_of_them_alone(spacing):
    prepared = case_on(NATIVE, crop=((1, 2, -1), (4, 5, 5)), spacing=spacing)
    classes = softmax(random(3, *prepared.grid.shape))
    scores = Scores(classes, lesion_channel=2, disagreement=classes[0] / 2)
    made = to_native(prepared, scores, postprocess=threshold, classes=True)
    pairs = [(made.probability, classes[2]), (made.disagreement, classes[0] / 2)]
    for map_, expected in (*pairs, *zip(made.classes, classes, strict=True)):
        np.testing.assert_array_equal(map_, restore(expected, prepared.steps))
    assert to_native(prepared, scores, postprocess=threshold).classes is None
    np.testing.assert_array_equal(to_native(prepared, scores, postprocess=threshold).probability, made.probability)


def test_logits_can_come_home_before_they_are_finished():
    """Post-processing then works on the native grid, and there is no lesion where no window was."""
    prepared = case_on(NATIVE, crop=((1, 2, 0), (4, 5, 3)), spacing=(3.0, 3.0, 3.0))
    logits = random(3, *prepared.grid.shape, seed=4)
    seen = {}

    def post(probability, *, classes, lesion_channel, voxel_mm3):
        seen.update(shape=classes.shape, channel=lesion_channel, volume=voxel_mm3)
        return argmax(probability, classes=classes, lesion_channel=lesion_channel)

    for channel in (1, 0):
        scores = Scores(logits, "logits", channel)
        made = to_native(prepared, scores, postprocess=post, where="native", classes=True)
        assert seen == {"shape": (3, *NATIVE.shape), "channel": channel, "volume": 8.0}
        home = softmax(restore(logits, prepared.steps))
        inside = restore(np.ones(prepared.grid.shape, np.uint8), prepared.steps, "nearest") > 0
        assert 0 < inside.sum() < inside.size
        np.testing.assert_allclose(made.classes[:, inside], home[:, inside], atol=1e-6)
        np.testing.assert_array_equal(made.mask[inside], home.argmax(axis=0)[inside] == channel)
        assert made.probability[~inside].max() < 1e-30
        assert made.mask[~inside].sum() == 0
    single = to_native(prepared, Scores(logits[:1], "logits"), postprocess=argmax, where="native")
    np.testing.assert_array_equal(single.mask[inside], (restore(logits[0], prepared.steps) >= 0)[inside])
    assert single.probability[~inside].max() < 1e-30
    finished_first = to_native(prepared, Scores(logits, "logits", 1), postprocess=threshold)
    assert np.abs(finished_first.probability - home[1])[inside].max() > 1e-3, "the order matters"


def test_windows_may_leave_their_mean_as_logits():
    import torch

    prepared = case_on(NATIVE)
    weight = torch.randn(2, 2, 1, 1, 1, generator=torch.Generator().manual_seed(1))

    def predict(image, brain):
        return torch.nn.functional.conv3d(image, weight).softmax(1)

    plan = PatchWindows((4, 4, 4), mirror="x")
    left, done = (
        case_scores(prepared, predict=predict, windows=GeometricMean(plan, scores=kind), lesion_channel=1)
        for kind in ("logits", "probabilities")
    )
    assert (left.kind, left.values.shape) == ("logits", (2, *prepared.grid.shape))
    assert (done.kind, done.values.shape) == ("probabilities", prepared.grid.shape)
    np.testing.assert_allclose(left.finished().lesion, done.lesion, atol=1e-6)

    def single(image, brain):
        return predict(image, brain)[:, 1:]

    left, done = (
        case_scores(prepared, predict=single, windows=GeometricMean(plan, scores=kind))
        for kind in ("logits", "probabilities")
    )
    np.testing.assert_allclose(left.finished().lesion, done.lesion, atol=1e-6)
    mixed = torch.nn.functional.conv3d(torch.as_tensor(prepared.image)[None], weight)[0]
    np.testing.assert_allclose(done.lesion, (mixed[1] - mixed[0]).sigmoid(), atol=1e-5)
    with pytest.raises(ConfigError, match="scores"):
        GeometricMean(plan, scores="odds")


def test_argmax_takes_the_lesion_where_it_is_the_most_probable_class():
    classes = np.array([[0.5, 0.4, 0.2, 0.0], [0.5, 0.3, 0.5, 0.0], [0.0, 0.3, 0.3, 0.0]], np.float32).reshape(
        3, 4, 1, 1
    )
    expected = {0: [1, 1, 0, 0], 1: [0, 0, 1, 0], 2: [0, 0, 0, 0], -2: [0, 0, 1, 0]}
    for channel, mask in expected.items():
        made = finish(argmax, classes[channel], voxel_mm3=1.0, classes=classes, lesion_channel=channel)
        assert made.dtype == np.uint8
        assert made.ravel().tolist() == mask
    single = np.array([0.49, 0.5, 0.9, np.nan], np.float32).reshape(1, 4, 1, 1)
    np.testing.assert_array_equal(argmax(single[0], classes=single), threshold(single[0]))
    with pytest.raises(ConfigError, match="all classes"):
        finish(argmax, classes[0], voxel_mm3=1.0)
    assert asks_classes(argmax)
    assert not asks_classes(threshold)


def test_finished_scores_are_left_as_they_are():
    scores = Scores(softmax(random(2, 3, 3, 3)), lesion_channel=1)
    assert scores.finished().values is scores.values
    alone = replace(scores, values=scores.lesion)
    assert alone.classes is None
    np.testing.assert_array_equal(alone.finished().lesion, scores.finished(classes=False).values)
