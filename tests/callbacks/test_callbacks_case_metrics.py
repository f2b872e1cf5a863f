"""Whole validation volumes: the numbers of the evaluation, when it is their turn."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from strokelab.callbacks.case_metrics import CaseMetrics
from strokelab.contract import PreparedCase
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.grid import Grid
from strokelab.metrics import METRICS, score_case, score_row
from strokelab.metrics.profiles import CASE_METRICS
from strokelab.statistics.aggregate import micro_dice, summarize

SHAPE = (6, 5, 4)
GRID = Grid.of(SHAPE, np.diag([1.0, 2.0, 3.0, 1.0]))
BESIDE = {"val/micro_dice", "val/cases", "val/failed_cases"} | {
    f"val/{name}_infinite" for name in ("hd", "hd95", "assd")
}


def stored(lesion, image=None, case_id="a"):
    prepared = PreparedCase(
        case_id=case_id,
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
    return SimpleNamespace(load=lambda: prepared, case_id=case_id)


def block(x):
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[x : x + 2, 1:3, 1:3] = 1
    return lesion


NOTHING = np.zeros(SHAPE, np.uint8)


def predict_shifted(image, brain):
    """The lesion one voxel to the right: the image of these cases is their lesion."""
    return torch.roll(image, 1, dims=2)


class Model(SimpleNamespace):
    device = torch.device("cpu")
    lesion_channel = 0
    predict_scores = staticmethod(predict_shifted)

    def log(self, name, value, **options):
        self.logged[name] = value.item()


def run(cases, epoch=0, every_n_epochs=1, any_contrast=False, **settings):
    model = Model(logged={})

    def whole(image, predict, brain):
        return predict(image[None], brain[None])[0]

    view = SimpleNamespace(windows=whole, any_contrast=any_contrast)
    datamodule = SimpleNamespace(volumes=lambda part: cases if part == "val" else [], view=view)
    trainer = SimpleNamespace(
        sanity_checking=settings.pop("sanity", False),
        current_epoch=epoch,
        datamodule=datamodule,
        world_size=1,
        global_rank=0,
        precision="32-true",
    )
    CaseMetrics(every_n_epochs, **settings).on_validation_epoch_end(trainer, model)
    return model.logged


def evaluated(cases, profile="default"):
    """The case table an evaluation would make of the same masks."""
    rows = []
    for index, case in enumerate(cases):
        prepared = case.load()
        mask = np.roll(prepared.image[0], 1, 0)
        rows.append({"case": index, **score_row(mask, prepared.lesion, GRID.spacing, profile), "error": ""})
    return pd.DataFrame(rows)


def test_means_over_cases_under_the_names_of_score_case():
    lesions = [block(0), block(2)]
    expected = [score_case(np.roll(lesion, 1, 0), lesion, GRID.spacing) for lesion in lesions]
    logged = run([stored(lesion) for lesion in lesions], epoch=3, every_n_epochs=4)
    assert set(logged) == {f"val/{name}" for name in expected[0]} | BESIDE
    assert logged["val/dice"] == pytest.approx(0.5)
    assert logged["val/micro_dice"] == pytest.approx(0.5)
    assert (logged["val/cases"], logged["val/failed_cases"]) == (2, 0)
    for name in expected[0]:
        assert logged[f"val/{name}"] == pytest.approx(np.mean([row[name] for row in expected])), name


@pytest.mark.parametrize("profile", ["default", "atlas", "isles22", "tomita"])
def test_the_numbers_are_those_of_an_evaluation_to_the_last_bit(profile):
    missed = stored(block(1), image=NOTHING)
    cases = [stored(block(0)), missed, stored(block(3)), stored(NOTHING), stored(np.maximum(block(0), block(4)))]
    table = evaluated(cases, profile)
    logged = run(cases, profile=profile)
    for line in summarize(table).itertuples():
        assert logged[f"val/{line.metric}"] == line.mean, line.metric
        assert logged.get(f"val/{line.metric}_infinite", 0) == line.infinite, line.metric
    assert logged["val/micro_dice"] == micro_dice(table)["micro_dice"].item()
    assert logged["val/micro_dice"] != logged["val/dice"]


def test_infinite_distances_are_left_out_and_counted():
    missed = stored(block(1), image=NOTHING)
    logged = run([stored(block(1)), missed])
    alone = run([stored(block(1))])
    assert np.isfinite(list(logged.values())).all()
    assert logged["val/hd95"] == pytest.approx(alone["val/hd95"])
    assert logged["val/recall"] == pytest.approx(alone["val/recall"] / 2)
    assert (logged["val/hd95_infinite"], alone["val/hd95_infinite"]) == (1, 0)
    nowhere = run([missed, missed])
    assert (nowhere["val/hd95"], nowhere["val/hd95_infinite"]) == (np.inf, 2)


def test_nothing_to_find_and_nothing_found_is_perfect_as_in_an_evaluation():
    logged = run([stored(NOTHING), stored(block(1))])
    assert logged["val/dice"] == pytest.approx((1 + 0.5) / 2)
    assert logged["val/micro_dice"] == pytest.approx(0.5)
    assert logged["val/hd95_infinite"] == 0


def test_cases_that_cannot_be_scored_are_named_and_counted():
    def broken():
        raise DataError("b.npz", found="half a file", expected="a prepared case", remedy="delete it")

    cases = [stored(block(1)), SimpleNamespace(load=broken, case_id="sub-02"), stored(None, case_id="sub-03")]
    with pytest.warns(DataWarning) as warned:
        logged = run(cases, epoch=4)
    texts = [str(warning.message) for warning in warned]
    assert len(texts) == 2
    assert "sub-02 is not in the validation metrics of epoch 5" in texts[0]
    assert "half a file" in texts[0]
    assert "sub-03" in texts[1]
    assert "no lesion mask" in texts[1]
    assert (logged["val/cases"], logged["val/failed_cases"]) == (1, 2)
    alone = run([stored(block(1))])
    assert logged | alone == logged | {"val/cases": 1, "val/failed_cases": 0}
    assert "val/dice_undefined" not in logged, "a failed case is not an undefined value"


def test_an_undefined_value_is_counted():
    logged = run([stored(NOTHING), stored(block(1))], metrics=["relative_volume_difference"])
    assert logged["val/relative_volume_difference"] == 0
    assert logged["val/relative_volume_difference_undefined"] == 1


@pytest.mark.parametrize(
    ("epoch", "every", "turn"), [(0, 4, False), (3, 4, True), (7, 4, True), (0, 1, True), (3, None, False)]
)
def test_turns(epoch, every, turn):
    assert bool(run([stored(block(1))], epoch=epoch, every_n_epochs=every)) == turn


def test_nothing_while_lightning_checks_itself_nobody_validates_or_few_are_wanted():
    assert run([stored(block(1))], sanity=True) == {}
    assert run([]) == {}
    few = run([stored(block(1)), stored(NOTHING)], max_cases=1)
    assert few == run([stored(block(1))])


def test_a_network_of_any_contrast_sees_each_image_alone():
    case = stored(block(0)).load()
    image = np.stack([weight * case.image[0] for weight in (0, 0.9, 0.9)])
    several = replace(case, channels=("DWI", "ADC", "FLAIR"), image=image)
    logged = run([SimpleNamespace(load=lambda: several, case_id="a")], any_contrast=True)
    assert logged["val/dice"] == pytest.approx(0.5)  # their mean is 0.6, the first alone is 0


def test_its_own_post_processing():
    keep_nothing = lambda probability: np.zeros(probability.shape, np.uint8)  # noqa: E731
    assert run([stored(block(1))], postprocess=keep_nothing)["val/recall"] == 0


def test_chosen_metrics_and_conventions():
    logged = run([stored(block(1))], profile="sunet", metrics=["dice", "hd_voxels"])
    expected = score_row(np.roll(block(1), 1, 0), block(1), GRID.spacing, "sunet")
    assert set(logged) == {
        *("val/dice", "val/hd_voxels", "val/hd_voxels_infinite"),
        *("val/micro_dice", "val/cases", "val/failed_cases"),
    }
    assert logged["val/hd_voxels"] == expected["hd_voxels"] == 1
    milliliters = run([stored(block(1), image=NOTHING)], metrics=["volume_difference"])
    voxels = run([stored(block(1), image=NOTHING)], metrics=["volume_difference"], profile="atlas")
    assert milliliters["val/volume_difference"] == pytest.approx(8 * 6 / 1000)
    assert voxels["val/volume_difference"] == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ["dice", "dise"]}, "dise"),
        ({"metrics": ["hd_voxels"]}, "hd_voxels"),
        ({"metrics": ["tp"]}, "tp"),
        ({"metrics": []}, "none"),
        ({"profile": "isles23"}, "isles23"),
    ],
)
def test_what_is_not_a_metric_of_the_profile_is_refused_before_training(settings, message):
    with pytest.raises(ConfigError, match=message):
        CaseMetrics(**settings)


@pytest.mark.parametrize(
    ("monitor", "looks_every", "every", "fits"),
    [
        ("val/dice", 1, 10, False),
        ("val/micro_dice", 15, 10, False),
        ("val/dice", 1, None, False),
        ("val/dice", 20, 10, True),
        ("val/dice", 1, 1, True),
        ("val/pooled_dice", 1, 10, True),
    ],
)
def test_a_callback_that_waits_for_a_number_finds_it(monitor, looks_every, every, fits):
    best = ModelCheckpoint(monitor=monitor, every_n_epochs=looks_every)
    callback = CaseMetrics(every)
    trainer = SimpleNamespace(callbacks=[callback, EarlyStopping("val/loss"), best])
    callback.setup(trainer, Model(logged={}), "validate")
    if fits:
        assert callback.setup(trainer, Model(logged={}), "fit") is None
    else:
        with pytest.raises(ConfigError, match=f"monitor={monitor}.*\n.*looks every {looks_every} epoch"):
            callback.setup(trainer, Model(logged={}), "fit")


def test_the_usual_metrics_are_those_of_score_case():
    assert CaseMetrics().metrics == CASE_METRICS
    assert set(CASE_METRICS) <= set(METRICS)
