"""Tables as files: CSV that reads back, LaTeX that a foreign name cannot break."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_material import evaluation_of, scored_run

from strokelab.report.cells import Cell, Table
from strokelab.report.exports import NOTE, as_frame, remove_stale, write_tables
from strokelab.report.latex import escape, latex_table
from strokelab.report.tables import page_tables

NASTY = r"""sub_01 & 50% #1 $x$ {a} \input{x} ~ ^ <b> | "q" `q` [0] *"""


def table(*rows, header=("Case", "Dice\u00a0↑"), name="t", notes=()):
    return Table("Cap & tion", header, rows, notes=notes, name=name)


# CSV


def test_text_as_shown_with_numbers_behind_it():
    frame = as_frame(
        table(
            (Cell("a"), Cell("0.571 ± 0.196", 0.5714285714285714, further=(("sd", 0.19611),))),
            (Cell("b"), Cell("∞", np.inf)),
            (Cell("c"), Cell("–")),
        )
    )
    assert list(frame.columns) == ["Case", "Dice ↑", "Dice ↑ [number]", "Dice ↑ [sd]"]
    assert frame["Dice ↑"].tolist() == ["0.571 ± 0.196", "∞", "–"]
    assert frame["Dice ↑ [number]"].tolist()[:2] == [0.5714285714285714, np.inf]
    assert frame["Dice ↑ [sd]"].isna().tolist() == [False, True, True]


def test_counts_stand_alone_and_headings_that_repeat_stay_apart():
    frame = as_frame(table((Cell("3", 3.0), Cell("4", 4.0)), header=("n", "n")))
    assert frame.to_dict("list") == {"n": ["3"], "n (2)": ["4"]}


def test_a_round_trip_keeps_every_number_to_the_last_bit(tmp_path):
    numbers = [0.1 + 0.2, 1 / 3, -2e-17, np.inf]
    written = table(*((Cell(f'c,{i} "x"\nß'), Cell(f"{number:.3f}", number)) for i, number in enumerate(numbers)))
    path, _ = write_tables([written], tmp_path)
    read = pd.read_csv(path, dtype=str)
    assert read["Dice ↑ [number]"].map(float).tolist() == numbers
    assert read["Case"].tolist() == [cell.text for cell, _ in written.rows]


def test_minus_signs_are_readable():
    assert as_frame(table((Cell("a − b"), Cell("−0.5", -0.5)))).iloc[0].tolist() == ["a - b", "-0.5", -0.5]


def test_named_tables_only_and_each_once(tmp_path):
    paths = write_tables([table(name="one"), table(name=""), table(name="two")], tmp_path / "new")
    names = ["one.csv", "one.tex", "two.csv", "two.tex"]
    assert [path.relative_to(tmp_path / "new" / "tables").as_posix() for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "new" / "tables").iterdir()) == names
    with pytest.raises(ValueError, match="several tables called one"):
        write_tables([table(name="one"), table(name="one")], tmp_path)


def test_the_tables_of_a_report_have_files(tmp_path):
    dice = np.linspace(0.2, 0.8, 12)
    evaluation = evaluation_of(scored_run("u_net", dice), scored_run("sg_net", dice + 0.05 * np.sin(np.arange(12))))
    every = [found for _, _, _, several in page_tables(evaluation) for found in several]
    names = {path.stem for path in write_tables(every, tmp_path)}
    assert names == {"results", "intervals", "comparisons", "ranking", "by_size_quartile", "by_size_bin", "runs"}
    comparisons = pd.read_csv(tmp_path / "tables" / "comparisons.csv")
    assert comparisons["Difference (95 % CI) [low]"].lt(comparisons["Difference (95 % CI) [high]"]).iloc[0]
    for found in every:
        if found.name:
            check(latex_table(found), found)


# LaTeX


def check(source: str, written: Table) -> None:
    """Reads a table as TeX would: environments match, braces and $ close, every row has its cells, nothing is a command
    that we did not write, and no character is special without being escaped.
    """
    body = re.sub(r"^%.*\n", "", source)
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    depth = 0
    bare = re.sub(r"\\[{}$&#%_]", "", body.replace("\\\\", "\n"))
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not set("#%^") & set(re.sub(r"\$\^\\circ\$|\$\^[23]\$", "", bare))
    ours = {
        *("begin", "end", "centering", "small", "caption", "label", "toprule", "midrule", "bottomrule", "par"),
        *("smallskip", "footnotesize", "raggedright", "linewidth", "endfirsthead", "endhead", "endfoot", "ttfamily"),
        *("textbackslash", "textasciitilde", "textasciicircum", "textbar", "textasciigrave", "char", "dag", "dots"),
        *("pm", "infty", "leq", "geq", "times", "cdot", "uparrow", "downarrow", "rightarrow", "mu", "circ"),
    }
    assert set(re.findall(r"\\([A-Za-z]+)", body)) <= ours
    cells = re.split(r"(?<!\\)\\\\\n", body[body.index("\\midrule") :].split("\\bottomrule")[0])
    widths = {len(re.findall(r"(?<!\\)&", row)) + 1 for row in cells if re.search(r"(?<!\\)&", row)}
    assert widths <= {len(written.header)}


