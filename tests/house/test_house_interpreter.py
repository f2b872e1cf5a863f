"""What Python is started with and where: without docstrings, without a home folder, from a script."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from strokelab.errors import ConfigError
from strokelab.preparation.store import default_store

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
from strokelab.errors import ConfigError
from strokelab.preparation.parallel import outcomes
{0}try:
{0}    print(sorted(outcomes(abs, [-1, -2], workers=2)))
{0}except ConfigError as error:
{0}    print(error)
"""


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("environment", [{"PYTHONOPTIMIZE": "2"}, {"LC_ALL": "C", "TERM": "dumb", "COLUMNS": "0"}])
def test_the_commands_need_neither_docstrings_nor_a_fine_terminal(environment):
    done = run("-m", "strokelab.cli", "plan", "--help", **environment)
    assert done.returncode == 0, done.stderr
    assert "--gpus" in done.stdout


def test_without_a_home_folder_the_variable_is_named(monkeypatch):
    def no_entry(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("HOME", "STROKELAB_STORE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError) as refused:
        default_store()
    assert refused.value.where == "STROKELAB_STORE"
    assert "data.store=DIR" in refused.value.remedy


def test_a_script_without_a_main_guard_hears_the_reason(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT.format(""))
    told = run(str(script)).stdout
    assert f"{script}, line 5" in told
    assert 'if __name__ == "__main__":' in told
    assert told.count("found:") == 1, "no worker ran the script again"
    body = SCRIPT.format("    ").replace("    try", 'if __name__ == "__main__":\n    try', 1)
    script.write_text(body)
    assert run(str(script)).stdout == "[(-2, 2), (-1, 1)]\n"
