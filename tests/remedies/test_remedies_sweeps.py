"""Remedies of sweeps, searches, clusters and self-training: followed, the same step goes on."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from doing import executes, options, said, settings, told
from evaluation_settings import write_multirun
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from omegaconf import OmegaConf
from printed import ROOT
from sweep_planning import Planning
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.configuration import conf_folder
from strokelab.configuration.multirun import MULTIRUN, read_multirun
from strokelab.scoring.tables import ORIGIN, RECIPE
from strokelab.self_training.settings import loop_of
from strokelab.self_training.teachers import Teacher, _of_scheme, cross_validated
from strokelab.sweeps.ending import SweepEnd
from strokelab.sweeps.members import door_of
from strokelab.sweeps.record import Door, SweepMember, add_members, told_record

DOOR = Door(Path("train.py"), Path("/"), "python")
SLURM = {name: value for name, value in OmegaConf.load(conf_folder() / "hydra/launcher/slurm.yaml").items()}


@executes("strokelab/sweeps/ending.py:on_multirun_start")
def test_a_sweep_over_a_number_that_nothing_says(tmp_path, capsys):
    task = ["sweep=leave_one_site_out", "data=folder", "data.root=x", "data.modalities=[T1w]"]
    with pytest.raises(SystemExit):
        SweepEnd().on_multirun_start(Planning(tmp_path, *task).config)
    (word,) = told(capsys.readouterr().out.partition("remedy:")[2])
    SweepEnd().on_multirun_start(Planning(tmp_path, *task, word.replace("...", "4")).config)
    assert capsys.readouterr().out == ""


@executes("strokelab/sweeps/members.py:door_of")
def test_a_sweep_that_no_script_started(tmp_path, monkeypatch):
    planning = Planning(tmp_path, "seed=1")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)
    remedy = said(door_of, planning.config).remedy
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(ROOT / remedy.split("python ")[1].split()[0]))
    assert door_of(planning.config).script == ROOT / "train.py"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None)
    (word,) = told(remedy)
    monkeypatch.chdir(tmp_path)
    here = Planning(tmp_path, word, "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none")
    assert here.config.hydra.launcher._target_.endswith(".BasicLauncher")
    launcher = BasicLauncher()
    launcher.setup(hydra_context=here.context, task_function=lambda config: config.seed, config=here.config)
    assert [done.return_value for done in launcher.launch([["seed=4"], ["seed=5"]], 0)] == [4, 5]


@executes("strokelab/sweeps/record.py:told_record", "strokelab/configuration/multirun.py:_content")
def test_sweeps_that_do_not_tell_their_members(tmp_path):
    folder = write_multirun(tmp_path, "seed=1,2", subdir="${name}-${seed}")
    member = folder / "sgnet-1"
    member.mkdir()
    remedy = said(read_multirun, member).remedy
    assert len(read_multirun(member.parent).jobs) == 2
    (word,) = told(remedy)
    assert settings(word.replace("...", str(member)), door="evaluate")["runs"] == [str(member)]

    text = (folder / MULTIRUN).read_text()
    (folder / MULTIRUN).write_text(text.replace("hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "other.S"))
    words = told(said(told_record, folder).remedy)
    door_word = words[0].replace("sweep=DIR", f"sweeps={folder}")  # what the door makes of it
    assert settings(door_word, door="evaluate")["sweeps"] == str(folder)
    launcher = Planning(tmp_path, words[1]).config.hydra.launcher
    assert launcher._target_.startswith("hydra_plugins.strokelab_processes")
    add_members(
        folder, [SweepMember(0, ("seed=1",), folder / "a", "")], door=DOOR, launcher=words[1].rpartition("=")[2]
    )
    assert told_record(folder).launcher == "processes"


@executes("strokelab/sweeps/slurm/submission.py:check_here", "strokelab/sweeps/slurm/submission.py:submit")
@executes("strokelab/sweeps/slurm/launch.py:_sent")
def test_a_cluster_that_says_no(tmp_path, monkeypatch):
    from strokelab.sweeps.slurm.launch import SlurmSweep
    from strokelab.sweeps.slurm.queue import JobList
    from strokelab.sweeps.slurm.settings import SlurmSettings
    from strokelab.sweeps.slurm.submission import Work, check_here, sbatch_text, submit

    monkeypatch.setenv("PATH", str(tmp_path))
    remedy = said(check_here, dry_run=False).remedy
    assert set(options(remedy)) <= set(CliRunner().invoke(app, ["submit", "--help"]).output.split())
    check_here(dry_run=True)
    assert "Processes" in Planning(tmp_path, *told(remedy)).config.hydra.launcher._target_

    def program(name, lines):
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program("srun", "")
    program("squeue", "exit 1")
    program("sbatch", 'grep -q partition=gpu "$1" || { echo "sbatch: error: no partition" >&2; exit 1; }; echo job 12')
    check_here(dry_run=False)
    work = [Work("", str(tmp_path), ("seed=1",))]
    (word,) = told(said(submit, SlurmSettings(), tmp_path / "jobs", work).remedy)
    key, _, value = word.replace("NAME=...", "partition=gpu").partition("=")
    node = Planning(tmp_path, "hydra/launcher=slurm", f"{key}={value}").config.hydra.launcher
    right = SlurmSettings(**{name: value for name, value in OmegaConf.to_container(node).items() if name[0] != "_"})
    assert submit(right, tmp_path / "jobs", work) == ["12"]

    lost = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    program("sbatch", f"echo '{lost}' >&2; exit 1")
    error = said(submit, right, tmp_path / "more", work)
    assert lost in error.found
    assert not told(error.remedy)  # no option would help
    assert not list((tmp_path / "more").iterdir())
    assert "--partition=gpu" in sbatch_text(right, tmp_path, 1)

    JobList(tmp_path / "jobs").add({"a": "12"})
    launch = SimpleNamespace(jobs=tmp_path / "jobs")
    command = said(SlurmSweep._sent, launch, [], None).remedy.split("`")[1].split()
    assert command == ["squeue", "--me"]
    program("squeue", "exit 0")
    assert SlurmSweep._sent(launch, [], None) == {}


@executes("strokelab/sweeps/search/study.py:open_study")
def test_a_study_whose_path_is_wrong(tmp_path):
    from strokelab.sweeps.search.settings import SearchSettings
    from strokelab.sweeps.search.space import space_of
    from strokelab.sweeps.search.study import open_study

    def opened(path):
        return open_study(SearchSettings(1, "maximize", f"sqlite:///{path}", "a", {}, {}), space_of({}, ["seed=1,2"]))

    assert "correct the path" in said(opened, tmp_path / "none/study.db").remedy
    assert opened(tmp_path / "study.db").trials == []


@executes("strokelab/self_training/settings.py:_refuse_own", "strokelab/self_training/settings.py:loop_of")
def test_what_the_loop_is_asked_for(tmp_path):
    from strokelab.phantoms.cohort import write_cohort

    root = write_cohort("atlas_v2", tmp_path / "v2", spacing=8.0, sites=1, cases_per_site=2, testing=1, progress=False)
    base = ["data=atlas_v2", f"data.root={root}"]
    remedy = said(loop_of, [*base, "data.pseudo.weight=2"], tmp_path).remedy
    shown = CliRunner().invoke(app, ["self-train", "--help"]).output
    assert {option for option in options(remedy) if option not in shown} == set()
    words = told(said(loop_of, [*base, "split=holdout"], tmp_path).remedy)
    assert len(words) == 3
    for word in words:
        more = ["split.path=folds.csv"] if "from_file" in word else []
        assert loop_of([*base, "split=holdout", word, *more], tmp_path).folds == 5

    testing = next(path for path in root.rglob("Testing"))
    testing.rename(tmp_path / "Testing")
    remedy = said(loop_of, base, tmp_path).remedy
    assert settings(*base, told(remedy)[-1])["split"]["folds"] > 1  # the sweep, without self-training
    (tmp_path / "Testing").rename(testing)
    assert loop_of(base, tmp_path).datamodule.unlabelled


@executes("strokelab/self_training/teachers.py:_dice", "strokelab/self_training/teachers.py:_of_scheme")
def test_teachers_without_scores_and_folders_of_two_loops(tmp_path):
    from strokelab.data.split_file import Split

    def trained(folder, dice):
        """A fold's tables as its training leaves them."""
        folder.mkdir(exist_ok=True)
        table = pd.DataFrame([{"case": "a", "dice": dice, "error": "" if math.isfinite(dice) else "broken"}])
        table.reindex(columns=[*ORIGIN, *RECIPE, "dice", "error"]).assign(seed=0).to_csv(
            folder / "cases.csv", index=False
        )
        (folder / "probabilities.csv").write_text("run,case,bin,lesion,healthy,mass\n")
        return {"nnunet": [Teacher(folder, 0, Split((), (), ("a",)), folder / "last.ckpt")]}

    (word,) = told(said(cross_validated, trained(tmp_path, math.nan)).remedy)
    assert settings(word)["score_test"] is True
    assert [score.cases for score in cross_validated(trained(tmp_path, 0.5))] == [1]

    twice = [SweepMember(n, ("model=nnunet", "split.fold=0", f"seed={n}"), tmp_path / str(n), "") for n in range(2)]
    assert options(said(_of_scheme, tmp_path, twice, "nnunet", 0).remedy) == ["--out"]
    assert _of_scheme(tmp_path / "other", twice[:1], "nnunet", 0) == twice[0]
