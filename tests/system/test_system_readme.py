"""The README's commands and Python lines do what it says, in order, as a reader types them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


SMALLER = ("data.sites=3", "data.cases_per_site=2", "trainer.max_epochs=1")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Each as typed, but with a cohort and trainings of a test's size."""
    lines = [line.strip() for block in blocks("bash") for line in block.splitlines()]
    lines = [line.replace("experiment=first_steps", f"experiment=first_steps {' '.join(SMALLER)}") for line in lines]
    return [line for line in lines if line and not line.startswith(("#", "make "))]


@pytest.mark.slow
def test_the_readme_is_true(tmp_path):
    for name in ("train.py", "evaluate.py", "conf"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "STROKELAB_STORE": str(tmp_path / "store"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("STROKELAB_DATA")
    python = "\n".join(blocks("python"))
    for command in [*commands(), python]:
        line = [sys.executable, "-c", command] if command == python else ["bash", "-ec", command]
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for result in (
        "outputs/sgnet/cases.csv",
        "outputs/unet2d/checkpoints/last.ckpt",
        "outputs/evaluation/report.html",
        "outputs/evaluation/cases.csv",
        "outputs/predictions/lesions.tsv",
        "outputs/predictions/dataset_description.json",
        "outputs/sweep/report.html",
        "multirun/seeds/sweep.csv",
    ):
        assert (tmp_path / result).is_file(), result
    cohorts = [path.parent for path in tmp_path.rglob("phantom.json")]
    assert cohorts == [tmp_path / "data" / "phantom"], "one cohort through all steps"


def test_make_and_the_text_name_what_exists():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.MULTILINE)) <= set(targets)
    for link in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / link).exists(), link
