"""Whole validation volumes: the numbers of score_case, averaged, when it is their turn."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from strokelab.callbacks.case_metrics import CaseMetrics
from strokelab.contract import PreparedCase
from strokelab.grid import Grid
from strokelab.metrics import score_case

SHAPE = (6, 5, 4)
GRID = Grid.of(SHAPE, np.diag([1.0, 2.0, 3.0, 1.0]))


def stored(lesion, image=None):
    prepared = PreparedCase(
        case_id="a",
        subject_id="a",
        site=None,
        channels=("T1w",),
        image=(np.zeros(SHAPE) if lesion is None else lesion if image is None else image)[None].astype(np.float32),
        lesion=lesion,
        brain=np.ones(SHAPE, bool),
        grid=GRID,
        steps=(),
        native=GRID,
    )
    return SimpleNamespace(load=lambda: prepared)


def block(x):
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[x : x + 2, 1:3, 1:3] = 1
    return lesion


def predict_shifted(image, brain):
    """The lesion one voxel to the right: the image of these cases is their lesion."""
    return torch.roll(image, 1, dims=2)


class Model(SimpleNamespace):
    device = torch.device("cpu")
    lesion_channel = 0
    predict_scores = staticmethod(predict_shifted)

    def log(self, name, value, **options):
        self.logged[name] = value


def run(cases, epoch, **settings):
    model = Model(logged={})

    def whole(image, predict, brain):
        return predict(torch.as_tensor(image.copy())[None], torch.as_tensor(brain)[None])[0]

    view = SimpleNamespace(windows=whole)
    datamodule = SimpleNamespace(volumes=lambda part: cases if part == "val" else [], view=view)
    trainer = SimpleNamespace(sanity_checking=settings.pop("sanity", False), current_epoch=epoch, datamodule=datamodule)
    CaseMetrics(**settings).on_validation_epoch_end(trainer, model)
    return model.logged


def test_means_over_cases_under_the_names_of_score_case():
    lesions = [block(0), block(2)]
    expected = [score_case(np.roll(lesion, 1, 0), lesion, GRID.spacing) for lesion in lesions]
    logged = run([stored(lesion) for lesion in lesions], epoch=3, every_n_epochs=4)
    assert set(logged) == {f"val/{name}" for name in expected[0]}
    assert logged["val/dice"] == pytest.approx(0.5)
    for name in expected[0]:
        assert logged[f"val/{name}"] == pytest.approx(np.mean([row[name] for row in expected])), name


def test_infinite_distances_are_left_out_and_unlabelled_cases_are_skipped():
    missed = stored(block(1), image=np.zeros(SHAPE))
    logged = run([stored(block(1)), missed, stored(None)], epoch=0, every_n_epochs=1)
    alone = run([stored(block(1))], epoch=0, every_n_epochs=1)
    assert np.isfinite(list(logged.values())).all()
    assert logged["val/hd95"] == pytest.approx(alone["val/hd95"])
    assert logged["val/recall"] == pytest.approx(alone["val/recall"] / 2)


@pytest.mark.parametrize(
    ("epoch", "every", "turn"), [(0, 4, False), (3, 4, True), (7, 4, True), (0, 1, True), (3, None, False)]
)
def test_turns(epoch, every, turn):
    assert bool(run([stored(block(1))], epoch=epoch, every_n_epochs=every)) == turn


def test_nothing_while_lightning_checks_itself_nobody_validates_or_few_are_wanted():
    assert run([stored(block(1))], epoch=0, every_n_epochs=1, sanity=True) == {}
    assert run([], epoch=0, every_n_epochs=1) == {}
    few = run([stored(block(1)), stored(np.zeros(SHAPE, np.uint8))], epoch=0, every_n_epochs=1, max_cases=1)
    assert few == run([stored(block(1))], epoch=0, every_n_epochs=1)


def test_its_own_post_processing():
    keep_nothing = lambda probability: np.zeros(probability.shape, np.uint8)  # noqa: E731
    assert run([stored(block(1))], epoch=0, every_n_epochs=1, postprocess=keep_nothing)["val/recall"] == 0
