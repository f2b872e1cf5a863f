"""Remedies said before a training, a plan or a board begins: followed, the same check passes."""

import shutil
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from doing import executes, mended, options, quiet, said, settings, told, warned
from omegaconf import OmegaConf
from typer.testing import CliRunner

from strokelab.callbacks.stage import Stage
from strokelab.cli import app
from strokelab.configuration import bind, build, check_fit, compose
from strokelab.configuration.late_facts import DEFAULT_FACTS
from strokelab.configuration.output import OneOutput
from strokelab.configuration.overriding import override
from strokelab.data.loaders import batch_loader
from strokelab.data.served import _warn_one_step
from strokelab.preparation.parallel import outcomes
from strokelab.processes import check_main_guard
from strokelab.sampling.order import EpochBatchSampler
from strokelab.training.fitting import within_memory
from strokelab.training.logged import check_logged
from strokelab.training.processes import check_shares
from strokelab.training.resumable import check_named
from strokelab.training.start import Start, check_cohort

CROP = ["view.preparation.crop=[16,16,null]", "view.preparation.offset=null"]
HALVES = ["model=nnunet", "hemispheres=split", "view.preparation.box=null", "view.preparation.crop=[64,null,null]"]
HALVES += ["view.sampler.patch=[64,64,64]", "view.windows.patch=[64,64,64]"]
NO_TURNS = ["view.augment.elastic_p=0"]


def strokelab(*words: str) -> str:
    """What a command prints; its error is raised."""
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@executes("strokelab/configuration/fit.py:_unlike_halves")
@pytest.mark.parametrize(
    "wrong",
    [
        ["view.preparation.box=nonzero"],
        ["view.preparation.orientation=file"],
        ["view.preparation.crop=[100,null,null]"],
        ["view.sampler.patch=[60,64,32]", "view.windows.patch=[60,64,32]"],
        ["view.preparation.orientation=file", "view.preparation.crop=[100,null,null]", "view.augment.rotation_p=0.2"],
    ],
)
def test_patches_that_are_two_halves(wrong):
    base = override(settings(*HALVES), ["view.augment.keep_midline=false", "view.augment.rotation_p=0", *NO_TURNS])
    check_fit(base)
    remedy = said(check_fit, override(base, wrong)).remedy
    words = told(remedy)
    assert {word.partition("=")[0] for word in wrong if "rotation" not in word} <= {
        word.partition("=")[0] for word in words
    }
    check_fit(override(override(base, wrong), words[:-1]))
    assert words[-1] == "hemispheres=none"
    check_fit(settings(*HALVES, words[-1]))


@executes("strokelab/configuration/fit.py:check_loss")
def test_a_model_without_a_loss():
    from strokelab.configuration import check_loss

    mended(lambda chosen: check_loss(chosen["model"]), ["loss=none"])


@executes("strokelab/training/resumable.py:check_named")
def test_settings_of_a_schedule_or_an_optimizer_that_is_not_named():
    left = ["~model.scheduler._target_", "~model.scheduler._partial_"]
    remedy = said(check_named, settings(*left)).remedy
    check_named(settings(remedy.removeprefix("add ")))
    named = said(check_named, {"model": {"optimizer": {"lr": 1}}}).remedy
    assert "optimizer@model.optimizer=adamw" in named


@executes("strokelab/models/plateau.py:check_interval")
def test_schedules_that_wait_for_the_end_of_an_epoch():
    plateau = ["~model.scheduler.gamma", "model.scheduler._target_=strokelab.models.plateau.Plateau"]
    mended(check_logged, [*plateau, "+model.scheduler_interval=step"])


@executes("strokelab/training/logged.py:_check_names")
def test_a_metric_with_the_name_of_another():
    metric = "+model.validation_metrics.dice._target_=strokelab.metrics.validation.SoftDice"
    mended(check_logged, [metric])


