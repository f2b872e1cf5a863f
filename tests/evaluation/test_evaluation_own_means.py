"""``evaluate.py ensemble=snapshots``: rows of each run's snapshots and averaged weights, seeds apart as repeats."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from evaluation_settings import write_multirun
from sibling_runs import sibling

from strokelab.configuration import build, compose, plain
from strokelab.data import read_cases
from strokelab.errors import ConfigError, RunError
from strokelab.evaluation import evaluate
from strokelab.runs import load_ensemble, load_run

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def cases(t1_cohort):
    return read_cases("atlas_v1", t1_cohort)


@pytest.fixture(scope="module")
def sweep(trained_unet, cases, tmp_path_factory):
    """Two seeds with three snapshots each, one of them with averaged weights, and a run of another model with none."""
    folder = tmp_path_factory.mktemp("sweep")
    write_multirun(folder, "name=net,plain", "seed=0,1", subdir="${name}-seed${seed}")
    spare = [sibling(trained_unet, tmp_path_factory.mktemp("spare") / "r", nudge=n + 7) for n in range(6)]
    for number, (name, seed) in enumerate([*(("net", seed) for seed in SEEDS), ("plain", 0)]):
        place = folder / f"{name}-seed{seed}"
        tested = [case.case_id for case in cases[:2]]
        sibling(trained_unet, place, nudge=number + 1, seed=seed, test=tested, name=name)
        (place / "environment.json").write_text(json.dumps({"overrides": [f"name={name}", f"seed={seed}"]}))
        if name == "net":
            for epoch, other in zip((50, 100, 150), spare[3 * seed :], strict=False):
                shutil.copy(other / "checkpoints/last.ckpt", place / f"checkpoints/snapshot-out-{epoch:04d}.ckpt")
            if seed:
                shutil.copy(spare[0] / "checkpoints/last.ckpt", place / "checkpoints/ema.ckpt")
    return folder


def told(sweep, out, *overrides):
    evaluate(compose("evaluate", [f"sweeps=[{sweep}]", f"out={out}", "ensemble=snapshots", *overrides]))
    return pd.read_csv(out / "cases.csv")


def test_rows_beside_those_of_the_runs(sweep, cases, tmp_path, capsys):
    table = told(sweep, tmp_path)
    own = ["net-seed0", "net-seed1", "plain-seed0"]
    assert list(dict.fromkeys(table["run"])) == [
        *("net-seed0", "net-seed0_e", "net-seed1", "net-seed1_e", "net-seed1_ema", "plain-seed0")
    ]
    of = {run: rows.set_index("case") for run, rows in table.groupby("run")}
    assert all((of[run]["checkpoint"] == "last.ckpt").all() for run in own)
    assert (of["net-seed1_e"]["seed"] == 1).all()
    for run, names in (("net-seed1_e", "snapshots"), ("net-seed1_ema", "ema"), ("net-seed0_e", "snapshots")):
        folder = sweep / run.rpartition("_")[0]
        for case in cases[:2]:
            mask = load_ensemble([folder], checkpoint=names).predict(case).mask
            assert of[run].loc[case.case_id, ["tp", "fp"]].sum() == mask.sum()
    words = " ".join(capsys.readouterr().out.split())
    assert "No row *_e, without snapshots: plain-seed0." in words
    assert "No row *_ema, without ema: net-seed0, plain-seed0." in words
    metrics = pd.read_csv(next((tmp_path / "tables").glob("results*.csv")))
    assert {"net", "net_e", "net_ema", "plain"} <= set(metrics.iloc[:, 0]), "repeats of a seed are one model"


def test_a_run_of_the_rows_name_stands_for_it(sweep, trained_unet, cases, tmp_path, capsys):
    """As resunet3d_f, trained on its own, beside the first stage of resunet3d."""
    tested = [case.case_id for case in cases[:2]]
    other = sibling(trained_unet, tmp_path / "other", nudge=5, test=tested, name="net_e")
    chosen = [f"runs=[{sweep / 'net-seed0'},{other}]", f"out={tmp_path / 'out'}", "ensemble=snapshots"]
    evaluate(compose("evaluate", chosen))
    table = pd.read_csv(tmp_path / "out/cases.csv")
    assert table["run"].value_counts().to_dict() == {"net": 2, "net_e": 2}
    assert set(table["checkpoint"]) == {"last.ckpt"}
    assert "No row net_e: runs are called net_e." in " ".join(capsys.readouterr().out.split())


def test_snapshots_alone_need_no_ensemble(sweep, tmp_path):
    """One run by name; a run without snapshots is an error then."""
    out = compose("evaluate", [f"runs=[{sweep / 'net-seed0'}]", f"out={tmp_path}", "checkpoint=snapshots"])
    evaluate(out)
    table = pd.read_csv(tmp_path / "cases.csv")
    assert set(table["run"]) == {"net_e"}
    assert set(table["checkpoint"]) == {"snapshot-out-0050.ckpt, snapshot-out-0100.ckpt, snapshot-out-0150.ckpt"}
    folder = tmp_path / "predictions/strokelab-net_e"
    assert len(list(folder.rglob("*_mask.nii.gz"))) == 2
    with pytest.raises(RunError) as caught:
        evaluate(compose("evaluate", [f"runs=[{sweep / 'plain-seed0'}]", "out=out", "checkpoint=snapshots"]))
    assert caught.value.found == "no snapshot"


def test_all_snapshots_of_all_runs_as_one_mean(sweep, cases, tmp_path):
    runs = [f"{sweep}/net-seed{seed}" for seed in SEEDS]
    chosen = [f"runs=[{','.join(runs)}]", "ensemble=mean", "checkpoint=snapshots", f"out={tmp_path}"]
    page = evaluate(compose("evaluate", [*chosen, "ensemble.alone=true"]))
    assert "mean of 2 runs, 3 checkpoints of each" in page.read_text()
    table = pd.read_csv(tmp_path / "cases.csv").set_index("case")
    maps = [
        load_run(run, checkpoint=f"snapshot-out-{epoch:04d}").predict(cases[0]).probability
        for run in runs
        for epoch in (50, 100, 150)
    ]
    mask = np.mean(maps, axis=0, dtype=np.float64).astype(np.float32) >= 0.5
    assert table.loc[cases[0].case_id, ["tp", "fp"]].sum() == mask.sum()


def test_a_snapshot_that_cannot_be_read_is_an_error_by_name(sweep, tmp_path):
    folder = shutil.copytree(sweep / "net-seed0", tmp_path / "run")
    (folder / "checkpoints/snapshot-out-0100.ckpt").write_bytes(b"half")
    with pytest.raises(RunError) as caught:
        evaluate(compose("evaluate", [f"runs=[{folder}]", f"out={tmp_path / 'out'}", "ensemble=snapshots"]))
    assert str(caught.value.where).endswith("snapshot-out-0100.ckpt")
    assert not (tmp_path / "out").exists(), "before anything is predicted"


def test_no_row_at_all_is_refused_where_the_runs_own_are_left_out(sweep, tmp_path):
    chosen = [f"runs=[{sweep / 'plain-seed0'}]", f"out={tmp_path}/out", "ensemble=snapshots", "ensemble.alone=true"]
    with pytest.raises(RunError):
        evaluate(compose("evaluate", chosen))
    node = plain(compose("evaluate", ["runs=[a]", "out=unused", "ensemble=snapshots"]))["ensemble"]
    assert dict(build(node).rows) == {"e": "snapshots", "f": "zoom_in", "ema": "ema"}
    with pytest.raises(ConfigError):
        build({**node, "rows": {}})
