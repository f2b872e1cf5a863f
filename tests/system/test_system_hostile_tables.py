"""Names, errors and tables of a stranger's sweep: no script in a report, no formula, no LaTeX, no terminal command."""

import json
import re
import shutil

import pandas as pd
import pytest
import yaml

from strokelab.errors import StrokelabError
from strokelab.evaluation.sweep import gather
from strokelab.runs import read_environment, read_status
from strokelab.scoring import read_scores

SCRIPT, FORMULA, LATEX = "<script>alert(1)</script>", "=cmd|'/C calc'!A0", r"\input{/etc/passwd}"
TERMINAL, MARKUP = "\x1b]0;owned\x07\x1b[2J", "[bold red]x[/] [/] [link=file:///]"
NAMES = [SCRIPT, FORMULA, LATEX, "@SUM(A1)", "../../up", "+1-cmd|'x'!A0", MARKUP, TERMINAL]


@pytest.fixture
def sweep(trained_run, tmp_path):
    """A sweep whose every text is chosen by somebody else; its data are elsewhere, so its own tables are taken."""
    folder = tmp_path / "sweep"
    for place, name in (("a", SCRIPT), ("=b", FORMULA)):
        run = shutil.copytree(trained_run, folder / place)
        _rename(run, name)
    (folder / "=b" / "metrics.csv").write_bytes(b'epoch,step,"=x\n\x00\xff,"unclosed,,,,\n1,2,3,4,5\n')
    (folder / "d").mkdir()
    error = {"state": "failed", "error": f"<img src=x onerror=alert(1)> {TERMINAL} {MARKUP} {FORMULA}"}
    (folder / "d" / "status.json").write_text(json.dumps(error))
    members = [
        {"number": number, "folder": place, "overrides": [f"model={SCRIPT}{number}"], "digest": ""}
        for number, place in enumerate(["a", "=b", "d"])
    ]
    record = {"script": "x", "cwd": "/", "python": "x", "launcher": SCRIPT, "members": members}
    (folder / "sweep.json").write_text(json.dumps(record))
    (folder / "multirun.yaml").write_text("hydra: {sweep: {}, sweeper: {}}\n")
    return folder


def _rename(run, name):
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["name"] = name
    settings["cohort"]["root"] = f"/gone/{SCRIPT}"
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    files = ("split", "cases", "probabilities")
    tables = {file: pd.read_csv(run / f"{file}.csv", keep_default_na=False) for file in files}
    tested = tables["split"].loc[tables["split"]["part"] == "test", "case_id"]
    ids = dict(zip(tested, NAMES, strict=False))
    for file, column in (("split", "case_id"), ("cases", "case"), ("probabilities", "case")):
        table = tables[file]
        table[column] = table[column].replace(ids)
        if file != "probabilities":
            table["site"] = "=HYPERLINK(1)<b>"
        if file == "cases":
            table["subject"], table["scanner"], table["run"] = FORMULA, TERMINAL + LATEX, name
        table.to_csv(run / f"{file}.csv", index=False)
    content = json.loads((run / "environment.json").read_text())
    content.update(command=SCRIPT, commit=TERMINAL, overrides=[f"={SCRIPT}=1"])
    (run / "environment.json").write_text(json.dumps(content))


@pytest.mark.slow
def test_a_report_of_hostile_names_is_a_page_of_words(sweep, doors):
    done = doors.start("evaluate", "sweep=sweep", "out=out", cwd=sweep.parent).wait()
    assert done.status == 0, done.output
    assert "\x1b]" not in done.output
    assert "\x1b[2J" not in done.output
    assert "\x07" not in done.output
    out = sweep.parent / "out"
    assert sorted(path.name for path in sweep.parent.iterdir()) == ["out", "sweep"]
    page = (out / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"<script>alert|<img src=x|<b>|\x1b|\x07", page)
    tables = [path for path in out.rglob("*") if path.suffix in (".csv", ".tsv")]
    assert len(tables) > 5
    for path in tables:
        assert not re.search(r"(^|[,\t])\"?[=@]|(^|[,\t])\"?[+-][^,]*\|", path.read_text(), re.MULTILINE), path
        assert "\x1b" not in path.read_text()
    for path in out.rglob("*.tex"):
        assert r"\input" not in path.read_text()
        assert "\x1b" not in path.read_text()