@executes("strokelab/training/logged.py:_remedy", "strokelab/training/logged.py:check_logged")
def test_numbers_that_are_never_logged():
    best = settings("checkpoint=best")
    check_logged(best)
    seldom = override(best, ["trainer.max_epochs=3", "trainer.check_val_every_n_epoch=10"])
    words = told(said(check_logged, seldom).remedy)
    assert len(words) == 2
    for word in words:
        check_logged(override(seldom, [word]))
    remedy = said(check_logged, best, validates=False).remedy
    assert "a split with a validation part" in remedy
    check_logged(override(best, told(remedy)[1:]), validates=False)
    for wrong in ("callbacks.best.monitor=val/pooled_dic", "objective=val/pooled_dic", "callbacks.best.mode=min"):
        remedy = said(check_logged, override(best, [wrong])).remedy
        check_logged(override(best, [wrong, remedy.split()[1]]))
        check_logged(settings("checkpoint=best", wrong, remedy.split()[1]))


@executes("strokelab/training/start.py:check_cohort")
def test_an_adversary_on_one_site(tmp_path):
    cohort = SimpleNamespace(n_sites=1, sites={"A": 0}, split_result=SimpleNamespace(val=["a"]))
    cohort.validates, cohort.curves = True, "validation"

    def check(chosen):
        check_cohort(Start(chosen, tmp_path), cohort)

    mended(check, ["data=atlas_v1", "data.root=x"], "adversary=none")
    cohort.n_sites = 2
    check(settings("data=atlas_v1", "data.root=x"))


@executes("strokelab/training/processes.py:check_shares")
def test_as_many_processes_as_before():
    within = {"epoch": 3, "batch": 5, "processes": 2}
    run = {"trainer": {"_target_": "lightning.pytorch.Trainer", "devices": 4, "num_nodes": 2}}

    def check(trainer):
        check_shares(16, trainer["devices"] * trainer["num_nodes"], within)

    check(override(run, told(said(check, run["trainer"]).remedy))["trainer"])


@executes("strokelab/callbacks/rescue.py:on_fit_start")
def test_a_network_that_cannot_begin_anew():
    network = torch.nn.Linear(1, 1)
    trainer = SimpleNamespace(optimizers=[torch.optim.Adam(network.parameters())])

    def check(chosen):
        build(chosen["callbacks"]["rescue"]).on_fit_start(trainer, SimpleNamespace(network=network))

    mended(check, ["model=nnunet", "callbacks.rescue.restart=true"])


