"""The benchmark of growth: its pieces do the work they claim, memory is watched, and what it makes of points."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def growth(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.growth")


def point(growth, work, cases, at_once=1, **more):
    facts = {"seconds": cases * 0.5, "processor": cases * 0.25, "resident_mib": 90.0, "own_mib": 50 + cases / 1024}
    return growth.Point(work, cases, at_once, **{**facts, **more})


@pytest.fixture
def points(growth):
    works = ("prepare", "find again", "score", "report")
    listed = [point(growth, work, cases) for cases in (10, 100, 1000) for work in works]
    listed += [point(growth, "epoch", cases, count) for cases in (10, 100, 1000) for count in (0, 2)]
    return [*listed, *(point(growth, "members", 100, count, note="100 preparations") for count in (1, 4))]


def test_members_prepare_each_case_once_and_are_watched(growth, t1_cohort, tmp_path):
    one = growth._of_members(t1_cohort, tmp_path / "two", 9, 2)
    assert one.note.startswith("9 preparations")
    assert 20 < one.own_mib <= one.resident_mib < 8000
    assert one.processor > 0
    assert 0 < one.seconds < 600
    again = growth._watched("find again", [growth._prepare(t1_cohort, tmp_path / "two" / "store")], tmp_path / "log")
    assert again.answers[0]["prepared"] == []
    assert again.answers[0]["cases"] == 9


def test_a_second_preparation_is_not_overlooked(growth, monkeypatch, tmp_path):
    answer = {"prepared": ["a", "b"], "cases": 2, "seconds": 1, "processor": 1}
    monkeypatch.setattr(growth, "_watched", lambda *_: growth.Watched([answer, answer], 1.0, 1.0, 1.0))
    with pytest.raises(RuntimeError, match="4 preparations of 2 of 2 cases by 2 members"):
        growth._of_members(tmp_path, tmp_path / "members", 2, 2)


@pytest.mark.slow
def test_an_epoch_is_that_of_train_py(growth, t1_cohort, tmp_path):
    places = (f"data.root={t1_cohort}", f"data.store={tmp_path / 'store'}", "data.n_sites=3", "split=all")
    words = growth._work("train", tmp_path / "clock.json", *growth.TINY, *places, f"hydra.run.dir={tmp_path / 'run'}")
    (answer,) = growth._watched("epoch", [words], tmp_path / "log").answers
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    assert answer["samples"] > 9 * 10
    assert 0 < answer["seconds"] < 600


def test_scoring_is_that_of_a_training(growth, trained_unet, session_folder, tmp_path):
    work = importlib.import_module("benchmarks.growth_work")
    run = Path(shutil.copytree(trained_unet, tmp_path / "run"))
    (run / "cases.csv").unlink()
    waited = []
    answer = work.score(lambda: waited.append(1), str(run), str(session_folder / "store"))
    assert waited == [1]
    assert (run / "cases.csv").read_text() == (trained_unet / "cases.csv").read_text()
    assert answer["cases"] == 3


def test_a_split_for_the_evaluation_trains_on_two_sites(growth, t1_cohort, tmp_path):
    rows = growth._nearly_all_test(t1_cohort, tmp_path / "split.csv").read_text().splitlines()
    assert [row.endswith(",train") for row in rows].count(True) == 2
    assert len(rows) == 1 + 9


def test_work_that_fails_stops_the_measurement_with_its_words(growth, tmp_path):
    with pytest.raises(RuntimeError, match="no-such-cohort"):
        growth._watched("prepare", [growth._prepare(Path("no-such-cohort"), tmp_path / "store")], tmp_path / "log")


def test_tables_and_chart(growth, points, tmp_path):
    page = importlib.import_module("benchmarks.growth_page")
    text = page.tables(points)
    prepare = next(line for line in text.splitlines() if line.startswith("| prepare"))
    assert "| 5.0 s, 50 MiB (90) | 50.0 s, 50 MiB (90) | 500.0 s, 51 MiB (90) |" in prepare
    assert prepare.endswith("| 1.00x | 1.00x | 1 KiB |")
    assert "| 4 | 100 | 50.0 | 50 MiB | 13 MiB | 100 preparations |" in text
    page.chart(points, tmp_path / "chart.png")
    assert 2_000 < (tmp_path / "chart.png").stat().st_size < 60_000
    target = tmp_path / "page.md"
    target.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.into_page(target, text, "2 cores", tmp_path / "chart.png")
    content = target.read_text()
    assert content.startswith("before\n")
    assert content.endswith("after\n")
    assert "![growth](chart.png)" in content
    assert "old" not in content


def test_the_command_tells_its_sizes_and_the_page_has_its_place():
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks", "growth", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    for option in ("--cases", "--workers", "--members", "--chart", "--markdown"):
        assert option in answer.stdout
    content = (ROOT / "docs" / "performance.md").read_text()
    assert "<!-- growth: begin -->" in content
    assert "<!-- growth: end -->" in content
