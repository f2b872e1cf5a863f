"""The page about own parts: its code, yaml files and commands work as they stand there, on a tiny cohort."""

import csv
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import yaml

from strokelab.data import read_cases

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "own_parts.md").read_text()
TINY = {
    "data": {"batch_size": 16, "prepare_workers": 1},
    "view": {
        "preparation": {"crop": [24, 28, None], "offset": None},
        "sampler": {"min_brain_pixels": 8},
    },
    "trainer": {"max_epochs": 2},
    "callbacks": {"case_metrics": {"every_n_epochs": 2}},
}
TINY_VOLUMES = {
    "data": {"prepare_workers": 1},
    "view": {"sampler": {"iterations_per_epoch": 2, "validation_iterations": 1}, "windows": {"mirror": "none"}},
    "trainer": {"max_epochs": 1},
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def write_parts(folder: Path) -> None:
    for block in [*blocks("python"), *blocks("yaml")]:
        first, _, text = block.partition("\n")
        path = folder / first.removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_cohort(root: Path, folder: Path) -> list[str]:
    """The csv of the page, with the columns it shows; returns the case ids."""
    columns = blocks("csv")[0].split()[0].split(",")
    cases = read_cases("atlas_v1", root)
    with (folder / "cohort.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for case in cases:
            label = ";".join(str(lesion.path) for lesion in case.lesions)
            values = {"case": case.case_id, "subject": case.subject_id, "site": case.site, "label": label}
            table.writerow({**values, "T1w": case.images["T1w"]})
    (folder / "scans").mkdir()
    (folder / "scans" / "new_T1w.nii.gz").symlink_to(cases[0].images["T1w"])
    return [case.case_id for case in cases]


def commands(place: int) -> list[list[str]]:
    """The commands of one of the page's blocks, word by word as a shell gives them."""
    script = blocks("bash")[place].replace("max_epochs=51", "max_epochs=3")
    return [shlex.split(line) for line in script.splitlines() if not line.startswith("export")]


def made_small(folder: Path, settings: dict) -> Path:
    """The file that makes the trainings of a folder small."""
    local = folder / "conf" / "local" / "default.yaml"
    local.parent.mkdir()
    local.write_text("# @package _global_\n" + yaml.safe_dump(settings))
    return local


@pytest.mark.slow
def test_the_network_of_volumes_trains_with_both_samplers(tmp_path, t1_cohort, doors):
    write_parts(tmp_path)
    write_cohort(t1_cohort, tmp_path)
    made_small(tmp_path, TINY_VOLUMES)
    for program, door, *words in commands(0):
        assert program == "strokelab"
        doors.strokelab(door, *words, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}).check()
    runs = [yaml.safe_load((tmp_path / "runs" / name / "config.yaml").read_text()) for name in ("tiny3d", "boxes")]
    assert [run["view"]["sampler"]["patch"] for run in runs] == [[32, 32, 32]] * 2
    assert runs[0]["view"]["sampler"]["iterations_per_epoch"] == 2
    assert runs[1]["view"]["sampler"].keys() == {"_target_", "patch", "per_case"}
    assert all(run["model"]["network"]["_target_"] == "my_parts.volumes.Tiny3D" for run in runs)
    assert all((tmp_path / "runs" / name / "checkpoints" / "best.ckpt").is_file() for name in ("tiny3d", "boxes"))


@pytest.mark.slow
def test_the_page_is_true(tmp_path, t1_cohort, doors):
    write_parts(tmp_path)
    ids = write_cohort(t1_cohort, tmp_path)
    local = made_small(tmp_path, TINY)
    for program, door, *words in commands(-1):
        assert program == "strokelab"
        if door == "evaluate":
            local.unlink()  # it makes trainings small; an evaluation has no such settings
        doors.strokelab(door, *words, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}).check()
    own, run = pd.read_csv(tmp_path / "evaluation" / "cases.csv"), tmp_path / "runs" / "plain"
    assert set(own["case"]) <= set(ids)
    ratio = own["prediction_ml"] / own["lesion_ml"]
    assert own["volume_ratio"].to_numpy() == pytest.approx(ratio.to_numpy(), rel=1e-6)
    summary = pd.read_csv(tmp_path / "evaluation" / "summary.csv").query(
        "level == 'model' and metric == 'volume_ratio'"
    )
    assert summary["mean"].item() == pytest.approx(own["volume_ratio"].mean())
    assert "volume_ratio" in (tmp_path / "evaluation" / "report.html").read_text()
    history = pd.read_csv(run / "metrics.csv")
    assert history["epoch"].max() == 2
    assert history["val/volume_ratio"].notna().sum() == 1
    assert history["val/missed"].dropna().between(0, 1).tolist() == [True] * 3
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["network"] == {"_target_": "my_parts.network.Plain", "in_channels": 1, "width": 8}
    assert config["model"]["loss"] == {"_target_": "my_parts.loss.Tversky"}
    assert config["view"]["sampler"] == {"_target_": "my_parts.sampler.Thinned", "min_brain_pixels": 8, "step": 2}
    assert (tmp_path / "predictions" / "lesions.tsv").is_file()
