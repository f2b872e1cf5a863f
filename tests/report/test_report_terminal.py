"""The table a command ends with."""

import io

import numpy as np
import pandas as pd
import pytest
from report_material import evaluation_of, scored_run
from rich.console import Console

from strokelab.report.lead import lead_sentences
from strokelab.report.results import result_tables
from strokelab.report.significance import comparisons
from strokelab.report.summary import line_of, summary_table, with_sites
from strokelab.report.terminal import comparison_lines, results_table
from strokelab.statistics.aggregate import Tally, tally


def shown(table, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(results_table(table, title="two runs"))
    return console.file.getvalue()


def cases(**columns):
    frame = {
        "run": "sgnet",
        "case": list("abc"),
        "site": ["Site1", "Site1", "Site2"],
        "dice": [0.5, 0.75, 0.25],
        "recall": 0.5,
    }
    frame |= {"precision": 0.5, "hd95": [10.0, 30.0, np.inf], "lesion_f1": [1.0, np.nan, 0.0]}
    return pd.DataFrame({**frame, **columns})


def rows(text):
    """First word of each row to all its words."""
    return {line.split()[0]: line.split() for line in text.splitlines()[4:] if line.strip()}


def test_means_and_deviations_over_all_and_per_site():
    found = rows(shown(cases()))
    assert list(found) == ["sgnet", "Site1", "Site2"]
    assert found["sgnet"][1:] == ["3", "0.500±0.25", "0.500±0.00", "0.500±0.00", "20.0±14.1", "+1∞", "0.500±0.71"]
    assert found["Site1"][1:4] == ["2", "0.625±0.18", "0.500±0.00"]
    assert found["Site1"][-1] == "1.000", "undefined values are left out of the mean"
    assert found["Site2"][1:] == ["1", "0.250", "0.500", "0.500", "+1∞", "0.000"]


def test_runs_follow_in_their_order_and_one_site_needs_no_sum():
    two = pd.concat([cases(run="unet2d", site="Site1"), cases(run="sgnet", site=None)])
    assert list(rows(shown(two))) == ["unet2d", "sgnet"]


@pytest.mark.parametrize("run", ["sgnet", "sgnet-da-sl-main"])
def test_numbers_are_whole_in_eighty_columns(run):
    text = shown(cases(run=run, hd95=[101.25, 30.5, np.inf], site=["Site1", "unknown", "Site10"]))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "65.9±50.0 +1∞" in text


def test_a_table_of_failures_only():
    failed = pd.DataFrame({"run": ["a[b]"], "case": ["c"], "site": ["Site1"], "error": ["gone"]})
    assert rows(shown(failed))["a[b]"][1:] == ["1", "-", "-", "-", "-", "-"]


def compared(runs, **columns):
    """Case tables of runs on the same cases, Dice as given, the other metrics not measured."""
    tables = []
    for run, dice in runs.items():
        ids = [f"c{i}" for i in range(len(dice))]
        tables.append(pd.DataFrame({"run": run, "case": ids, "subject": ids, "site": "Site1", "dice": dice, **columns}))
    return pd.concat(tables, ignore_index=True)


FIRST = [0.61, 0.55, 0.72, 0.40, 0.83, 0.35, 0.90, 0.12, 0.66, 0.48]
SECOND = [0.58, 0.50, 0.70, 0.45, 0.80, 0.30, 0.88, 0.10, 0.60, 0.40]


def test_the_comparison_stands_underneath_in_eighty_columns():
    text = shown(compared({"sgnet": FIRST, "unet2d": SECOND}))
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    assert "sgnet is ahead of unet2d by 0.031 Dice (95 % CI 0.0" in flat
    assert "Wilcoxon p = 0.037 over 10 cases)." in flat


def test_brackets_in_names_are_no_markup_in_the_comparison():
    assert "[red]a is ahead of b" in " ".join(shown(compared({"[red]a": FIRST, "b": SECOND})).split())


def test_runs_of_one_model_are_averaged_and_not_compared():
    table = compared({"a 0": [value - 0.1 for value in FIRST], "a 1": [value + 0.1 for value in FIRST], "b": SECOND})
    (line,) = comparison_lines(table, {"a 0": "a", "a 1": "a", "b": "b"})
    assert line.startswith("a is ahead of b by 0.031 Dice")
    under_one_name = table.assign(run=table["run"].str[0])
    assert comparison_lines(under_one_name) == [line]


def test_no_comparison_of_one_run_of_other_cases_or_of_failures():
    assert comparison_lines(compared({"a": FIRST})) == []
    apart = compared({"a": FIRST, "b": SECOND})
    assert comparison_lines(apart.assign(case=apart["run"] + apart["case"])) == []
    assert comparison_lines(pd.DataFrame({"run": ["a", "b"], "case": "c", "site": "1", "error": "gone"})) == []


def test_of_many_comparisons_the_first_are_told_and_the_others_counted():
    lines = comparison_lines(compared({name: [value + i / 100 for value in FIRST] for i, name in enumerate("abcdef")}))
    assert [line.split(" by ")[0] for line in lines[:3]] == ["f is ahead of e", "b is ahead of a", "c is ahead of a"]
    assert lines[3:] == ["3 more comparisons: see the report."]


def test_one_count_of_cases_in_terminal_summary_and_report():
    """Eighteen cases of nine subjects, scored by three runs: 54 rows, and 18 cases wherever they are counted."""
    runs = [
        scored_run(
            "sgnet", [0.5 + seed / 10] * 18, name=f"sgnet-{seed}", seed=seed, subject=[f"p{i // 2}" for i in range(18)]
        )
        for seed in range(3)
    ]
    evaluation = evaluation_of(*runs)
    counts = tally(evaluation.cases)
    assert counts == Tally(cases=18, subjects=9, runs=3, rows=54)
    assert str(counts) == "18 cases of 9 subjects, in 54 rows of 3 runs"
    text = shown(evaluation.cases.assign(run="sgnet"))
    assert rows(text)["sgnet"][1] == "18"
    assert "18 cases in 54 rows" in text
    summary = summary_table(evaluation)
    model, run = (line_of(summary, level=level) for level in ("model", "run"))
    assert (model["n"], model["cases"], model["subjects"], model["runs"], model["clusters"]) == (54, 18, 9, 3, 9)
    assert (run["n"], run["cases"], run["subjects"], run["runs"]) == (18, 18, 9, 1)
    named = with_sites(evaluation.cases)
    table = result_tables(evaluation, named, summary)[0]
    assert table.rows[0][table.header.index("Cases")].text == "18"
    assert "on 18 cases of phantom cohort (18 cases of 9 subjects, in 54 rows of 3 runs)" in " ".join(
        lead_sentences(evaluation, named, summary, comparisons(named))
    )


def test_rows_that_are_cases_need_no_word():
    assert "rows" not in shown(cases())
    assert str(tally(cases())) == "3 cases of 3 subjects"
    assert str(tally(cases(case="a", subject=None))) == "1 case of 1 subject, in 3 rows of 1 run"