@executes("strokelab/processes.py:check_main_guard")
def test_scripts_that_their_workers_would_run_again(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    main = ModuleType("__main__")
    main.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", main)

    def run(text, work):
        """As ``python script.py``: its last line does the work."""
        script.write_text(text)
        vars(main).update(work=work, __name__="__main__")
        exec(compile(text, str(script), "exec"), vars(main))

    remedy = said(run, "work()", check_main_guard).remedy
    run(f"{remedy.split('`')[1]}\n    work()", check_main_guard)
    for wrong in (lambda: list(outcomes(abs, [1, 2], 2)), lambda: batch_loader([], [], workers=2)):
        assert said(run, "work()", wrong).remedy == remedy
    data = settings(*told(remedy))["data"]
    run("work()", lambda: list(outcomes(abs, [1, 2], data["prepare_workers"])))
    run("work()", lambda: batch_loader(SimpleNamespace(in_thread=False), [], workers=data["workers"]))


@executes("strokelab/configuration/cohort.py:phantom_settings")
def test_phantoms_of_a_training():
    from strokelab.configuration.cohort import phantom_settings

    base = ["data=atlas_v1", "data.root=x"]
    remedy = said(phantom_settings, base, None, {}).remedy
    assert phantom_settings([*base, *told(remedy)], None, {}).layout.startswith("atlas")
    (option,) = options(remedy)
    assert option in strokelab("phantom", "--help")
    assert phantom_settings([], "isles2022", {}).layout == "isles2022"


@executes("strokelab/configuration/composition.py:compose")
def test_help_lists_the_groups_and_their_options(doors, tmp_path):
    remedy = said(compose, "train", ["model=unett"]).remedy
    command = remedy.split("`")[1].split()
    assert command[:2] == ["python", "train.py"]
    shown = doors.train(*command[2:], cwd=tmp_path).check().output
    names = next(line for line in shown.splitlines() if line.startswith("model:"))
    assert compose("train", ["model=unet2d"]).model
    assert "unet2d" in names


@executes("strokelab/campaign/plan.py:refusal")
@pytest.mark.parametrize("wrong", ["--gpus=0", "--slowest=0.5", "--schemes=1", "--efficiency=2", "--epochs=-1"])
def test_numbers_of_a_plan_are_explained(wrong):
    name = wrong.partition("=")[0]
    error = said(strokelab, "plan", wrong)
    assert name.removeprefix("--") in error.where
    assert name in strokelab(*error.remedy.split()[2:])
    strokelab("plan", f"{name}=8" if name != "--efficiency" else f"{name}=0.5")


@executes("strokelab/campaign/recipes.py:write_recipes")
def test_recipes_are_written_into_the_folder_docs(tmp_path, monkeypatch):
    from printed import ROOT

    from strokelab.campaign import recipes

    monkeypatch.setattr(recipes, "recipe_table", lambda paper: f"| {paper} |")
    remedy = said(recipes.write_recipes, tmp_path).remedy
    (option,) = options(remedy)
    docs = shutil.copytree(ROOT / "docs/methods", tmp_path / remedy.split("folder ")[1].split()[0] / "methods").parent
    assert strokelab("recipes", option, str(docs)).count("Written:") == len(recipes.PAPERS)
    for paper in recipes.PAPERS:
        assert f"| {paper} |" in (docs / "methods" / f"{paper}.md").read_text()


@executes("strokelab/costs/__init__.py:_time")
def test_a_cost_on_a_device_that_is_not_there():
    from strokelab.costs import _time

    small = settings("model=unet2d", "model.network.base=2", "view.preparation.spacing=[8,8,8]", *CROP)
    model = build(bind(small["model"], DEFAULT_FACTS, at="model"))
    remedy = said(_time, model, build(small["view"]), 1, "cuda:99").remedy
    device, without = options(remedy)
    assert _time(model, build(small["view"]), 1, remedy.split(device)[1].split()[0].strip(",")).seconds > 0
    assert "unet2d" in strokelab("cost", "unet2d", device, "cuda:99", without)


@executes("strokelab/dashboard.py:__post_init__")
def test_what_a_board_groups_by():
    from strokelab.dashboard import Board

    error = said(Board, group_by="optimizer")
    for name in error.expected.removeprefix("one of ").split(", "):
        assert Board(group_by=name).group_by == name
    (option,) = options(error.remedy)
    assert option in strokelab("dashboard", "--help")
    assert Board(vary=["model.optimizer.weight_decay"]).vary == ["model.optimizer.weight_decay"]


@executes("strokelab/configuration/output.py:_make")
def test_the_folder_named_in_the_remedy_takes_the_results(tmp_path, monkeypatch, capsys):
    (tmp_path / "outputs").write_text("a file")
    monkeypatch.chdir(tmp_path)
    config = compose("train", [])
    OmegaConf.set_struct(config, False)
    config.hydra = {"run": {"dir": "outputs/${now:%Y}"}}
    with pytest.raises(SystemExit):
        OneOutput().on_run_start(config)
    setting = told(capsys.readouterr().err)[-1].replace("FOLDER", "elsewhere")
    config = compose("train", [setting])
    OmegaConf.set_struct(config, False)
    config.hydra = {"run": {"dir": "outputs/${now:%Y}"}}
    OneOutput().on_run_start(config)
    assert config.hydra.run.dir == "."


@executes("strokelab/training/fitting.py:within_memory")
def test_a_step_that_fits_into_memory():
    def step(one: dict) -> None:
        with within_memory(one, Stage()):
            if one["data"]["batch_size"] > 8:
                raise MemoryError

    assert mended(step, ["data.batch_size=16"]) == ["data.batch_size=8"]


@executes("strokelab/data/served.py:_warn_one_step")
def test_a_batch_that_an_epoch_can_fill():
    def begin(one: dict) -> None:
        _warn_one_step(36, EpochBatchSampler(36, one["data"]["batch_size"], 0))

    (word,) = told(warned(begin, settings("data.batch_size=40")))
    quiet(begin, settings(word))
