"""Evaluations on W&B: what lies in the offline files of ``logger=wandb``, and what stays here."""

import json

import pandas as pd
import pytest
from wandb_files import offline_runs

from strokelab.configuration import compose
from strokelab.errors import ConfigError
from strokelab.evaluation import evaluate
from strokelab.evaluation.matrix import matrix


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def evaluated(run, out, *words):
    chosen = [f"runs=['{run}']", f"out='{out}'", "save_predictions=false", *words]
    evaluate(compose("evaluate", chosen))
    return offline_runs(out)


def test_tables_figures_and_leaderboard_of_an_evaluation(trained_unet, tmp_path):
    assert evaluated(trained_unet, tmp_path / "off") == [], "off by default"
    (found,) = evaluated(trained_unet, tmp_path / "on", "logger=wandb")
    assert (found.run.display_name, found.run.job_type, found.exit_code) == ("on", "evaluate", 0)
    assert set(found.run.tags) == {"unet2d", "atlas_v1"}
    cases = pd.read_csv(tmp_path / "on/cases.csv")
    (row,) = found.table("evaluation/leaderboard")
    assert (row["model"], row["n"]) == ("unet2d", len(cases))
    assert row["dice"] == pytest.approx(cases["dice"].mean())
    assert len(found.table("evaluation/per_case")) == len(cases)
    assert found.summary["best/model"] == "unet2d"
    keys = {name for row in found.history for name in row}
    assert {"evaluation/table_results", "evaluation/table_intervals", "evaluation/figure_dice_by_site"} <= keys
    assert not {name for name in keys if "overlays" in name}, "scans of ATLAS stay here unless asked for"
    assert not {name for name in keys if name.endswith(("table_cases", "table_runs"))}


def test_cases_of_own_files_are_numbered_and_the_command_stays_here(trained_unet, t1_cohort, tmp_path):
    from strokelab.data import read_cases

    case = read_cases("atlas_v1", t1_cohort)[0]
    listed = pd.DataFrame([{"case": "mueller", "T1w": case.images["T1w"], "label": case.lesions[0].path}])
    listed.to_csv(tmp_path / "own.csv", index=False)
    data = ["data=folder", f"data.root='{tmp_path}/own.csv'", "data.modalities=[T1w]"]
    (found,) = evaluated(trained_unet, tmp_path / "out", "logger=wandb", *data)
    assert [row["case"] for row in found.table("evaluation/per_case")] == ["case 0001"]
    assert "command" not in found.config
    assert not found.arguments
    texts = [path.read_text() for path in found.folder.rglob("*.json")]
    assert not [text for text in texts if "mueller" in text]


def test_the_matrix_goes_there_too(trained_unet, t1_cohort, tmp_path):
    nodes = compose("evaluate", ["logger=wandb", f"out='{tmp_path}'"])["logger"]
    from strokelab.configuration import plain

    loggers = plain(nodes)
    matrix([trained_unet], [f"mine={t1_cohort}"], tmp_path / "out", store=tmp_path / "store", loggers=loggers)
    (found,) = offline_runs(tmp_path / "out")
    (row,) = found.table("evaluation/leaderboard")
    assert (row["model"], row["dataset"], row["n"]) == ("unet2d", "mine", 3)
    (line,) = found.table("evaluation/table_matrix")
    assert line["mine"].endswith("n = 3")
    assert "evaluation/figure_matrix" in {name for row in found.history for name in row}
    assert json.dumps(found.config["datasets"]) == '["atlas_v1"]'


def test_a_logger_that_takes_no_evaluation_is_said_before_anything_is_predicted(trained_unet, tmp_path):
    with pytest.raises(ConfigError, match="logger=wandb"):
        evaluated(trained_unet, tmp_path / "out", "logger=tensorboard")
