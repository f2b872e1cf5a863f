"""One offline page with the picture of every prediction and a table of them. Knows text and picture files alone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from strokelab.files import write_text


@dataclass(frozen=True)
class Entry:
    """One session on the page."""

    case: str
    cells: tuple[str, ...]  # of the table, behind the case
    caption: str
    warnings: tuple[str, ...] = ()
    png: Path | None = None  # None, or a file that is not there: the page says so

    @property
    def picture(self) -> str:
        """The picture as the source of an image element; "" where there is none."""
        if self.png is None or not self.png.is_file():
            return ""
        return f"data:image/png;base64,{base64.b64encode(self.png.read_bytes()).decode('ascii')}"


def write_gallery(
    path: Path, entries: Sequence[Entry], *, title: str, header: Sequence[str], lead: Sequence[str], provenance: str
) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: of the page.
        entries: in its order.
        title: its title.
        header: of the table, the case first.
        lead: sentences above the table.
        provenance: what made the predictions.
    """
    environment = Environment(
        loader=PackageLoader("strokelab.report", package_path=""),
        autoescape=True,  # case ids and warnings are foreign text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("gallery.html")
    known = {"title": title, "entries": entries, "header": header, "lead": lead, "provenance": provenance}
    write_text(path, page.render(**known))
    return path
