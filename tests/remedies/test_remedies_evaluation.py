"""Remedies of evaluations and of runs that are applied: followed, the same call answers."""

import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from doing import executes, options, said, settings, told
from evaluation_settings import write_member, write_multirun
from typer.testing import CliRunner

from strokelab import runs
from strokelab.cli import app
from strokelab.configuration import build
from strokelab.evaluation import new_scans, outcomes
from strokelab.evaluation.averaging import assign
from strokelab.evaluation.boards import check_loggers
from strokelab.evaluation.cohort import Cohorts, part_of
from strokelab.evaluation.command import _check_checkpoint
from strokelab.evaluation.datasets import datasets_of
from strokelab.evaluation.entries import _refuse_result_twice
from strokelab.evaluation.sweep import gather_all
from strokelab.runs import load_run, read_checkpoint
from strokelab.sweeps.record import Door, SweepMember, add_members


def evaluated(*words: str) -> dict:
    return settings("runs=[a]", *words, door="evaluate")


def strokelab(*words: str) -> str:
    """What a command prints; its error is raised."""
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def of(model: str, fold: int, *cases: str, absent: str = ""):
    """A run of a fold, as an ensemble looks at it."""
    scored = tuple(SimpleNamespace(dataset="d", case_id=case) for case in cases)
    split = {"split": {"fold": fold}}
    return SimpleNamespace(
        model=model,
        folder=Path(f"{model}{fold}"),
        label=model,
        settings=split,
        cohort=SimpleNamespace(cases=scored, absent=absent),
    )


@executes("strokelab/evaluation/averaging.py:assign")
def test_ensembles_that_lack_runs_or_data():
    averaging = build(evaluated("ensemble=mean")["ensemble"])
    lacking = [of("a", 0, "x"), of("a", 1, "y"), of("b", 0, "x")]
    remedy = said(assign, lacking, averaging).remedy
    assert options(remedy) == ["--resume"]
    assert len(assign([*lacking, of("b", 1, "y")], averaging).cases) == 2  # what the sweep trains
    for word in told(remedy):
        chosen = build(evaluated("ensemble=mean", word.replace("[...]", "[a]"))["ensemble"])
        assert len(assign(lacking, chosen).cases) == 2

    away = [of("a", 0, absent="the old disk"), of("b", 0, "x")]
    (word,) = told(said(assign, away, averaging).remedy)
    assert evaluated(word.replace("...", "phantom"))["data"]
    assert assign([of("a", 0, "x"), away[1]], averaging).cases


@executes("strokelab/evaluation/command.py:_check_checkpoint")
def test_several_checkpoints_that_nothing_averages():
    words = ["checkpoint=[last,best]"]
    (word,) = told(said(_check_checkpoint, evaluated(*words)).remedy)
    _check_checkpoint(evaluated(*words, word))
    for wrong in ("checkpoint=[]", "checkpoint=[last,last]"):
        assert said(_check_checkpoint, evaluated(wrong, word)).where == "checkpoint"


@executes("strokelab/evaluation/cohort.py:of", "strokelab/evaluation/cohort.py:part_of")
@executes("strokelab/evaluation/cohort.py:recorded")
def test_cohorts_that_are_gone_or_empty(trained_run, t1_cohort):
    whole = load_run(trained_run)
    own = {name: getattr(whole, name) for name in ("folder", "settings", "split", "modalities", "view", "any_contrast")}
    run = SimpleNamespace(**own)
    other = ["data=atlas_v1", f"data.root={t1_cohort}", "data.n_sites=3"]
    untested = SimpleNamespace(**own | {"split": replace(run.split, test=())})
    words = told(said(Cohorts(evaluated()).of, untested).remedy)
    assert words[:2] == ["part=val", "part=train"]
    for word in words[:2]:
        assert Cohorts(evaluated(word)).of(untested).cases
    assert words[2].replace("...", "atlas_v1") == other[0]

    cohort = Cohorts(evaluated()).of(run)
    (word,) = told(said(part_of, run, cohort.cases[1:], "test", where="x").remedy)
    assert part_of(run, cohort.cases, "test", where="x")
    assert word == words[2]
    for damaged in ({"root": None}, {"options": {1: 2}}):
        broken = SimpleNamespace(
            **own | {"settings": {**run.settings, "cohort": {**run.settings["cohort"], **damaged}}}
        )
        assert told(said(Cohorts(evaluated()).of, broken).remedy) == [word]
        assert Cohorts(evaluated(*other)).of(broken).cases
    assert Cohorts(evaluated()).of(run).cases  # copied again


