"""Real trainings, three loggers: the same names and values in each, read back from their files; one run per folder."""

import csv
import json

import pytest
from tiny_runs import SHORT_MAIN
from wandb_files import offline_runs

from strokelab.callbacks.weights_and_biases import BEST
from strokelab.dashboard import Board, specification

OFFLINE = {"WANDB_MODE": "", "WANDB_API_KEY": "", "NETRC": "/nonexistent"}
LOGGERS = "logger=[tensorboard,wandb]"


def csv_values(run):
    with (run / "metrics.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {
        (name, int(row["step"])): float(text) for row in rows for name, text in row.items() if name != "step" and text
    }


def tensorboard_values(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    found = [((tag, event.step), event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    assert len(set(found)) == len(dict(found)), "a step stands twice, with two values"
    return dict(found)


@pytest.fixture(scope="module")
def phantom_run(tiny, doors, tmp_path_factory):
    """A member of a sweep on phantoms, with every logger, and what it printed."""
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("multirun") / "2026-11-20" / "leave-one-site-out"
    run = folder / "sgnet-fold1-seed3"
    folder.mkdir(parents=True)
    (folder / "multirun.yaml").write_text("{}\n")
    data = ["data=phantom", "data.spacing=8", "data.sites=3", "data.cases_per_site=3", "split.fold=1", "seed=3"]
    settings = [item for item in tiny if not item.startswith(("data=", "data.root", "data.n_sites"))]
    more = ["callbacks.case_metrics.every_n_epochs=1", "logger.wandb.log_model=best", "logger.wandb.tags=[pilot]"]
    done = doors.train(*data, *settings, SHORT_MAIN, LOGGERS, *more, f"run_dir={run}", cwd=folder, env=OFFLINE).check()
    (found,) = offline_runs(run)
    return run, found, done.output


@pytest.mark.slow
def test_the_same_names_and_values_in_csv_tensorboard_and_wandb(phantom_run):
    run, board, _ = phantom_run
    expected = csv_values(run)
    names = {name for name, _ in expected}
    assert {"train/loss", "val/loss", "val/pooled_dice", "val/dice", "val/hd95", "val/hd95_infinite"} <= names
    assert {"val/micro_dice", "val/cases", "val/failed_cases", "site/accuracy", "main/gamma_mean"} <= names
    assert board.values() == expected
    found = tensorboard_values(run)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-7), "TensorBoard keeps float32"


@pytest.mark.slow
def test_a_run_is_named_grouped_and_tagged(phantom_run):
    run, board, output = phantom_run
    identity = json.loads((run / "wandb.json").read_text())
    assert board.run.run_id == identity["id"]
    assert identity["ended"]
    assert board.run.project == "strokelab"
    assert board.run.display_name == "sgnet-phantom_atlas_v1-Site2-seed3"
    assert board.run.run_group == "2026-11-20-leave-one-site-out"
    assert board.run.job_type == "train"
    assert list(board.run.tags) == ["sgnet", "phantom_atlas_v1", "leave_one_site_out", "fold 1", "Site2", "pilot"]
    assert board.exit_code == 0
    assert "W&B offline (no key on this machine)" in output
    assert f"wandb sync {board.folder}" in output


@pytest.mark.slow
def test_its_config_is_the_settings_the_commit_and_what_boards_filter_by(phantom_run):
    run, board, _ = phantom_run
    environment = json.loads((run / "environment.json").read_text())
    flat = {"family": "sgnet", "dataset": "phantom_atlas_v1", "phantom": True, "split_rule": "leave_one_site_out"}
    flat |= {"fold": "1", "held_out": "Site2", "seed": 3, "sweep": "2026-11-20-leave-one-site-out"}
    assert board.config.items() >= (flat | {"commit": environment["commit"]}).items()
    assert board.config["model"]["optimizer"]["lr"] == 0.05
    assert board.config["cohort"]["training_scans"].keys() == {"Site1", "Site3"}
    assert board.config["environment"] == environment


@pytest.mark.slow
def test_the_test_part_is_there_in_means_case_by_case_and_in_pictures(phantom_run):
    run, board, _ = phantom_run
    with (run / "cases.csv").open(newline="") as handle:
        cases = list(csv.DictReader(handle))
    assert board.summary["test/cases"] == len(cases) == 3
    assert board.summary["test/dice"] == pytest.approx(sum(float(row["dice"]) for row in cases) / 3)
    table = board.table("test/per_case")
    assert [row["case"] for row in table] == [row["case"] for row in cases]
    assert [row["dice"] for row in table] == [float(row["dice"]) for row in cases]
    assert {"site", "scanner", "lesion_ml", "hd95", "lesion_f1", "error"} <= table[0].keys()
    images = [path for path in board.pictures() if "mask" not in path.parts]
    assert len(images) == 3, "best, median, worst"
    assert len(board.pictures()) == 3 + 2 * 3, "each with a drawn and a predicted mask"
    (captions,) = [row["test/overlays"]["captions"] for row in board.history if "test/overlays" in row]
    assert [text.split(":")[0] for text in captions] == ["best", "median", "worst"]


@pytest.mark.slow
def test_the_best_of_every_curve_stands_in_the_summary(phantom_run):
    run, board, _ = phantom_run
    values = csv_values(run)
    assert set(BEST) <= board.metrics.keys()
    assert board.metrics["val/dice"].step_metric or board.metrics["val/dice"].step_metric_index
    assert board.summary["val/dice"]["max"] == max(value for (name, _), value in values.items() if name == "val/dice")
    assert board.summary["val/loss"]["min"] == min(value for (name, _), value in values.items() if name == "val/loss")


@pytest.mark.slow
def test_a_checkpoint_asked_for_waits_in_the_run_folder_to_be_uploaded(phantom_run):
    run, board, _ = phantom_run
    (model,) = [artifact for artifact in board.artifacts if artifact.type == "model"]
    (file,) = model.manifest.contents
    assert file.path == "model.ckpt"
    assert "best" in model.aliases
    assert file.local_path.startswith(str(run)), "not in the user's home"
    with open(file.local_path, "rb") as handle:
        assert handle.read() == (run / "checkpoints" / "best.ckpt").read_bytes()


@pytest.mark.slow
def test_the_dashboard_asks_for_what_runs_log(phantom_run):
    _, board, _ = phantom_run
    logged = {name for row in board.history for name in row} | board.summary.keys()
    text = json.dumps(specification(Board()))
    sections = json.loads(text)["spec"]["section"]["panelBankConfig"]["sections"]
    asked = set()
    for panel in (panel for section in sections for panel in section["panels"]):
        config = panel["config"]
        asked |= {*config.get("metrics", []), *config.get("mediaKeys", [])} | {config.get("xAxis", "test/dice")}
        accessors = [column["accessor"].split(":", 1) for column in config.get("columns", [])]
        asked |= {name for kind, name in accessors if kind == "summary"}
        keys = [name for kind, name in accessors if kind == "config"] + [config.get("groupBy", "seed.value")]
        for path in (key.replace(".value", "") for key in keys):
            node = board.config
            for part in path.split("."):
                node = node[part]
    asked -= {"curves_only/pooled_dice"}  # of runs without a validation part
    asked -= {"stage", "snapshot/rate"}  # of trainings in stages, of runs with snapshots
    assert asked <= logged, asked - logged
    assert {"test/dice", "test/hd95", "val/dice", "train/loss", "site/chance", "test/overlays"} <= asked
    columns = board.table("test/per_case")[0]
    (chart,) = [p["config"] for s in sections for p in s["panels"] if p["viewType"] == "Vega2"]
    assert set(chart["fieldSettings"].values()) <= columns.keys()
    assert '"test/per_case"' in json.dumps(chart["userQuery"])


@pytest.mark.slow
def test_a_killed_run_goes_on_as_the_same_run_and_no_step_stands_twice(tiny, doors, tmp_path):
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    settings = [*tiny, SHORT_MAIN, LOGGERS, f"run_dir={run}"]
    killed = doors.start(
        "train",
        *settings,
        cwd=tmp_path,
        env=OFFLINE,
        kill_at=("strokelab.callbacks.weights_and_biases.WeightsAndBiases.log_metrics", 9),  # in the second epoch
    ).wait()
    assert killed.status == -9, killed.output
    (first,) = run.glob("wandb/offline-run-*")
    steps = {step for _, step in csv_values(run)}
    assert max(steps) >= 5, "it had trained beyond its checkpoint"

    done = doors.train(f"resume={run}", cwd=tmp_path, env=OFFLINE).check()
    (second,) = offline_runs(run)
    assert second.folder.name != first.name
    assert first.name.endswith(f"-{second.run.run_id}")
    assert second.run.display_name == "sgnet-atlas_v1-Site1-seed0"
    assert {step for _, step in csv_values(run)} == set(range(8))
    assert second.values() == csv_values(run), "the newest part is the whole run"
    found = tensorboard_values(run)
    assert found == pytest.approx(csv_values(run), rel=1e-7)
    assert [path.name for path in (run / "wandb" / "superseded").iterdir()] == [first.name]

    assert not second.pictures(), "images of ATLAS need the user's word"
    assert "No pictures go to W&B (ATLAS may not be passed on" in done.output
    assert len(second.table("test/per_case")) == 3