def test_a_small_table_as_booktabs():
    source = latex_table(table((Cell("a_1", heading=True), Cell("0.5 ± ∞", 0.5)), notes=("x ≤ 5 %",)))
    assert source.startswith("% \\usepackage{booktabs}")
    assert "\\begin{tabular}{lr}\n\\toprule\nCase & Dice~$\\uparrow$ \\\\\n\\midrule\n" in source
    assert "\na\\_1 & 0.5 $\\pm$ $\\infty$ \\\\\n\\bottomrule\n" in source
    assert "\\caption{Cap \\& tion}\\label{tab:t}" in source
    assert "x $\\leq$ 5 \\%\n" in source


def test_every_special_character_is_escaped():
    assert escape("a_b & 5% #1 $ {x}") == r"a\_b \& 5\% \#1 \$ \{x\}"
    assert escape("\\") == r"\textbackslash{}"
    assert escape("~^") == r"\textasciitilde{}\textasciicircum{}"
    assert escape("p < 0.001") == "p $<$ 0.001"
    assert escape("two\nlines\ttab\x00\x1b") == "two lines tab "
    assert escape("a--b") == "a-{}-b"
    assert escape("1–2") == "1--2"
    assert escape("[x] *") == "{[}x{]} {*}", "brackets and stars behind a row's end would be its argument"
    source = latex_table(table((Cell(NASTY), Cell(NASTY))))
    assert "\\input" not in source
    check(source, table((Cell(NASTY), Cell(NASTY))))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=20), st.text(alphabet="\\{}$&#%_~^[]*-\n'\"<>|`±", max_size=12)), max_size=4)
)
def test_no_text_breaks_a_table(texts):
    written = table(*((Cell(left), Cell(right)) for left, right in texts), notes=tuple(left for left, _ in texts))
    check(latex_table(written), written)


def test_long_tables_break_over_pages():
    long = table(*((Cell(f"c{i}"), Cell("0.5", 0.5)) for i in range(60)))
    source = latex_table(long)
    assert "\\begin{longtable}{lr}" in source
    assert source.index("\\endfirsthead") < source.index("\\endhead") < source.index("c59 &")
    check(source, long)


def test_long_words_are_set_in_lines():
    written = table((Cell("a"), Cell("no mask was found where the reference lies", words=True)))
    assert "\\begin{tabular}{lp{5cm}}" in latex_table(written)


# An earlier report in the same folder


def test_what_an_earlier_report_left_goes_and_nothing_else(tmp_path):
    folder, outside = tmp_path / "report", tmp_path / "outside.csv"
    names = ["figures/a.png", "figures/b.png", "tables/t.csv", "tables/u.tex", "figures/mine.png", "tables/mine.xlsx"]
    for path in [*(folder / name for name in names), folder / "notes.txt", folder / "deep/x.csv", outside]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    remove_stale(folder, [folder / name for name in names[:4]])
    assert all((folder / name).exists() for name in names)  # without a note nothing is known to be ours
    remove_stale(folder, [folder / "figures/a.png", folder / "tables/t.csv"])
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert left == {*("figures/a.png", "tables/t.csv"), *names[4:], "notes.txt", "deep/x.csv", NOTE}
    # A note that somebody else wrote
    wrong = ["../outside.csv", "figures/../notes.txt", "notes.txt", str(outside), "tables/mine.xlsx", "deep/x.csv", 3]
    (folder / NOTE).write_text(json.dumps({"files": wrong}))
    remove_stale(folder, [])
    assert outside.exists()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == left
    for damaged in ("", "[]", '{"files": 3}', "[" * 100_000):
        (folder / NOTE).write_text(damaged)
        remove_stale(folder, [])
        assert json.loads((folder / NOTE).read_text()) == {"files": []}


def test_a_linked_folder_is_not_cleared(tmp_path):
    folder, other = tmp_path / "report", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "a.png").write_text("x")
    (folder / "figures").symlink_to(other)
    (folder / NOTE).write_text(json.dumps({"files": ["figures/a.png"]}))
    remove_stale(folder, [])
    assert (other / "a.png").exists()
