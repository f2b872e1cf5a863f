"""Sweeps: one run folder per member, each the same as if it had been trained alone."""

import pandas as pd
import torch
from tiny_runs import SHORT_MAIN

SETTINGS = ["sweep=leave_one_site_out", "hydra.sweep.dir=sweep", SHORT_MAIN]


def test_every_site_is_held_out_once_and_members_do_not_touch_each_other(tiny, trained_run, doors, tmp_path):
    done = doors.train("-m", *SETTINGS, *tiny, cwd=tmp_path).check()
    folders = sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert folders == [f"sgnet-fold{fold}-seed0" for fold in range(3)], done.output
    for fold in range(3):
        table = pd.read_csv(tmp_path / f"sweep/sgnet-fold{fold}-seed0/cases.csv")
        assert set(table["site"]) == {f"Site{fold + 1}"}
    mine, alone = (
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in (tmp_path / "sweep/sgnet-fold0-seed0", trained_run)
    )
    assert all(torch.equal(mine[name], alone[name]) for name in alone)
    doors.evaluate("runs=[sweep/sgnet-fold0-seed0,sweep/sgnet-fold1-seed0]", "out=out", cwd=tmp_path).check()
    assert set(pd.read_csv(tmp_path / "out/cases.csv")["site"]) == {"Site1", "Site2"}


def test_one_bad_member_does_not_cost_the_others(tiny, doors, tmp_path):
    arguments = ["-m", "split.fold=0,9,1", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${split.fold}", SHORT_MAIN]
    done = doors.train(*arguments, *tiny, "trainer.max_epochs=1", cwd=tmp_path)
    assert done.status == 1
    assert "split.fold" in done.output
    assert [name for name in "091" if (tmp_path / "sweep" / name / "cases.csv").is_file()] == ["0", "1"]