@executes("strokelab/evaluation/entries.py:_refuse_result_twice")
def test_a_result_that_would_count_twice():
    def entry(chosen, folder):
        one = of(chosen["name"], 0, "x")
        one.settings, one.folder = chosen, folder
        return one

    both = [entry(settings("name=a"), Path("first")), entry(settings("name=a"), Path("again"))]
    (word,) = told(said(_refuse_result_twice, both).remedy)
    _refuse_result_twice(both[:1])
    _refuse_result_twice([both[0], entry(settings(word.replace("...", "b")), Path("again"))])


@executes("strokelab/evaluation/sweep.py:members", "strokelab/evaluation/sweep.py:gather_all")
def test_a_sweep_that_is_not_finished(tmp_path, a_run, doors, monkeypatch):
    scan = tmp_path / "scan.nii.gz"
    sweep = tmp_path / "sweep"
    member = Path(shutil.copytree(a_run, sweep / "seed1"))
    write_member(member, "killed")
    write_multirun(sweep, "seed=1", subdir="seed${seed}")
    remedy = said(gather_all, [str(sweep)]).remedy
    predict = said(new_scans.members_and_inputs, [sweep, scan]).remedy
    assert new_scans.members_and_inputs([member, scan])[0] == [member]
    (word,) = told(remedy)
    doors.train(word.replace("FOLDER", str(member)).replace(" ", "\\ "), cwd=tmp_path).check()
    assert [one.folder for one in gather_all([str(sweep)]).finished] == [member]

    write_member(member, "killed")
    add_members(sweep, [SweepMember(0, ("seed=1",), member, "")], door=Door(None, tmp_path, "x"), launcher="processes")
    monkeypatch.setattr(
        "strokelab.sweeps.resuming.train_members", lambda *_, **__: runs.write_status(member, "finished")
    )
    command = predict.partition("(")[2].partition(")")[0].split()
    strokelab(*(str(sweep) if part == "DIR" else part for part in command[1:]))
    assert new_scans.members_and_inputs([sweep, scan])[0] == [member]


@executes("strokelab/evaluation/new_scans.py:segment_found", "strokelab/evaluation/new_scans.py:__post_init__")
@executes("strokelab/evaluation/outcomes.py:_refuse_edited", "strokelab/runs/given.py:_one_case")
def test_scans_that_fail_and_masks_that_were_edited(trained_run, t1_cohort, tmp_path):
    from strokelab.data import read_cases
    from strokelab.inference.derivative import Derivative

    scans = [tmp_path / f"{name}.nii.gz" for name in "ab"]
    sources = [case.images["T1w"] for case in read_cases("atlas_v1", t1_cohort)[:2]]
    for scan, source in zip(scans, sources, strict=True):
        shutil.copyfile(source, scan)
    run = load_run(trained_run)
    assert "`strokelab predict`" in said(run.predict, scans).remedy
    assert [run.predict(scan).mask.any() is not None for scan in scans] == [True, True]

    scans[1].write_bytes(scans[1].read_bytes()[:-2000])
    out = tmp_path / "out"
    command = ["predict", str(trained_run), *map(str, scans), "--out", str(out)]
    (option,) = options(said(strokelab, *command).remedy)
    shutil.copyfile(sources[1], scans[1])
    assert "1 of 2 cases are done already" in strokelab(*command, option)
    assert options(said(new_scans.Writing, out, overwrite=True, resume=True).remedy) == [option]
    assert new_scans.Writing(out, resume=True).resume

    masks = sorted(out.rglob("*_mask.nii.gz"))
    assert len(masks) == 2
    masks[0].write_bytes(masks[0].read_bytes() + b"\0")
    derivative = Derivative(out, name="strokelab", provenance=run.provenance, overwrite=True)
    (word,) = told(said(outcomes._refuse_edited, derivative).remedy)
    other = evaluated(f"{word}{tmp_path / 'other'}")["out"]
    outcomes._refuse_edited(Derivative(Path(other), name="x", provenance={}, overwrite=True))
    masks[0].rename(tmp_path / "mine.nii.gz")
    outcomes._refuse_edited(derivative)


