"""A search with a stand-in for training: what it tries, what it remembers, how it goes on. Real Optuna, real SQLite."""

import copy
import functools
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf, open_dict

from strokelab.files import locked
from strokelab.sweeps.search import SearchSettings, search

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture(autouse=True)
def _a_script_is_running(monkeypatch):
    """As for who types python train.py; a worker of the test runner has no script."""
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(CONF.parent / "train.py"), raising=False)


@functools.cache
def of_words(*overrides):
    GlobalHydra.instance().clear()  # of tests before
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=["sweep=search", *overrides], return_hydra_config=True)


def composed(folder, *overrides):
    numbers = dict(word.split("=") for word in overrides if word.startswith("hydra.sweeper."))
    cfg = copy.deepcopy(of_words(*(word for word in overrides if not word.startswith("hydra.sweeper."))))
    with open_dict(cfg):
        cfg.data.root, cfg.hydra.sweep.dir = "somewhere", str(folder)
        for key, value in numbers.items():
            OmegaConf.update(cfg, key, yaml.safe_load(value))
    return cfg


class Trainings:
    """A launcher whose members are good near lr = 0.01; told to, it stops, or members fail."""

    def __init__(self):
        self.launched = []
        self.stop_at = self.fail = None

    def launch(self, jobs, initial_job_idx):
        if self.stop_at is not None and initial_job_idx >= self.stop_at:
            raise SystemExit(143)
        self.launched += [tuple(overrides) for overrides in jobs]
        return [self.result(tuple(overrides), initial_job_idx + index) for index, overrides in enumerate(jobs)]

    def result(self, overrides, number):
        if self.fail is not None and number in self.fail:
            return self.fail[number]
        rate = float(next(item for item in overrides if item.startswith("model.optimizer.lr=")).partition("=")[2])
        return SimpleNamespace(return_value=1 - abs(math.log10(rate) + 2) / 10)


class Failed:
    """The result of a member that did not finish."""

    @property
    def return_value(self):
        raise RuntimeError("killed by SIGKILL\nand more")


def run(folder, trainings, *words, arguments=("sweep=search", "model=unet2d")):
    cfg = composed(folder, *words)
    node = OmegaConf.to_container(cfg.hydra.sweeper, resolve=False)
    node = OmegaConf.to_container(OmegaConf.merge(cfg, {"hydra": {"sweeper": node}}).hydra.sweeper, resolve=True)
    settings = {key: value for key, value in node.items() if not key.startswith("_")}
    context = SimpleNamespace(config_loader=None)
    search(list(arguments), SearchSettings(**settings), trainings, config=cfg, context=context)


def test_a_search_finds_the_best_and_says_how_to_train_it(tmp_path, capsys):
    trainings = Trainings()
    run(tmp_path / "s", trainings, "hydra.sweeper.n_trials=4")
    assert len(set(trainings.launched)) == 4
    assert all(overrides[:2] == ("sweep=search", "model=unet2d") for overrides in trainings.launched)
    best = max(trainings.launched, key=lambda overrides: trainings.result(overrides, 99).return_value)
    said = capsys.readouterr().out
    content = yaml.safe_load((tmp_path / "s" / "optimization_results.yaml").read_text())
    assert content["command"] == f"python train.py model=unet2d {best[2]} {best[3]}"
    assert content["command"] in said
    assert content["best_value"] == trainings.result(best, 99).return_value
    assert content["objective"] == "val/pooled_dice"
    assert f"model.optimizer.lr={content['best_params']['model.optimizer.lr']:g}" in said
    assert (tmp_path / "s" / "multirun.yaml").is_file()


def test_a_second_start_runs_what_is_missing_of_as_many_as_asked_for(tmp_path):
    trainings = Trainings()
    for n_trials, launched in ((2, 2), (2, 2), (1, 2), (4, 4)):
        run(tmp_path, trainings, f"hydra.sweeper.n_trials={n_trials}")
        assert len(trainings.launched) == launched
    assert len(set(trainings.launched)) == 4


@pytest.mark.parametrize("stop_at", [0, 4])
def test_a_stopped_search_goes_on_as_if_it_had_not_been(tmp_path, stop_at):
    # Two at random, then results lead: what is chosen depends on what came before.
    words = ("hydra.sweeper.n_trials=6", "hydra.sweeper.batch=2", "hydra.sweeper.sampler.n_startup_trials=2")
    whole, parts = Trainings(), Trainings()
    run(tmp_path / "whole", whole, *words)
    parts.stop_at = stop_at
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "parts", parts, *words)
    assert stop.value.code == 143
    assert len(parts.launched) == stop_at
    parts.stop_at = None
    run(tmp_path / "parts", parts, *words)
    assert parts.launched == whole.launched


