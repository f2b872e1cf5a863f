"""The page: tables and pictures into one offline file. Knows text and PNG bytes; computes no number."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from strokelab.errors import DataError
from strokelab.files import make_folder, replacing, write_text
from strokelab.report.comparison import paper_comparisons
from strokelab.report.material import Evaluation
from strokelab.report.sections import Picture, picture_sections
from strokelab.report.summary import summary_table
from strokelab.report.tables import case_table, lead, result_tables, run_list


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write ``report.html`` (one file, opens offline), ``figures/*.png`` and ``summary.csv``.

    Args:
        evaluation: what to report.
        folder: created when absent; files of the same name are replaced, each whole or not at all.

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
    sections = picture_sections(evaluation)
    for picture in (picture for section in sections for picture in section.pictures):
        with replacing(folder / "figures" / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png)
    summary = summary_table(evaluation)
    with replacing(folder / "summary.csv") as temporary:
        summary.to_csv(temporary, index=False)
    page = _environment().get_template("template.html")
    path = folder / "report.html"
    write_text(
        path,
        page.render(
            evaluation=evaluation,
            lead=lead(evaluation, summary),
            results=result_tables(evaluation, summary),
            comparisons=paper_comparisons(evaluation),
            sections=sections,
            cases=case_table(evaluation),
            runs=run_list(evaluation),
        ),
    )
    return path


def _embedded(picture: Picture) -> dict[str, str | int]:
    """Source and size of an image element: half the pixels, so that it is crisp on any screen."""
    width, height = struct.unpack(">II", picture.png[16:24])
    source = "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")
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
