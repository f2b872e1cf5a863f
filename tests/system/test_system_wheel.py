"""An installed wheel does what a clone does: train, sweep, submit, from a folder without ``train.py``."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What the wheel of this tree unpacks to, by the words of its own ``pyproject.toml``."""
    place = tmp_path_factory.mktemp("site")
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in told["packages"]:
        shutil.copytree(ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in told["force-include"].items():
        shutil.copytree(ROOT / source, place / target)
    return place


def called(wheel, cwd, *words, **environment):
    """The output of ``python -m strokelab WORDS``; the package is the wheel's."""
    done = subprocess.run(
        [sys.executable, "-m", "strokelab", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(wheel), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_wheel_trains_a_sweep_from_anywhere(wheel, tmp_path, tiny):
    words = ["sweep=seeds", "seed=1,2", *tiny, "model=unet2d", "score_test=false", "hydra.sweep.dir=both"]
    said = called(wheel, tmp_path, "train", "-m", *words)
    assert "2 of 2 members finished" in said
    assert "strokelab evaluate sweep=" in said, "a printed command is one that works here"
    record = json.loads((tmp_path / "both" / "sweep.json").read_text())
    assert record["script"] == "", "members were started through the package"
    log = (tmp_path / "both" / "unet2d-seed1" / "log.txt").read_text()
    assert "-m strokelab.doors.train" in log
    assert str(ROOT / "train.py") not in log


def test_hydra_s_flags_reach_both_doors_in_their_order(wheel, tmp_path):
    own = tmp_path / "my_conf" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nseed: 41\n")
    job = called(wheel, tmp_path, "train", "--config-dir", "my_conf", "experiment=mine", "--cfg", "job")
    assert "seed: 41" in job
    listed = called(wheel, tmp_path, "evaluate", "--help")
    groups = [line.partition(":")[0] for line in listed.partition("== Settings ==")[0].splitlines() if ": " in line]
    assert groups == ["data", "postprocess", "ensemble", "logger"]
    assert "runs: []" in listed
    assert "folders of sweeps (train.py -m)" in listed, "a setting has the words of its file"


def test_a_job_starts_its_member_through_the_package(wheel, tmp_path):
    shown = called(wheel, tmp_path, "submit", "seed=1,2", "--dry-run")
    assert shown.count("\n    strokelab train seed=") == 2
    assert "Dry run: 2 job(s)" in shown
    assert "none submitted, nothing written" in shown
    assert list(tmp_path.iterdir()) == []
