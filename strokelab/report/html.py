"""The page: tables and pictures into one offline file. Knows text and picture bytes; computes no number."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from strokelab.errors import DataError
from strokelab.files import make_folder, replacing, write_text
from strokelab.report.cells import Table
from strokelab.report.comparison import paper_comparisons
from strokelab.report.exports import remove_stale, write_tables
from strokelab.report.material import Evaluation
from strokelab.report.overlays import KINDS, PLANES
from strokelab.report.pictures import Picture, Section
from strokelab.report.sections import picture_sections
from strokelab.report.sweep import missing_members
from strokelab.report.tables import Chapter, lead, measure, page_tables
from strokelab.report.viewer import MOST_CASES, as_json, viewer_cases
from strokelab.scoring.tables import write_table

_PHOTO_QUALITY = 82  # of overlays in the page; the files beside it are lossless
_ORDER = (
    *("results", "sites", "inputs", "comparison", "sizes", "postprocessing", "tuning", "thresholds", "overlays"),
    *("methods", "training", "intensities", "cases", "runs"),
)
_UNKNOWN = "cases"  # what has no place of its own stands before the long table


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write ``report.html`` (one file, opens offline), ``figures/*.png|pdf``, ``tables/*.csv|tex`` and ``summary.csv``.

    Args:
        evaluation: what to report.
        folder: created when absent; files of the same name are replaced, each whole or not at all. Figures and tables
            of an earlier report that this one does not have are removed, other files stay.

    Returns:
        The path of the page.

    Raises:
        DataError: the folder cannot be written to, or there is no run with a case to report.
    """
    if not evaluation.runs or all(run.cases.empty for run in evaluation.runs):
        raise DataError(
            folder,
            found="an evaluation without a single case",
            expected="at least one run with at least one evaluated case",
            remedy="check which cases the split leaves for evaluation",
        )
    make_folder(folder)
    numbers = measure(evaluation)
    write_table(numbers.summary, folder / "summary.csv")
    return write_page(
        evaluation,
        assemble(page_tables(evaluation, numbers), picture_sections(evaluation)),
        folder,
        lead=lead(evaluation, numbers),
        papers=paper_comparisons(evaluation),
        viewer=as_json(viewer_cases(evaluation)),
    )


def write_page(
    evaluation: Evaluation,
    sections: Sequence[Section],
    folder: Path,
    *,
    lead: Sequence[str],
    papers: Sequence[Table] = (),
    viewer: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write sections as ``report.html``, their pictures and named tables as files beside it.

    Args:
        evaluation: title, notes, members of a sweep and provenance; its runs are not looked at.
        sections: in the order of the page.
        folder: as for ``write_report``.
        lead: sentences above the page.
        papers: published tables with ours beside.
        viewer: of ``viewer.as_json``.

    Returns:
        The path of the page.
    """
    make_folder(folder)
    missing = missing_members(evaluation)
    written = []
    for picture in (picture for section in sections for picture in section.pictures):
        for suffix, content in ((".png", picture.png), (".pdf", picture.pdf)):
            written.append(folder / "figures" / f"{picture.name}{suffix}")
            with replacing(written[-1]) as temporary:
                temporary.write_bytes(content)
    tables = [table for section in sections for table in section.tables]
    written += write_tables([*tables, *papers, *([missing] if missing else [])], folder)
    page = _environment().get_template("template.html")
    path = folder / "report.html"
    write_text(
        path,
        page.render(
            evaluation=evaluation,
            lead=lead,
            missing=missing,
            sections=sections,
            viewer=viewer,
            most_cases=MOST_CASES,
            kinds=[{"name": name, "colour": colour} for name, colour in KINDS.items()],
            planes=PLANES,
            papers=papers,
        ),
    )
    remove_stale(folder, written)
    return path


def assemble(chapters: Sequence[Chapter], pictures: Sequence[Section]) -> list[Section]:
    """Tables and pictures of one subject under one heading, in the order of the page.

    Args:
        chapters: of ``tables.page_tables``.
        pictures: of ``sections.picture_sections``; those with the anchor of a chapter join it.
    """
    found = {anchor: Section(anchor, title, (), said, tuple(tables)) for anchor, title, said, tables in chapters}
    for section in pictures:
        chapter = found.get(section.anchor, Section(section.anchor, section.title))
        sentences = (*chapter.sentences, *section.sentences)
        tables = (*chapter.tables, *section.tables)
        found[section.anchor] = replace(chapter, pictures=section.pictures, sentences=sentences, tables=tables)
    return sorted(found.values(), key=lambda section: _place(section.anchor))


def _place(anchor: str) -> int:
    return _ORDER.index(anchor) if anchor in _ORDER else _ORDER.index(_UNKNOWN)


def _embedded(picture: Picture) -> dict[str, str | int]:
    """Source and size of an image element: half the pixels, so that it is crisp on any screen."""
    data, kind = picture.png, "png"
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        if picture.photo:  # a palette of grey noise hardly shrinks
            packed = io.BytesIO()
            image.convert("RGB").save(packed, format="WEBP", quality=_PHOTO_QUALITY)
            data, kind = packed.getvalue(), "webp"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return {"src": source, "width": width // 2, "height": height // 2}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("strokelab.report", package_path=""),
        autoescape=True,  # case ids, paths and errors are foreign text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embedded
    return environment
