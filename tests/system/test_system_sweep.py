"""Sweeps: one run folder per member, each the same as if trained alone; gathered whole, or with the gaps named."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_runs import SHORT_MAIN

from strokelab import runs

SETTINGS = ["sweep=leave_one_site_out", "hydra.sweep.dir=sweep", SHORT_MAIN]


@pytest.fixture(scope="module")
def swept(tiny, doors, tmp_path_factory) -> Path:
    """A sweep over three sites, in one process; ``test_system_sweep_anew`` has processes."""
    here = tmp_path_factory.mktemp("swept")
    doors.train(*SETTINGS, *tiny, "hydra/launcher=basic", cwd=here).check()  # without -m: sweep=... says so
    return here / "sweep"


@pytest.fixture
def broken(swept, tmp_path) -> Path:
    """The same sweep elsewhere, with one member that failed and one that was never started."""
    folder = Path(shutil.copytree(swept, tmp_path / "archive" / "old sweep"))
    runs.write_status(folder / "sgnet-fold1-seed0", "failed", error="ValueError: loss is NaN")
    shutil.rmtree(folder / "sgnet-fold2-seed0")
    return folder


def cases(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "cases.csv", dtype={"case": str, "subject": str})


def test_every_site_is_held_out_once_and_members_do_not_touch_each_other(swept, trained_run):
    folders = sorted(path.name for path in swept.iterdir() if path.is_dir())
    assert folders == [f"sgnet-fold{fold}-seed0" for fold in range(3)]
    for fold in range(3):
        assert set(cases(swept / f"sgnet-fold{fold}-seed0")["site"]) == {f"Site{fold + 1}"}
    mine, alone = (
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in (swept / "sgnet-fold0-seed0", trained_run)
    )
    assert all(torch.equal(mine[name], alone[name]) for name in alone)


def test_a_sweep_is_gathered_with_its_gaps_named(broken, doors, tmp_path):
    done = doors.evaluate("sweep='archive/old sweep'", "out=out", cwd=tmp_path).check()
    assert set(cases(tmp_path / "out")["run"]) == {"sgnet-fold0-seed0"}
    page = (tmp_path / "out/report.html").read_text()
    for place in (done.output, page):
        for words in ("sgnet-fold1-seed0", "ValueError: loss is NaN", "sgnet-fold2-seed0", "missing"):
            assert words in place, words
    assert "own tables (1)" in page
    assert not (tmp_path / "out/predictions").exists()
    again = doors.evaluate("sweep='archive/old sweep'", "rescore=true", "out=again", cwd=tmp_path).check()
    assert "Predicting" in again.output
    assert "Predicting" not in done.output
    for name in ("cases.csv", "probabilities.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_sweeps_and_runs_stand_side_by_side(swept, trained_unet, doors, tmp_path):
    doors.strokelab("report", swept, trained_unet, "--out", "both", cwd=tmp_path).check()
    table = cases(tmp_path / "both")
    assert list(table["run"].unique()) == ["unet2d", *(f"sgnet-fold{fold}-seed0" for fold in range(3))]
    assert table.groupby("run").size().eq(3).all()
    assert [path.name for path in (tmp_path / "both/predictions").iterdir()] == ["strokelab-unet2d"]
    page = (tmp_path / "both/report.html").read_text()
    assert "unet2d" in page
    assert "sgnet" in page


def test_what_counts_twice_or_is_no_sweep_is_refused(swept, a_run, doors, tmp_path):
    refusals = {
        f"sweep={swept} runs=[{swept}/sgnet-fold0-seed0]": "the same run 2 times",
        f"sweep={swept} runs=['{a_run}']": "a second time",
        f"sweep=['{swept}','{swept}']": "the same sweep twice",
        f"sweep='{a_run}'": "no multirun.yaml",
        "sweep=nowhere": "no such folder",
    }
    for command, words in refusals.items():
        arguments = command.split(" ", 1) if " runs=" in command else [command]
        done = doors.evaluate(*arguments, "out=out", cwd=tmp_path)
        assert done.status == 1, command
        assert words in done.output, done.output
        assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_the_basic_launcher_does_not_let_one_bad_member_cost_the_others(tiny, doors, tmp_path):
    arguments = [
        "-m",
        "hydra/launcher=basic",
        "split.fold=0,9,1",
        "hydra.sweep.dir=sweep",
        "hydra.sweep.subdir=${split.fold}",
        SHORT_MAIN,
    ]
    done = doors.train(*arguments, *tiny, "trainer.max_epochs=1", cwd=tmp_path)
    assert done.status == 1
    assert "split.fold" in done.output
    assert [name for name in "091" if (tmp_path / "sweep" / name / "cases.csv").is_file()] == ["0", "1"]
    from strokelab.evaluation.sweep import gather

    found = gather(tmp_path / "sweep")
    assert [(member.name, member.state) for member in found.members] == [
        ("0", "finished"),
        ("9", "missing"),
        ("1", "finished"),
    ]


def test_a_sweep_of_one_process_that_is_killed_tells_what_is_left(tiny, doors, tmp_path):
    """SIGKILL while the second of three seeds trains."""
    arguments = [
        "-m",
        "hydra/launcher=basic",
        "sweep=seeds",
        "hydra.sweep.dir=sweep",
        SHORT_MAIN,
        *tiny,
        "trainer.max_epochs=1",
    ]
    kill = ("strokelab.runs.load_run", 3)  # the first member is loaded for its probe and for its scores
    assert doors.start("train", *arguments, cwd=tmp_path, kill_at=kill).wait().status == -9
    from strokelab.evaluation.sweep import gather

    found = gather(tmp_path / "sweep")
    assert [(member.name, member.state) for member in found.members] == [
        ("sgnet-seed0", "finished"),
        ("sgnet-seed1", "running"),
        ("sgnet-seed2", "missing"),
    ]
    assert "no process" in found.members[1].error
