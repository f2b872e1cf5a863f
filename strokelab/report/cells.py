"""The words tables are made of, and how numbers are written. Knows no evaluation, no statistics and no HTML."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

NOTHING = "–"
_SMALLEST_P = 0.001
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Cell:
    """Text of a table cell, and the number it sorts by (None: sorts as text)."""

    text: str
    number: float | None = None
    ours: bool = False
    heading: bool = False
    words: bool = False  # may be broken into lines
    further: tuple[tuple[str, float], ...] = ()  # other numbers in the text by name: sd; low and high


@dataclass(frozen=True)
class Table:
    """A table of the page; ``sortable`` ones can be sorted and filtered in the browser."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    sortable: bool = False
    name: str = ""  # of its files tables/<name>.csv and .tex; "" = on the page only


def number_cell(value: float, places: int) -> Cell:
    """A single number; undefined ones sort last."""
    return Cell(plain_number(value, places), None if math.isnan(value) else value)


def count_cell(number: int) -> Cell:
    """A count."""
    return Cell(str(number), float(number))


def further(**numbers: float) -> tuple[tuple[str, float], ...]:
    """Other numbers of a cell by name, without those that do not exist."""
    return tuple((name, float(number)) for name, number in numbers.items() if not math.isnan(number))


def plain_number(value: float, places: int) -> str:
    """A number as text: "–" for NaN, "∞" for infinity, never "-0.000"."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{places}f}"
    return text.replace("-", "") if float(text) == 0 else text.replace("-", "−")


def signed_number(value: float, places: int) -> str:
    """As ``plain_number``, with a plus before what is above 0."""
    text = plain_number(value, places)
    return f"+{text}" if math.isfinite(value) and float(f"{value:.{places}f}") > 0 else text


def between(low: float, high: float, places: int) -> str:
    """The two ends of an interval, e.g. "0.041 to 0.137"; "" when there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{plain_number(low, places)} to {plain_number(high, places)}"


def with_infinity(text: str) -> str:
    """Infinite values as "∞"; a count of them ("7 inf") keeps its word."""
    return re.sub(r"(?<!\d )inf", "∞", text)


def p_value(p: float) -> str:
    """A p-value with two significant digits, "< 0.001" where it is smaller, "–" where there is none.

    A third digit is shown where two would hide on which side of 0.05 it lies.
    """
    if math.isnan(p):
        return NOTHING
    if p < _SMALLEST_P:
        return f"< {_SMALLEST_P}"
    if p >= 1:
        return "1"
    places = max(2, 1 - math.floor(math.log10(p)))
    while p != _SIGNIFICANT and places < 6 and (round(p, places) <= _SIGNIFICANT) != (p <= _SIGNIFICANT):
        places += 1
    return f"{p:.{places}f}"


def p_equation(p: float) -> str:
    """A p-value for a sentence: "p = 0.0012", "p < 0.001"."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def counted(number: int, thing: str) -> str:
    """A number with its noun: "1 case", "3 cases"."""
    return f"{number} {plural(number, thing)}"


def plural(number: int, thing: str) -> str:
    """The noun alone, in the form that goes with the number."""
    return thing if number == 1 else f"{thing}s"


def listed(names: list[str], most: int = 5) -> str:
    """Names with commas; after ``most`` of them how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
