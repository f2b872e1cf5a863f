"""What ``make docs-test`` begins with: the folder that the first hour leaves, made by its own commands, made small."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SMALLER = "experiment=first_steps data.sites=3 data.cases_per_site=2 trainer.max_epochs=1"


def blocks(text: str) -> list[tuple[str, str]]:
    """The blocks of a page that run, in order: (bash or python, text); sh and text are shown only."""
    return re.findall(r"^```(bash|python)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def run_blocks(page: Path, folder: Path, environment: dict[str, str]) -> None:
    """Run them one after the other in one folder, with a cohort and trainings of a test's size."""
    for language, text in blocks(page.read_text(encoding="utf-8")):
        small = text.replace("experiment=first_steps", SMALLER)
        line = ["bash", "-euc", small] if language == "bash" else [sys.executable, "-c", small]
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}\n{small}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """That of a reader: the commands on the PATH, a store of their own, no place for data named."""
    place = tmp_path_factory.mktemp("machine")
    kept = {key: value for key, value in os.environ.items() if key != "STROKELAB_DATA"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    own = {"PATH": path, "STROKELAB_STORE": str(place / "store"), "XDG_STATE_HOME": str(place / "state")}
    return {**kept, **own, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def first_hour(tmp_path_factory, environment):
    """The folder after the first hour."""
    folder = tmp_path_factory.mktemp("first-hour")
    for name in ("train.py", "evaluate.py", "conf"):
        (folder / name).symlink_to(ROOT / name)
    run_blocks(DOCS / "first_hour.md", folder, environment)
    return folder


@pytest.fixture
def folder(first_hour, tmp_path):
    """A copy of it for one page."""
    return shutil.copytree(first_hour, tmp_path / "reader", symlinks=True)
