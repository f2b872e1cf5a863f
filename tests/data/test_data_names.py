"""Ids of cases, subjects and sites are text as it is written, from every table to the scores and back."""

from __future__ import annotations

import csv
import datetime
import string

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reader_trees import atlas_v1_indi, atlas_v2, isles2022, write

from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.data.readers._tables import is_missing, names_something, read_table
from strokelab.data.split_file import Split, read_rows
from strokelab.errors import ConfigError, DataError
from strokelab.scoring.tables import ORIGIN, RECIPE, Scores, read_scores, write_scores

HARD = ["2.1", "2.10", "3.1", "3.10", "007", "7", "1234567890123456789", "1234567890123456788", "7E2", "700", "1_000"]
HARD += ["1000", "True", "1e400", "-0", "0x10", "Ünal", "病例一", "٧"]

names = st.one_of(
    st.sampled_from(HARD),
    st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,3})?([eE][0-9]{1,3})?", fullmatch=True),
    st.text(string.ascii_letters + string.digits + "_.-+éß七 ", min_size=1, max_size=12).map(str.strip).filter(bool),
).filter(lambda name: not is_missing(name))
some_names = st.lists(names, min_size=1, max_size=6, unique=True)
quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_of(path, rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, delimiter=delimiter).writerows(rows)
    return path


