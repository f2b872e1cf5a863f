"""The one command of the benchmarks: what it offers, what it says, and how a page gets its table."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.__main__")


def ask(*words):
    return subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True)


def test_parts_are_named_and_exist(benchmarks):
    answer = ask("--help").stdout
    for part, (module, function) in benchmarks.PARTS.items():
        assert part in answer
        assert callable(getattr(importlib.import_module(module), function))
        assert f"`{part}`" in (ROOT / "docs" / "performance.md").read_text()
    wrong = ask("nonsense")
    assert wrong.returncode == 2
    assert "startup" in wrong.stderr


def test_rounds_are_interleaved_and_the_first_does_not_count(benchmarks):
    from benchmarks.measure import interleaved

    turns = []
    medians = interleaved({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, rounds=2)
    assert turns == ["a", "b"] * 3
    assert set(medians) == {"a", "b"}


def test_ratios_goals_and_rates(benchmarks, tmp_path):
    from benchmarks.measure import Row

    fast = Row("loading", 0.001, "queue", 0.02, goal=5, rate="slices/s")
    slow = Row("help", 1.0, "imports first", 4.0, goal=10)
    floor = Row("predict", 60.0, "floor", 45.0)
    assert (fast.met, slow.met, floor.met) == (True, False, None)
    assert fast.cells()[1:5] == ("1,000 slices/s", "queue: 50 slices/s", "20.0x", "5x met")
    assert slow.cells()[4] == "10x MISSED"
    assert floor.cells()[3] == "0.75x"
    page = tmp_path / "page.md"
    page.write_text(f"before\n{benchmarks.BEGIN}\nold\n{benchmarks.END}\nafter\n")
    benchmarks._into_page(page, [fast, slow], "2 cores")
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert len(re.findall(r"^\|", text, re.M)) == 4


def test_a_failing_contestant_is_no_fast_one(benchmarks):
    from benchmarks.measure import command

    with pytest.raises(RuntimeError, match="no-such-file"):
        command("no-such-file.py")()
