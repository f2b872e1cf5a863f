"""Remedies about run folders, predictions, comparisons and sweeps, followed where they were printed."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from doing import executes, options, said, settings, strokelab, told

from strokelab import runs
from strokelab.configuration import compose
from strokelab.configuration.overriding import override, typed_value
from strokelab.training.start import start_of

RUN = {
    "trainer": {"_target_": "lightning.pytorch.Trainer", "max_epochs": 3, "precision": "bf16-mixed"},
    "logger": {"wandb": {"_target_": "strokelab.callbacks.weights_and_biases.WeightsAndBiases"}},
    "data": {"_target_": "strokelab.data.datamodule.Phantom", "workers": 2},
}


@executes("strokelab/callbacks/finite_loss.py:_remedy")
def test_a_run_whose_loss_is_no_number_goes_on_as_it_says():
    from strokelab.callbacks.finite_loss import _remedy

    words = told(_remedy("bf16-mixed"))
    assert words[0] == "resume=RUN"
    trainer = override(RUN, words[1:])["trainer"]
    assert (trainer["gradient_clip_val"], trainer["precision"]) == (1, "32-true")
    assert told(_remedy("32-true")) == words[:2]


@executes("strokelab/callbacks/wandb_session.py:chosen_mode")
def test_wandb_without_a_key(monkeypatch):
    from strokelab.callbacks import wandb_session

    monkeypatch.setattr(wandb_session, "has_key", lambda: False)
    (word,) = told(said(wandb_session.chosen_mode, "online").remedy)
    assert wandb_session.chosen_mode(override(RUN, [word])["logger"]["wandb"]["mode"]) == "offline"
    assert settings("logger=wandb", word)["logger"]["wandb"]["mode"] == "offline"


@executes("strokelab/callbacks/slurm_environment.py:__init__")
def test_slurm_without_srun(monkeypatch):
    from strokelab.callbacks.slurm_environment import SlurmEnvironment

    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    words = told(said(SlurmEnvironment).remedy)
    for word in ("trainer=gpu", "trainer=ddp"):
        assert word in words
        assert not settings(word)["trainer"].get("plugins")
    slurm = {"trainer": {**RUN["trainer"], "plugins": [{"_target_": "x"}]}}
    assert override(slurm, [words[-1]])["trainer"]["plugins"] is None


@executes("strokelab/data/lost_worker.py:_remedy", "strokelab/files.py:disk_full")
@executes("strokelab/preparation/store.py:_full", "strokelab/preparation/store.py:_died")
def test_less_work_and_another_disk(tmp_path):
    from strokelab.data.lost_worker import _remedy
    from strokelab.files import disk_full
    from strokelab.preparation.store import _died, _full

    full = disk_full(tmp_path / "x", "full")
    assert told(full.remedy) == ["resume=RUN"]
    word = told(_remedy(1, starved=False))[0]
    assert settings("data.workers=2", word)["data"]["workers"] == override(RUN, [word])["data"]["workers"] == 0
    word = told(_full(tmp_path, full).remedy)[0].replace("DIR", str(tmp_path))
    assert settings(word)["data"]["store"] == override(RUN, [word])["data"]["store"] == str(tmp_path)
    (word,) = told(_died(tmp_path, SimpleNamespace(jobs=[]), 4).remedy)
    assert settings(word)["data"]["workers"] == 1


@executes("strokelab/runs/folder.py:refuse_to_replace")
@pytest.mark.parametrize("name", ["run", "runs[lr=0.1]", "[/x]", "it's ${a}"])
def test_a_run_that_did_not_end_is_given_back(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/last.ckpt").touch()
    runs.write_status(folder, "killed")
    remedy = said(runs.refuse_to_replace, folder).remedy
    words = shlex.split(remedy.removeprefix("continue it with ").rpartition(", or remove")[0])
    assert Path(typed_value(words, "resume").replace("\\$", "$")).resolve() == folder


@executes("strokelab/training/start.py:_other_settings")
def test_a_finished_run_of_other_settings_goes_on(a_run, tiny):
    error = said(start_of, compose("train", [*tiny, "model=unet2d", f"run_dir='{a_run}'"]))
    (word,) = told(error.remedy)
    assert start_of(compose("train", [word])).folder == a_run


@executes("strokelab/runs/checkpoints.py:own_choice", "strokelab/runs/checkpoints.py:find_checkpoint")
def test_checkpoints(tmp_path):
    from strokelab.runs.checkpoints import own_choice

    (word,) = told(said(own_choice, {"checkpoint": "../x"}, tmp_path).remedy)
    chosen = settings("runs=[a]", word, door="evaluate")["checkpoint"]
    assert own_choice({"checkpoint": chosen}, tmp_path) == "last"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/best.ckpt").touch()
    (word,) = told(said(runs.find_checkpoint, tmp_path, "last").remedy)
    chosen = settings("runs=[a]", word, door="evaluate")["checkpoint"]
    assert runs.find_checkpoint(tmp_path, chosen).name == "best.ckpt"


@executes("strokelab/runs/init_weights.py:_found", "strokelab/runs/checkpoints.py:copy_weights")
def test_weights_to_start_from(a_run, monkeypatch):
    from strokelab.runs.checkpoints import copy_weights

    monkeypatch.chdir(a_run.parent)
    (word,) = told(said(runs.with_init_weights, settings(f"init_weights={a_run.name}:../x")).remedy)
    found = runs.with_init_weights(settings(word))["init_weights"]
    assert (found["run"], found["file"]) == (str(a_run), "best.ckpt")
    weights = runs.read_checkpoint(a_run / "checkpoints/best.ckpt")["state_dict"]
    (word,) = told(said(copy_weights, torch.nn.Linear(1, 1), weights, a_run).remedy)
    assert runs.with_init_weights(settings(f"init_weights={a_run.name}", word))["init_weights"] is None


@executes("strokelab/runs/ensemble.py:_postprocess_of")
def test_post_processings_that_differ(tmp_path):
    from strokelab.runs.ensemble import _postprocess_of

    members = [SimpleNamespace(folder=tmp_path, settings={"postprocess": {"x": n}}) for n in range(2)]
    (word,) = told(said(_postprocess_of, members, None).remedy)
    assert _postprocess_of(members, settings("runs=[a]", word, door="evaluate")["postprocess"])


@executes("strokelab/runs/objective.py:validation_remedy", "strokelab/training/trainer.py:check_monitors")
@executes("strokelab/training/start.py:check_cohort")
def test_nobody_to_validate_on(tmp_path):
    from strokelab.training.start import Start, check_cohort

    def check(*overrides):
        chosen = settings(*overrides)
        fraction = chosen["split"].get("val_fraction", 0)
        cohort = SimpleNamespace(n_sites=1 if "one" in overrides[-1] else 2, sites={}, split_result=SimpleNamespace())
        cohort.split_result.val = ["a"] if fraction else []
        cohort.validates, cohort.curves = bool(fraction), "validation"
        check_cohort(Start(chosen, tmp_path), cohort)

    for split in ("kfold", "all"):
        base = [f"split={split}", *(["split.val_fraction=0"] if split == "kfold" else []), "checkpoint=best"]
        words = told(said(check, *base).remedy)
        check(*base, words[0])
        check(*base, words[1])


@executes("strokelab/evaluation/command.py:_check", "strokelab/evaluation/new_scans.py:_postprocess")
def test_words_of_an_evaluation():
    from strokelab.evaluation.command import _check
    from strokelab.evaluation.new_scans import _postprocess

    words = told(said(_check, settings(door="evaluate")).remedy)
    for word in words:
        _check(settings(word.replace("sweep=", "sweeps="), door="evaluate"))
    remedy = said(_postprocess, ["a", "b"]).remedy
    given = [word for word in remedy.removeprefix("e.g. ").split() if not word.startswith("--")]
    assert _postprocess(given)["size_limit"] == 2000
    assert set(options(remedy)) == {"--postprocess"}


@executes("strokelab/metrics/masks.py:check_rule", "strokelab/scoreboard/masks.py:labels_of")
@executes("strokelab/scoreboard/entries.py:methods_of")
def test_rules_of_masks():
    from strokelab.metrics.masks import check_rule
    from strokelab.scoreboard.entries import methods_of
    from strokelab.scoreboard.masks import labels_of

    assert "threshold=0.5, or labels=(1, 2)" in said(check_rule, 2.0, None).remedy
    check_rule(0.5, None)
    check_rule(None, (1, 2))
    assert labels_of(said(labels_of, "one").remedy.split()[-1]) == (1, 2)
    pair = said(methods_of, "a", None, ["x"]).remedy.split()[-1]
    assert methods_of("a", None, [pair]) == {"a": "a", "nnunet": "results/nnunet"}
    assert options(said(methods_of, "a", None, ["a=b"]).remedy) == ["--name"]
    assert list(methods_of("a", "mine", ["a=b"])) == ["mine", "a"]


@executes("strokelab/sweeps/resuming.py:_refusal", "strokelab/sweeps/members.py:_refuse_places")
def test_folders_of_sweeps(tmp_path):
    from strokelab.sweeps.members import _refuse_places
    from strokelab.sweeps.resuming import _refusal

    folder = tmp_path / "sweep[1]"
    (word,) = told(_refusal(folder, "", "").remedy)
    assert typed_value([word], "hydra.sweep.dir") == str(folder)
    for word in told(said(_refuse_places, ["run_dir=x"]).remedy):
        _refuse_places([word])


def test_options_belong_to_the_command_that_names_them():
    named = {
        "self-train": ("--out", "--schemes", "--weight", "--per-fold"),
        "export-nnunet": ("--id", "--name"),
        "import-nnunet": ("--checkpoint", "--fold", "--modality"),
        "dashboard": ("--vary", "--publish", "--entity", "--project"),
        "cost": ("--device", "--no-seconds", "--samples"),
        "score": ("--pairs", "--dataset", "--beside", "--allow-extra", "--labels", "--workers"),
        "agreement": ("--pairs", "--dataset"),
        "plan": (),
    }
    for command, words in named.items():
        shown = strokelab(command, "--help")
        assert not [word for word in words if word not in shown], command


@executes("strokelab/data/cohort_checks.py:of_sites")
def test_check_lists_the_sites_of_a_cohort(t1_cohort):
    from strokelab.data import read_cases
    from strokelab.data.cohort_checks import of_sites

    cases = read_cases("atlas_v1", t1_cohort)
    assert "`strokelab check ROOT --dataset NAME`" in said(of_sites, cases, ["nowhere"]).remedy
    listed = strokelab("check", str(t1_cohort), "--dataset", "atlas_v1")
    sites = sorted({str(case.site) for case in cases})
    assert all(site in listed for site in sites)
    of_sites(cases, sites)