@executes("strokelab/evaluation/datasets.py:datasets_of", "strokelab/evaluation/datasets.py:_pair")
@executes("strokelab/evaluation/datasets.py:_dataset")
def test_datasets_of_a_matrix(t1_cohort, trained_run, tmp_path):
    option, named = said(datasets_of, ()).remedy.partition("name them: ")[2].split()
    assert option == "--on"
    word = named.split(",")[0].replace("atlas_v2=DIR", f"atlas_v1={t1_cohort}")
    assert len(datasets_of([word])[0].cases) == 9

    (word,) = told(said(datasets_of, [str(t1_cohort)]).remedy)
    assert datasets_of([word])[0].reader == "atlas_v1"
    assert options(said(datasets_of, ["no_such_dataset"]).remedy) == ["--on"]

    place = tmp_path / "own" / "images"
    place.mkdir(parents=True)
    scan = place / "c1_T1w.nii.gz"
    shutil.copyfile(next(t1_cohort.rglob("*_t1w*_stx.nii.gz")), scan)
    remedy = said(datasets_of, [f"mine={place.parent}"]).remedy
    command = shlex.split(remedy.rpartition("for strokelab ")[2].replace("RUN", str(trained_run)))
    assert "c1: " in strokelab(*command, "--out", str(tmp_path / "out"))


@executes("strokelab/evaluation/boards.py:check_loggers")
def test_loggers_that_take_no_evaluation():
    (word,) = told(said(check_loggers, evaluated("logger=tensorboard")["logger"]).remedy)
    check_loggers(evaluated(word)["logger"])


@executes("strokelab/evaluation/outcomes.py:own_metrics")
def test_metrics_that_are_a_word():
    (word,) = told(said(outcomes.own_metrics, {"metrics": "volume"}).remedy)
    own = evaluated(word.replace("my_parts.metric.NAME", "strokelab.metrics.overlap.dice").replace("NAME", "own_dice"))
    assert list(outcomes.own_metrics(own)) == ["own_dice"]


@executes("strokelab/evaluation/outcomes.py:_own")
def test_tables_that_would_not_do_where_the_data_are_gone():
    def entry(absent):
        return SimpleNamespace(folder=Path("x"), member="m", members=(), cohort=SimpleNamespace(absent=absent))

    again = evaluated("rescore=true", "save_predictions=false")
    error = said(outcomes._own, entry("the old disk"), again)
    (word,) = told(error.remedy)
    assert evaluated(word.replace("...", "phantom"))["data"]
    assert outcomes._own(entry(""), again).endswith(told(error.found)[0])


@executes("strokelab/runs/checkpoints.py:read_checkpoint", "strokelab/runs/trained.py:_onto")
def test_checkpoints_that_are_cut_short_and_devices_that_are_not_there(a_run, trained_run):
    path = a_run / "checkpoints/last.ckpt"
    path.write_bytes(path.read_bytes()[:-500])
    error = said(read_checkpoint, path)
    assert error.remedy.startswith("copy it again")
    shutil.copyfile(trained_run / "checkpoints/last.ckpt", path)
    assert read_checkpoint(path)["state_dict"]
    (word,) = told(said(load_run, a_run, device="cuda:99").remedy)
    assert load_run(a_run, device=evaluated(word)["device"]).name == "sgnet"


def test_an_error_of_a_command_is_the_error_itself():
    with pytest.raises(AssertionError):
        strokelab("predict", "--no-such-option")
