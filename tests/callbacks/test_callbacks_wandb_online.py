"""Online, against a server of this machine: one run over its starts, uploads of offline parts, the board published."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from wandb_files import offline_runs
from wandb_server import WandbServer

from strokelab.callbacks.run_facts import STEP, RunFacts
from strokelab.callbacks.weights_and_biases import WeightsAndBiases
from strokelab.dashboard import Board, publish
from strokelab.errors import ConfigError


@pytest.fixture
def server(monkeypatch, tmp_path):
    import wandb

    wandb.teardown()  # its process remembers the server of whatever ran before
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home"))
        monkeypatch.delenv("WANDB_MODE", raising=False)
        monkeypatch.delenv("WANDB_ENTITY", raising=False)
        yield server
        wandb.teardown()


def train(facts, steps, *, mode=None, status=0):
    """Two calls per step, as Lightning's; ``metrics.csv`` up to the checkpoint is there where the run goes on."""
    logger = WeightsAndBiases(facts.folder, mode=mode)
    logger.describe(facts)
    for step in steps:
        logger.log_metrics({"loss": step / 8}, step=step)
        logger.log_metrics({"val": step / 4}, step=step)
    logger.close(status)
    return logger


def write_history(folder, steps):
    with (folder / "metrics.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["step", "loss", "val"])
        rows.writerows([step, step / 8, step / 4] for step in steps)


def seen(server, run):
    return [(row[STEP], row["loss"], row["val"]) for row in server.rows(run)]


def expected(steps):
    return [(step, step / 8, step / 4) for step in steps]


@pytest.fixture
def facts(tmp_path):
    return RunFacts(tmp_path, "unet", "atlas_v1", False, split="kfold", fold="2", held_out="", seed=0, sweep="five")


@pytest.mark.slow
def test_a_requeued_run_stays_one_run_online(server, facts, capsys):
    train(facts, range(6), status=143)
    assert f"W&B online: {server.url}/me/strokelab/runs/" in capsys.readouterr().out
    (run,) = server.runs
    assert server.runs[run]["exit"] == 143
    write_history(facts.folder, range(4))
    train(replace(facts, resumed_step=4), range(4, 9))
    assert list(server.runs) == [run]
    assert seen(server, run) == expected(range(9)), "steps 4 and 5 were trained twice and stand once"
    known = server.runs[run]
    assert known["exit"] == 0
    assert (known["displayName"], known["groupName"]) == ("unet-atlas_v1-fold2-seed0", "five")


@pytest.mark.slow
def test_offline_parts_go_up_as_one_run(server, facts):
    train(facts, range(6), mode="offline", status=143)
    write_history(facts.folder, range(4))
    train(replace(facts, resumed_step=4), range(4, 9), mode="offline")
    (part,) = offline_runs(facts.folder)
    assert not server.runs
    command = [str(Path(sys.executable).with_name("wandb")), "sync", str(part.folder)]
    done = subprocess.run(command, env={**os.environ, "WANDB_SERVICE": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(server.runs) == [part.run.run_id]
    assert seen(server, part.run.run_id) == expected(range(9))


def test_a_board_is_published_where_the_login_may(server):
    address = publish(Board(dataset="atlas_v1"))
    assert address.startswith(f"{server.url}/me/strokelab")
    (view,) = server.views
    assert "test/dice" in str(view)
    assert "atlas_v1" in str(view)


def test_nobody_publishes_without_a_login(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ConfigError, match="wandb login"):
        publish(Board())


def test_when_wandb_fails_the_training_goes_on(facts, capsys):
    logger = WeightsAndBiases(facts.folder, mode="offline")
    logger.describe(facts)
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.experiment.finish()  # as if its process had died
    for step in (1, 2):
        logger.log_metrics({"loss": 1.0}, step=step)
    logger.close(0)
    said = capsys.readouterr().out
    assert said.count("W&B failed") == 1
    assert "metrics.csv has its numbers" in said
    assert "WANDB_DATA_DIR" not in os.environ, "the next run's files are its own"