def test_failed_members_do_not_end_a_search_and_are_tried_once_more(tmp_path, capsys):
    trainings = Trainings()
    none, nan = SimpleNamespace(return_value=None), SimpleNamespace(return_value=math.nan)
    trainings.fail = {1: Failed(), 2: none, 3: nan}
    run(tmp_path, trainings, "hydra.sweeper.n_trials=5")
    said = capsys.readouterr().out
    assert "member 1: RuntimeError: killed by SIGKILL" in said
    assert "member 2: its objective is None" in said
    assert "member 3: its objective is nan" in said
    assert "Best of 2 results (3 of 5 members failed" in said
    first, trainings.launched, trainings.fail = trainings.launched, [], None
    run(tmp_path, trainings, "hydra.sweeper.n_trials=6")
    assert trainings.launched[:3] == first[1:4]
    assert len(trainings.launched) == 4
    assert "Best of 6 results: member" in capsys.readouterr().out
    trainings.launched = []
    run(tmp_path, trainings, "hydra.sweeper.n_trials=6")
    assert trainings.launched == []


def test_too_many_failures_end_it_where_that_is_asked_for(tmp_path, capsys):
    trainings = Trainings()
    trainings.fail = {0: Failed()}
    words = ("hydra.sweeper.n_trials=4", "hydra.sweeper.batch=2", "hydra.sweeper.max_failure_rate=0.4")
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, trainings, *words)
    assert stop.value.code == 1
    assert "1 of 2 members of a batch" in capsys.readouterr().out
    assert len(trainings.launched) == 2
    trainings.fail = dict.fromkeys(range(9), Failed())
    with pytest.raises(SystemExit):
        run(tmp_path / "none", trainings, "hydra.sweeper.n_trials=3")
    assert "no result of 3 members" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective=test/dice"], "settings chosen on test cases"),
        (["split=all"], "no validation part"),
        (["split.val_fraction=0"], "no validation part"),
        (["hydra.sweeper.direction=up"], "maximize or minimize"),
        (["hydra.sweeper.n_trials=0"], "at least 1"),
        (["hydra.sweeper.storage=nonsense://x"], "a database that Optuna can open"),
    ],
)
def test_what_is_no_honest_search_is_refused_by_name(tmp_path, words, message, capsys):
    trainings = Trainings()
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, trainings, *words)
    assert stop.value.code == 1
    assert message in capsys.readouterr().out
    assert trainings.launched == []


def test_other_settings_and_other_searches_keep_out(tmp_path, capsys):
    trainings = Trainings()
    run(tmp_path, trainings, "hydra.sweeper.n_trials=1")
    for other in (("sweep=search", "model=sgnet"), ("sweep=search", "model=unet2d", "seed=interval(1,5)")):
        with pytest.raises(SystemExit):
            run(tmp_path, trainings, "hydra.sweeper.n_trials=2", arguments=other)
        assert "a search with other settings" in capsys.readouterr().out
    with locked(tmp_path / ".search.lock"), pytest.raises(SystemExit):
        run(tmp_path, trainings, "hydra.sweeper.n_trials=2")
    assert "another search that is at work" in capsys.readouterr().out
    assert len(trainings.launched) == 1


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit):
        run(tmp_path, Trainings())
    assert "pip install strokelab[search]" in capsys.readouterr().out


def test_trials_are_chosen_as_many_at_a_time_as_train_at_once(tmp_path, monkeypatch):
    from strokelab.sweeps.search.settings import batch_of

    settings = SearchSettings(1, "maximize", "", "", {}, {})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    asked = {"hydra.launcher.at_once=3": 3, "hydra.launcher.at_once=auto": 1, "hydra/launcher=basic": 1}
    for word, batch in {**asked, "hydra/launcher=slurm": 4}.items():
        assert batch_of(composed(tmp_path, word), settings) == batch
    assert batch_of(composed(tmp_path), SearchSettings(1, "maximize", "", "", {}, {}, batch=7)) == 7


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("choice", [f"{group}={name}" for group in ("model", "data") for name in options(group)])
def test_the_default_space_fits_every_model_and_every_dataset(choice, tmp_path, monkeypatch):
    """That every pair composes is tests/conf's."""
    monkeypatch.setenv("STROKELAB_DATA", "somewhere")
    cfg = composed(tmp_path, choice)
    assert (cfg.objective, cfg.score_test) == ("val/pooled_dice", False)
    assert cfg.hydra.sweeper.params
    for key in cfg.hydra.sweeper.params:
        assert isinstance(OmegaConf.select(cfg, key), float), key
