"""The arithmetic of a campaign: sums done by hand, and what must hold whatever the numbers."""

import csv
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from strokelab.campaign import lines
from strokelab.campaign.command import gpu_counts
from strokelab.campaign.plan import Campaign, case_seconds, forecast, step_seconds, teachers, training_hours
from strokelab.cli import app
from strokelab.errors import ConfigError

# 10 trainings of 100 steps of 36 s: an hour each; the test part is 2 cases of 1.5 h.
HANDY = Campaign(
    **{"cases": 10, "unlabelled": 4, "schemes": 2, "folds": 5, "epochs": 10, "iterations": 10, "validation": 0},
    **{"seconds_per_step": 36.0, "seconds_per_case": 5398.0, "host_seconds": 2.0, "slowest": 1.0, "queue_limit": 3.0},
    **{"ddp_efficiency": 0.5, "requeue_minutes": 6.0, "batch": 2},
)


def test_one_training_by_hand():
    assert step_seconds(HANDY) == 36
    assert case_seconds(HANDY) == 5400
    # 1 h of steps + 2 x 1.5 h of cases = 4 h: one requeue of 6 minutes.
    assert training_hours(HANDY) == pytest.approx(4.1)
    assert training_hours(replace(HANDY, queue_limit=4.0)) == pytest.approx(4.0)  # it just fits
    # Two GPUs at half efficiency are as fast as one at the steps, and twice as fast at the cases: 1 + 1.5 h.
    assert training_hours(HANDY, 2) == pytest.approx(2.5)
    assert training_hours(HANDY, work=2.0) == pytest.approx(5.1)
    # A validation step has no backward pass: 10 x (10 + 6 / 3) x 36 s.
    assert training_hours(replace(HANDY, validation=6)) == pytest.approx(1.2 + 3 + 0.1)


def test_stages_and_waves_by_hand():
    found = forecast(HANDY, 4)
    train, label, student = found.stages
    # 5 teachers on 4 GPUs: two waves of 4.1 h; as pairs three waves of 2.5 h.
    assert (train.members, train.gpus_each, train.waves) == (5, 2, 3)
    assert train.hours == pytest.approx(7.5)
    assert label.hours == pytest.approx(math.ceil(5 * 4 / 4) * 1.5)
    assert student.hours == pytest.approx(7.5)
    assert found.hours == pytest.approx(22.5)
    assert found.nodes == 1
    assert [stage.name for stage in forecast(replace(HANDY, self_training=False), 4).stages] == ["training"]
    assert teachers(replace(HANDY, self_training=False)) == 10
    assert forecast(HANDY, 64).most_busy == 10
    assert forecast(HANDY, 17).nodes == 3


def test_disk_and_memory_by_hand():
    small = replace(HANDY, voxels=1_000_000, channels=2, parameters=1_000_000, checkpoints=3, gpus_per_node=4)
    store, checkpoints, predictions, total = lines.disk(small)
    assert store.value == pytest.approx(10 * 0.010 + 4 * 0.009)  # float32 x 2 + uint8 + bool, without the label
    assert checkpoints.value == pytest.approx(10 * 3 * 0.008)
    assert predictions.value == pytest.approx((10 * 2 + 4) * 0.005)
    assert total.value == pytest.approx(store.value + checkpoints.value + predictions.value)
    gpu, processes, cache, node = lines.memory(small)
    assert gpu.value == pytest.approx(0.012 + 6)
    assert processes.value == pytest.approx(4 * (4 + 4 * 0.5))
    assert cache.value == store.value
    assert node.value == pytest.approx(processes.value + cache.value)
    assert lines.gpu_hours(HANDY).value == pytest.approx(5 * (4.1 + 4.1) + 20 * 1.5)


def test_the_paper_s_campaign():
    campaign = Campaign()
    assert campaign.voxels == 8_675_289
    assert step_seconds(campaign) == pytest.approx(5.73 / 78)
    assert lines.store_gb(campaign).value == pytest.approx(47.1, abs=0.05)
    # Each training has as many GPUs as its batch has samples; further ones only help with pseudo-labels.
    few, many = forecast(campaign, 64), forecast(campaign, 512)
    assert few.most_busy == many.most_busy == 30
    assert many.hours < few.hours < 1.05 * many.hours


