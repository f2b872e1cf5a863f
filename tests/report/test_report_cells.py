"""How numbers are written."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strokelab.report.cells import between, listed, p_equation, p_value, plain_number, signed_number, with_infinity

P_VALUES = [
    (0.0012, "0.0012"),
    (0.001, "0.0010"),
    (0.000999, "< 0.001"),
    (1e-12, "< 0.001"),
    (0.037109375, "0.037"),
    (0.34, "0.34"),
    (0.996, "1.00"),
    (1.0, "1"),
    (math.nan, "–"),
    (0.05, "0.050"),
    (0.0504, "0.0504"),  # 0.050 would look significant
    (0.0496, "0.050"),
]


@pytest.mark.parametrize(("p", "text"), P_VALUES)
def test_p_values(p, text):
    assert p_value(p) == text


@given(st.floats(1e-3, 1))
def test_a_p_value_never_changes_sides_by_rounding(p):
    assert (float(p_value(p)) <= 0.05) == (p <= 0.05) or abs(p - 0.05) < 1e-6


def test_p_values_in_a_sentence():
    assert [p_equation(p) for p in (0.0012, 1e-5)] == ["p = 0.0012", "p < 0.001"]


def test_numbers():
    values = (0.5, -0.0004, -0.25, math.inf, -math.inf, math.nan)
    assert [plain_number(value, 3) for value in values] == ["0.500", "0.000", "−0.250", "∞", "−∞", "–"]
    assert between(-0.05, 0.137, 3) == "−0.050 to 0.137"
    assert between(math.nan, math.nan, 3) == ""


def test_infinity_is_a_symbol_and_its_count_a_word():
    assert with_infinity("31.1 (20.0-inf; 7 inf)") == "31.1 (20.0-∞; 7 inf)"
    assert with_infinity("inf (2 inf)") == "∞ (2 inf)"


def test_long_lists_say_how_many_more():
    assert listed(["a", "b", "c"], 3) == "a, b, c"
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"


@pytest.mark.parametrize("places", [0, 2, 3])
@given(value=st.floats(-1, 1))
def test_zero_has_no_sign(places, value):
    for text in (
        plain_number(value, places),
        signed_number(value, places),
        *between(value, value, places).split(" to "),
    ):
        shown = float(text.replace("−", "-"))
        assert (text[0] in "+-−") <= (shown != 0)
        assert shown == round(shown, places)
    assert signed_number(0.25, 2) == "+0.25"
