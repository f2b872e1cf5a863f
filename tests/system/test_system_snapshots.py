"""Snapshots of a fold of MAPPING's nnU-Net: trained, averaged beside the run's own row, applied to a scan."""

import csv
import json

import numpy as np
import pandas as pd
from nibabel import load as load_image
from tiny_runs import patch_settings

from strokelab.data import read_cases
from strokelab.runs import load_ensemble

SNAPSHOTS = [
    "+callbacks.snapshots._target_=strokelab.callbacks.snapshots.Snapshots",
    "+callbacks.snapshots.folder=${run_dir}/checkpoints",
    "+callbacks.snapshots.epochs=[1,2]",
]


def test_a_fold_of_nnunet_with_snapshots(tiny, t1_cohort, doors, tmp_path):
    model = ["model=nnunet", "split=kfold", "split.folds=3", "split.fold=1", "run_dir=run", "score_test=false"]
    settings = [item for item in patch_settings(tiny) if "case_metrics" not in item]
    doors.train(*settings, *model, *SNAPSHOTS, cwd=tmp_path).check()
    names = sorted(path.stem for path in (tmp_path / "run/checkpoints").glob("snapshot*.ckpt"))
    assert names == ["snapshot-0001", "snapshot-0002"]
    with (tmp_path / "run/metrics.csv").open(newline="") as lines:
        assert [row["epoch"] for row in csv.DictReader(lines) if row["snapshot/rate"]] == ["0", "1"]
    doors.evaluate("runs=[run]", "ensemble=snapshots", "out=out", cwd=tmp_path).check()
    table = pd.read_csv(tmp_path / "out/cases.csv")
    assert list(dict.fromkeys(table["run"])) == ["nnunet", "nnunet_e"]
    assert table["error"].isna().all()
    case = read_cases("atlas_v1", t1_cohort)[0]
    scan = str(case.reference_image)
    told = ["predict", "run", scan, "--out", "masks", "--checkpoint", "snapshots", "--disagreement", "--json"]
    done = doors.strokelab(*told, cwd=tmp_path).check()
    account = json.loads(done.output[done.output.index("{") :])
    mask = np.asarray(load_image(tmp_path / account["cases"][0]["mask"]).dataobj)
    expected = load_ensemble([tmp_path / "run"], checkpoint="snapshots").predict(scan)
    np.testing.assert_array_equal(mask, expected.mask)