def sheet(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


@quick
@given(ids=some_names)
def test_ids_survive_table_cases_split_and_scores(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("names")
    image = write(folder / "a.nii.gz")
    table = rows_of(folder / "cohort.csv", [["case", "subject", "site", "T1w"], *([i, i, i, image.name] for i in ids)])
    cases = read_cases("folder", table)
    assert {(case.case_id, case.subject_id, case.site) for case in cases} == {(i, i, i) for i in ids}
    Split.of(cases, {case.case_id: "test" for case in cases}).write(folder / "split.csv")
    split = Split.read(folder / "split.csv")
    assert split.test == tuple(case.case_id for case in cases)
    assert read_rows(folder / "split.csv", cases).part == dict.fromkeys(split.test, "test")
    rows = pd.DataFrame(
        [
            dict.fromkeys([*ORIGIN, *RECIPE], "x") | {"case": c.case_id, "subject": c.subject_id, "site": c.site}
            for c in cases
        ]
    ).assign(seed=0, dice=0.5, error="")
    counts = pd.DataFrame({"run": "x", "case": rows["case"], "bin": 0, "lesion": 1, "healthy": 1, "mass": 0.5})
    write_scores(Scores(rows, counts), folder / "cases.csv", folder / "probabilities.csv")
    again = read_scores(folder / "cases.csv", folder / "probabilities.csv")
    for column in ("case", "subject", "site"):
        assert list(again.cases[column]) == list(rows[column])
    assert list(again.probabilities["case"]) == list(rows["case"])


def test_a_site_called_na_survives_our_own_table(tmp_path):
    rows = pd.DataFrame([dict.fromkeys([*ORIGIN, *RECIPE], "NA") | {"seed": 0, "error": ""}])
    counts = pd.DataFrame({"run": ["NA"], "case": ["NA"], "bin": [0], "lesion": [1], "healthy": [1], "mass": [0.5]})
    write_scores(Scores(rows, counts), tmp_path / "cases.csv", tmp_path / "probabilities.csv")
    again = read_scores(tmp_path / "cases.csv", tmp_path / "probabilities.csv")
    assert (again.cases["site"][0], again.probabilities["case"][0]) == ("NA", "NA")


@quick
@given(ids=some_names, delimiter=st.sampled_from(",;\t"))
def test_excel_and_csv_agree_on_text(tmp_path_factory, ids, delimiter):
    folder = tmp_path_factory.mktemp("excel")
    rows = [["case", "site", "age"], *([i, f" {i} ", "61.5"] for i in ids)]
    csv_table = read_table(rows_of(folder / "t.csv", rows, delimiter))
    assert [(row["case"], row["site"], row["age"]) for row in csv_table.rows] == [(i, i, 61.5) for i in ids]
    assert read_table(sheet(folder / "t.xlsx", rows)).rows == csv_table.rows


@pytest.mark.parametrize(("cell", "text"), [(7, "7"), (7.0, "7"), (123456789012345, "123456789012345"), ("7E2", "7E2")])
def test_whole_numbers_of_excel_are_ids(tmp_path, cell, text):
    table = read_table(sheet(tmp_path / "t.xlsx", [["case", "age"], [cell, 61.5]]))
    assert table.rows == ({"case": text, "age": 61.5},)


@pytest.mark.parametrize("cell", [2.1, 1234567890123456789, True, datetime.datetime(2024, 3, 1)])
def test_what_excel_may_have_changed_is_an_error(tmp_path, cell):
    path = sheet(tmp_path / "t.xlsx", [["case", "age"], ["a", 60], [cell, 61]])
    with pytest.raises(DataError) as error:
        read_table(path)
    assert error.value.where == str(path)
    assert "row 3" in error.value.found
    assert "case" in error.value.found
    assert "as text" in error.value.remedy


@pytest.mark.parametrize("word", ["n/a", "N/A", "NaN", "nan", "NA", "", "  "])
def test_missing_sites_are_no_site_and_missing_cases_an_error(tmp_path, word):
    write(tmp_path / "a.nii.gz")
    table = rows_of(tmp_path / "t.csv", [["case", "subject", "site", "T1w"], ["c1", word, word, "a.nii.gz"]])
    (case,) = read_cases("folder", table)
    assert (case.site, case.subject_id) == (None, "c1")
    rows_of(table, [["case", "site", "T1w"], ["c1", "A", "a.nii.gz"], [word, "B", "a.nii.gz"]])
    with pytest.raises(DataError, match="row 3"):
        read_cases("folder", table)


def test_two_rows_of_one_case_are_both_named(tmp_path):
    write(tmp_path / "images" / "x_T1w.nii.gz")
    rows_of(tmp_path / "cases.csv", [["case", "site"], ["x", "A"], ["y", "C"], ["x", "B"]])
    with pytest.raises(DataError, match=r"row 2 and in row 4"):
        read_cases("folder", tmp_path)


@pytest.mark.parametrize("title", ["site", "Subject"])
def test_a_column_of_names_twice(tmp_path, title):
    path = rows_of(tmp_path / "t.csv", [["case", title, title.lower()], ["a", "b", "c"]])
    with pytest.raises(DataError, match="twice"):
        read_table(path)


def test_tables_of_datasets_name_both_rows(tmp_path):
    isles = isles2022(tmp_path / "isles")
    rows_of(
        isles / "center_ids.csv", [["case", "center"], ["sub-strokecase0001", "1.10"], ["sub-strokecase0002", "NA"]]
    )
    sites = [case.site for case in read_cases("isles2022", isles)]
    assert sites == ["center-1.10", None, None]
    rows_of(isles / "center_ids.csv", [["case", "center"], ["sub-strokecase0001", "A"], ["1", "B"]])
    with pytest.raises(DataError, match="row 2 and in row 3"):
        read_cases("isles2022", isles)
    v1 = atlas_v1_indi(tmp_path / "v1")
    rows_of(v1 / "own.csv", [["INDI Subject ID", "Session"], ["31775", "t01"], ["31775", "t02"], ["31775", " t01"]])
    with pytest.raises(DataError, match="row 2 and in row 4"):
        read_cases("atlas_v1", v1, metadata="own.csv")
    v2 = atlas_v2(tmp_path / "v2")
    rows_of(v2 / "own.csv", [["Subject ID", "Session", "Age"], *([f"sub-r001s00{n}", "ses-1", n] for n in (1, 3, 1))])
    with pytest.raises(DataError, match="row 2 and in row 4"):
        read_cases("atlas_v2", v2, metadata="own.csv")


@pytest.mark.parametrize("rows", [[["a", "train"], ["b", "test"], ["a", "test"]], [["a", "train"], ["", "test"]]])
def test_split_files_name_the_rows(tmp_path, rows):
    cases = [Case(name, name, "folder", None, {"T1w": tmp_path / "x.nii"}) for name in "ab"]
    path = rows_of(tmp_path / "split.csv", [["case_id", "part"], *rows])
    with pytest.raises(DataError, match=f"row {len(rows) + 1}"):
        read_rows(path, cases)
    full = rows_of(tmp_path / "s.csv", [["case_id", "subject_id", "site", "part"], *([n, n, "", p] for n, p in rows)])
    with pytest.raises(DataError, match=f"row {len(rows) + 1}"):
        Split.read(full)


@pytest.mark.parametrize(
    ("there", "asked", "left"),
    [
        (["2.1", "5"], [2.1], ["5"]),  # only one id can be meant
        (["7", "8"], [7], ["8"]),
        (["2.1", "2.10"], ["2.10"], ["2.1"]),
        (["2.1", "2.10"], [2.1], None),
        (["007", "8"], [7], None),
        (["1_000", "8"], [1000], None),
        (["True", "8"], [True], ["8"]),
    ],
)
def test_numbers_in_settings_stand_for_an_id_only_where_no_other_can_be_meant(tmp_path, there, asked, left):
    for name in there:
        write(tmp_path / "images" / f"{name}_T1w.nii.gz")
    if left is not None:
        assert [case.case_id for case in read_cases("folder", tmp_path, exclude=asked)] == left
        return
    with pytest.raises(ConfigError) as error:
        read_cases("folder", tmp_path, exclude=asked)
    assert f'data.exclude=["{sorted(there)[0]}"]' in error.value.remedy


def test_titles_that_mean_names():
    named = ["case", "Subject ID", "INDI Site ID", "participant_id", "Fold", "Name", "center", "ses", "sub", "session"]
    assert all(map(names_something, named))
    assert not any(map(names_something, ["age", "Lesion Volume", "nihss", "Days Post Stroke", "ATLAS 1.2", "side"]))


cells = st.one_of(st.text(max_size=6), st.sampled_from([*HARD, "n/a", "NaN", '"', "a.nii.gz", "\x00", "\ud800"]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.lists(st.sampled_from(["case", "Case", "site", "T1w", "label", "", "subject", "age"]), max_size=5),
    rows=st.lists(st.lists(cells, max_size=6), max_size=4),
    raw=st.binary(max_size=60),
    whole=st.booleans(),
)
def test_whatever_a_table_holds_only_our_own_errors_leave(tmp_path_factory, header, rows, raw, whole):
    folder = tmp_path_factory.mktemp("any")
    write(folder / "a.nii.gz", np.arange(8.0).reshape(2, 2, 2))
    text = "\n".join(",".join(cell for cell in row) for row in [header, *rows])
    for name in ("cohort.csv", "cases.csv", "split.csv", "cohort.xlsx"):
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass") if whole else raw)
    for read in (
        lambda: read_cases("folder", folder / "cohort.csv"),
        lambda: read_cases("folder", folder / "cohort.xlsx"),
        lambda: read_cases("folder", folder),
        lambda: read_rows(folder / "split.csv", []),
        lambda: Split.read(folder / "split.csv"),
    ):
        try:
            read()
        except (DataError, ConfigError):
            continue