def test_the_table_of_a_hostile_sweep_is_words_too(sweep, doors):
    done = doors.start("strokelab", "sweep", "sweep", cwd=sweep.parent).wait()
    assert done.status == 0, done.output
    assert not re.search(r"\x1b\]|\x1b\[2J|\x07", done.output)
    assert "[bold red]x[/]" in done.output  # as it stands, not as a style
    assert not re.search(r"(^|,)\"?[=@]", (sweep / "sweep.csv").read_text(), re.MULTILINE)


def test_what_is_read_of_a_run_holds_no_terminal_commands(sweep):
    assert "\x1b" not in read_status(sweep / "d")["error"]
    assert "\x1b" not in read_environment(sweep / "a")["commit"]
    scores = read_scores(sweep / "a/cases.csv", sweep / "a/probabilities.csv")
    assert not scores.cases["scanner"].str.contains("\x1b").any()
    assert FORMULA in set(scores.cases["subject"])  # read as it was written


def record(**changes):
    member = {"number": 0, "folder": "a", "overrides": [], "digest": ""}
    content = {"script": "x", "cwd": "/", "python": "x", "launcher": "processes", "members": [member]}
    return json.dumps({**content, **changes})


def one(**changes):
    return record(members=[{"number": 0, "folder": "a", "overrides": [], "digest": "", **changes}])


RECORDS = {
    "a member above": one(folder="../outside"),
    "a member at the root": one(folder="/etc"),
    "a member that is the sweep": one(folder="."),
    "a folder with a null byte": one(folder="a\0b"),
    "a number that is none": one(number="1"),
    "overrides that are a text": one(overrides="x"),
    "a million members": record(members=[{}] * 1_000_000),
    "members that are no list": record(members={"a": 1}),
    "nested without end": "[" * 200_000,
    "half a file": record()[:-5],
    "not text": "\x00\xff\xfe",
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_hostile_record_is_refused_by_name(kind, tmp_path):
    (tmp_path / "sweep.json").write_text(RECORDS[kind])
    (tmp_path / "multirun.yaml").write_text("hydra: {sweep: {}, sweeper: {}}\n")
    with pytest.raises(StrokelabError) as caught:
        gather(tmp_path)
    assert str(tmp_path / "sweep.json") in str(caught.value)
    assert len(str(caught.value)) < 2000


def multirun(task, subdir="${hydra:job.num}", **values):
    sweeper = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None}
    return yaml.safe_dump(
        {"hydra": {"sweep": {"subdir": subdir}, "sweeper": sweeper, "overrides": {"task": task}}, **values}
    )


GROWING = {
    "many references of many references": multirun(
        ["seed=1,2"], subdir="${a}", **{c: f"${{{n}}}" * 60 for c, n in zip("abcdefgh", "bcdefghi", strict=True)}, i="x"
    ),
    "empty references without end": multirun(
        ["seed=1,2"], subdir="${a}", **{c: f"${{{n}}}" * 60 for c, n in zip("abcdefgh", "bcdefghi", strict=True)}, i=""
    ),
    "a circle": multirun(["seed=1,2"], subdir="${a}", a="${b}", b="${a}"),
    "a range without end": multirun(["seed=range(1,1000000000000)"]),
    "a product without end": multirun([f"s{index}=range(0,5000)" for index in range(5)]),
    "a resolver": multirun(["seed=1,2"], subdir="${oc.env:SECRET}"),
    "an environment variable as a value": multirun(["seed=${oc.env:SECRET},2"]),
    "a folder above": multirun(["seed=1,2"], subdir="../../${hydra:job.num}"),
}


@pytest.mark.parametrize("kind", GROWING)
def test_what_a_hostile_multirun_asks_for_neither_grows_nor_tells_secrets(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "do-not-tell")
    (tmp_path / "multirun.yaml").write_text(GROWING[kind])
    before = sorted(tmp_path.rglob("*"))
    sweep = gather(tmp_path)
    assert not sweep.finished
    assert len(sweep.members) <= 2
    assert "do-not-tell" not in repr(sweep)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_hostile_multirun_with_aliases_is_refused(tmp_path):
    (tmp_path / "multirun.yaml").write_text("a: &a [x, x]\nb: [*a, *a]\nhydra: {sweep: {}, sweeper: {}}\n")
    with pytest.raises(StrokelabError, match="alias"):
        gather(tmp_path)
