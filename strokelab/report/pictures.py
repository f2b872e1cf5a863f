"""A figure as the page and the folder take it, and the sections they stand in. Knows no evaluation and no HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from strokelab.report.cells import Table
from strokelab.report.drawing import pdf, png


@dataclass(frozen=True)
class Picture:
    """One figure as it goes into the page and into ``figures/<name>.png`` and ``.pdf``."""

    name: str
    caption: str  # beneath it
    alt: str  # what it is, for those who do not see it
    png: bytes
    pdf: bytes
    wide: bool = False
    photo: bool = False  # grey images rather than lines
    on_page: bool = True  # else in the folder only


@dataclass(frozen=True)
class Section:
    """A heading, and beneath it sentences (also the reason why there is no picture), tables and pictures."""

    anchor: str
    title: str
    pictures: tuple[Picture, ...] = ()
    sentences: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


def stored(
    name: str, figure: Figure, *, caption: str, alt: str, wide: bool = False, photo: bool = False, on_page: bool = True
) -> Picture:
    """Draw a figure for the page and the folder; fields as in ``Picture``."""
    return Picture(name, caption, alt, png(figure, photo=photo), pdf(figure), wide=wide, photo=photo, on_page=on_page)


def file_name(text: str) -> str:
    """A name that is safe in any file system, made from anything."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "unnamed"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: "a, b and c"."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