campaigns = st.builds(
    Campaign,
    cases=st.integers(1, 2000),
    unlabelled=st.integers(0, 500),
    schemes=st.integers(2, 6),
    folds=st.integers(1, 10),
    self_training=st.booleans(),
    batch=st.integers(1, 8),
    seconds_per_step=st.floats(0.001, 100),
    slowest=st.floats(1, 3),
    ddp_efficiency=st.floats(0.1, 1),
    queue_limit=st.floats(0.5, 100),
    requeue_minutes=st.floats(0, 30),
)


@given(campaigns, st.integers(1, 600))
def test_twice_the_gpus_never_take_longer(campaign, gpus):
    one, two = forecast(campaign, gpus), forecast(campaign, 2 * gpus)
    assert two.hours <= one.hours * (1 + 1e-12)
    assert one.most_busy <= gpus
    assert one.nodes * campaign.gpus_per_node >= gpus > (one.nodes - 1) * campaign.gpus_per_node


@given(campaigns, st.integers(1, 600))
def test_more_trainings_than_gpus_are_queued_and_nothing_is_faster_than_its_longest(campaign, gpus):
    for stage in forecast(campaign, gpus).stages:
        if stage.members:
            assert (stage.waves - 1) * (gpus // stage.gpus_each) < stage.members
            assert stage.waves * (gpus // stage.gpus_each) >= stage.members
            assert stage.hours >= training_hours(campaign, stage.gpus_each)


@given(campaigns, st.integers(1, 5))
def test_more_work_never_takes_less(campaign, gpus):
    more = replace(campaign, cases=campaign.cases + 1, folds=campaign.folds, epochs=campaign.epochs + 1)
    assert forecast(more, gpus).hours >= forecast(campaign, gpus).hours * (1 - 1e-12)
    assert lines.disk(more)[-1].value > lines.disk(campaign)[-1].value


@given(campaigns)
def test_formulas_hold_what_they_say(campaign):
    for line in [*lines.costs(campaign), *lines.disk(campaign), *lines.memory(campaign)]:
        assert line.formula
        assert line.source
        assert math.isfinite(line.value)
    store = lines.store_gb(campaign)
    assert eval(re.sub(r"bytes|,", "", store.formula).replace(" x ", " * ")) / 1e9 == pytest.approx(store.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cases": 0},
        {"folds": -1},
        {"efficiency": 1.5},
        {"slowest": 0.5},
        {"schemes": 1},
        {"tflops": math.nan},
        {"queue_limit": 0},
        {"host_seconds": -1},
    ],
)
def test_numbers_that_are_none_are_named(wrong):
    with pytest.raises(ConfigError) as caught:
        replace(Campaign(), **wrong)
    assert next(iter(wrong)).replace("_", "-") in str(caught.value)


def test_gpu_counts():
    assert gpu_counts("8, 64 512") == [8, 64, 512]
    for wrong in ("", "8;64", "-1", "many"):
        with pytest.raises(ConfigError):
            gpu_counts(wrong)
    with pytest.raises(ConfigError, match="gpus"):
        forecast(HANDY, 0)


def test_the_command_prints_the_user_s_numbers_and_writes_them(tmp_path):
    file = tmp_path / "plan.csv"
    done = CliRunner().invoke(
        app,
        f"plan --gpus 4,16 --cases 40 --seconds-per-step 0.5 --no-self-training --queue-limit 1 --csv {file}",
        env={"COLUMNS": "300"},
    )
    assert done.exit_code == 0, done.output
    assert "40 cases x 4 schemes x 5 folds: 20 trainings" in done.output
    assert "ceil(20 / " in done.output
    assert "pseudo-labels: ceil" not in done.output
    rows = list(csv.DictReader(file.open()))
    own = Campaign(cases=40, seconds_per_step=0.5, self_training=False, queue_limit=1.0)
    hours = {row["part"]: float(row["value"]) for row in rows if row["name"] == "in all"}
    assert hours == {f"{gpus} GPUs": pytest.approx(forecast(own, gpus).hours) for gpus in (4, 16)}
    assert any(row["name"] == "training step" and row["source"] == "given" for row in rows)
    assert {row["part"] for row in rows} >= {"disk", "memory"}


def test_every_number_is_an_option_with_a_word_of_explanation():
    done = CliRunner().invoke(app, ["plan", "--help"], env={"COLUMNS": "200"})
    for name in Campaign.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in done.output
    assert "ATLAS v2.0 has 655" in done.output
