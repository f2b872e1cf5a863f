"""Foreign text commands no terminal and computes nothing in a spreadsheet, and stays what it was."""

import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strokelab.errors import DataError
from strokelab.foreign_text import as_cell, as_printable, from_cell, is_printable, printable


@pytest.mark.parametrize(
    "text",
    ["=1+1", "@SUM(A1)", "=cmd|'/C calc'!A0", "+cmd|'/C calc'!A0", "-2+3+cmd|'/C calc'!A0", "=HYPERLINK(1)", "-x"],
)
def test_formulas_are_words(text):
    assert as_cell(text) == "'" + text


@pytest.mark.parametrize(
    "text", ["sub-r001", "-0.03", "+0.028 (-0.008 to 0.068)", "-1.5 ± 0.2", "-inf", "5", "", "'quoted'", "a=b"]
)
def test_names_and_numbers_stay(text):
    assert as_cell(text) == text


@given(st.text())
def test_a_cell_is_read_back(text):
    # An apostrophe that a cell begins with anyway is its own, unless a formula follows it.
    if not (text.startswith("'") and as_cell(text[1:]) != text[1:]):
        assert from_cell(as_cell(text)) == text
    assert not as_cell(text).startswith(("=", "@"))


@given(st.text())
def test_no_control_character_is_left(text):
    assert is_printable(printable(text))
    assert len(printable(text)) == len(text)
    assert printable(text).count("\n") == text.count("\n")


def test_plain_data_and_messages():
    evil = "\x1b]0;owned\x07"
    assert not is_printable({"a": [{evil: 1}]})
    assert as_printable({evil: [evil, 1, None]}) == {printable(evil): [printable(evil), 1, None]}
    assert "\x1b" not in str(DataError(evil, found=evil, expected="x", remedy="y\nz"))


def test_spreadsheets_see_no_formula(tmp_path):
    from strokelab.scoring import write_table

    table = pd.DataFrame({"case": ["=1", "b"], "=run": [1.5, float("nan")], "n": [1, 2]})
    text = write_table(table, tmp_path / "t.csv").read_text()
    assert text == "case,'=run,n\n'=1,1.5,1\nb,,2\n"
    assert pd.read_csv(io.StringIO(text))["n"].tolist() == [1, 2]
