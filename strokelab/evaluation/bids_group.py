"""All predictions of a derivative together: a table of lesions, a table of their regions, and a page of pictures."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from strokelab.errors import DataError, StrokelabError
from strokelab.evaluation.bids_app import Asked, of_case
from strokelab.evaluation.lesion_places import Atlas, Region, Sides, sides_of
from strokelab.evaluation.new_scans import say
from strokelab.files import natural_key, write_text
from strokelab.inference.bids_names import bids_words
from strokelab.inference.derivative import DESCRIPTION, QC, TABLE, Derivative
from strokelab.inference.registration_files import recorded
from strokelab.inference.saved import SavedPrediction
from strokelab.nifti import read_voxels, stem
from strokelab.preparation.progress import advancing, bar
from strokelab.preparation.regrid import DOUBTFUL
from strokelab.report.gallery import Entry, write_gallery

LESIONS, REGIONS, PAGE = "group_lesions.tsv", "group_regions.tsv", "gallery.html"
_COLUMNS = ("participant_id", "session_id", "volume_ml", "lesions", "side", "left_ml", "right_ml", "mid_plane")
_LARGEST_ML = 500.0  # about that of the largest published lesions


@dataclass(frozen=True)
class Measured:
    """What is known of one session's lesion."""

    row: SavedPrediction
    subject: str
    session: str | None
    sides: Sides | None  # None: the image or the mask cannot be read
    regions: Sequence[Region]
    warnings: tuple[str, ...]
    picture: Path

    @property
    def volume_ml(self) -> float:
        """Of the mask as it is now, or as it was written where it cannot be read."""
        return self.sides.left_ml + self.sides.right_ml if self.sides else self.row.volume_ml


def summarise(asked: Asked, out: Path, *, atlas: Path | None, console: Console) -> Path:
    """Measure the predictions of a derivative, and write ``group_lesions.tsv``, ``gallery.html`` and regions.

    Args:
        asked: of which sessions.
        out: the derivative that ``strokelab bids ... participant`` wrote.
        atlas: labels of regions, in the space of the scans; None: no regions.
        console: where to print.

    Returns:
        The page.

    Raises:
        DataError: no prediction lies there that is asked for, or the atlas is not in the space of the scans.
    """
    derivative = Derivative(out, name="strokelab", provenance={})
    rows = [row for row in derivative.rows().values() if asked.takes(*_whose(row))]
    rows.sort(key=lambda row: natural_key(row.case_id))
    if not rows:
        raise DataError(
            out,
            found=f"no {TABLE} with a session that is asked for",
            expected="the output of the analysis level participant",
            remedy="run the level participant first, into the same folder",
        )
    regions = None if atlas is None else Atlas.read(atlas)
    measured = []
    with bar("Measuring lesions", len(rows), shown=True, console=console) as shown:
        measured += [_measured(row, derivative, regions) for row in advancing(shown, rows)]
    _write_tables(measured, out, with_regions=regions is not None)
    failed = {case: why for case, why in derivative.failed().items() if asked.takes(*of_case(case))}
    page = _write_page(measured, out, atlas, failed)
    say(console, f"Gallery: {page}   Lesions: {out / LESIONS}")
    return page


def _whose(row: SavedPrediction) -> tuple[str, str | None]:
    words = bids_words(stem(row.mask))
    entities: Mapping[str, str] = words[0] if words else {}
    return entities.get("sub", row.case_id), entities.get("ses")


def _measured(row: SavedPrediction, derivative: Derivative, atlas: Atlas | None) -> Measured:
    subject, session = _whose(row)
    picture = row.mask.with_name(derivative.path_of(row.case_id, QC).name)
    found: list[str] = []
    try:
        mask, grid = read_voxels(row.mask)
        image_path = (derivative.folder / row.image).resolve() if row.image else row.mask
        if image_path.is_file():
            image, its_grid = read_voxels(image_path)
            if not its_grid.matches(grid):
                raise DataError(image_path, found="another grid", expected="that of its mask", remedy="predict again")
        else:
            image, found = np.zeros_like(mask), [f"the image is gone: {row.image}"]
        registered = recorded(row.mask)
    except StrokelabError as error:
        return Measured(row, subject, session, None, (), (f"{error.where}: {error.found}",), picture)
    in_template = None if registered is None else registered.in_template
    sides = sides_of(mask, image, grid, row.case_id, in_template)
    regions = [] if atlas is None else atlas.regions(mask, grid, row.case_id, in_template)
    found += _warnings(row, mask)
    if registered is not None and registered.overlap < DOUBTFUL:
        found.append("its registration is doubtful: look at its desc-registration picture")
    if sides.plane == "middle of the volume":
        found.append("no plane of symmetry found: the side is by the middle of the volume")
    measured = Measured(row, subject, session, sides, regions, tuple(found), picture)
    if measured.volume_ml <= _LARGEST_ML:
        return measured
    return replace(measured, warnings=(*found, f"larger than any published lesion ({_LARGEST_ML:.0f} ml)"))


def _warnings(row: SavedPrediction, mask: NDArray[Any]) -> list[str]:
    """What a reader should look at before believing a number."""
    found = []
    if not mask.any():
        found.append("no lesion found")
    edges = (np.take(mask, end, axis=axis) for axis in range(3) for end in (0, -1))
    if any(edge.any() for edge in edges):
        found.append("the lesion touches the edge of the volume: it may go on beyond")
    if row.preparation not in ("", "own grid"):
        found.append(f"the scan was {row.preparation}")
    if row.edited():
        found.append("the mask was edited after it was predicted; all but its number of lesions is measured anew")
    return found


def _write_tables(measured: Sequence[Measured], out: Path, *, with_regions: bool) -> None:
    lines: list[Sequence[object]] = []
    for one in measured:
        first = one.regions[0] if one.regions else None
        region = (first.name, f"{first.of_lesion:.3f}") if first else ("n/a", "n/a")
        sides = one.sides
        known = (sides.side, f"{sides.left_ml:.3f}", f"{sides.right_ml:.3f}", sides.plane) if sides else ("n/a",) * 4
        begin = (*_ids(one), f"{one.volume_ml:.3f}", one.row.lesions)
        words = "; ".join(one.warnings) or "n/a"
        mask = one.row.mask.relative_to(out).as_posix()
        lines.append((*begin, *known, *(region if with_regions else ()), mask, words))
    extra = ("region", "share_of_lesion") if with_regions else ()
    write_text(out / LESIONS, _tsv([(*_COLUMNS, *extra, "mask", "warnings"), *lines]))
    if not with_regions:
        (out / REGIONS).unlink(missing_ok=True)  # of an earlier summary, of other masks perhaps
        return
    rows: list[Sequence[object]] = [
        ("participant_id", "session_id", "region", "label", "volume_ml", "share_of_lesion", "share_of_region")
    ]
    for one in measured:
        for part in one.regions:
            shares = (f"{part.volume_ml:.3f}", f"{part.of_lesion:.4f}", f"{part.of_region:.4f}")
            rows.append((*_ids(one), part.name, part.label, *shares))
    write_text(out / REGIONS, _tsv(rows))


def _write_page(measured: Sequence[Measured], out: Path, atlas: Path | None, failed: Mapping[str, str]) -> Path:
    entries = []
    for one in measured:
        side = one.sides.side if one.sides else "n/a"
        cells = [f"{one.volume_ml:.2f}", str(one.row.lesions), side]
        if atlas is not None:
            cells.append(", ".join(f"{region.name} {region.of_lesion:.0%}" for region in one.regions[:3]) or "–")
        words = "; ".join(one.warnings) or "–"
        caption = f"{one.volume_ml:.2f} ml in {one.row.lesions} lesion{'' if one.row.lesions == 1 else 's'}, {side}"
        caption = caption if one.row.lesions or one.volume_ml else "no lesion"
        entries.append(Entry(one.row.case_id, (*cells, words), caption, one.warnings, one.picture))
    sides_count = Counter(one.sides.side for one in measured if one.sides)
    subjects = len({one.subject for one in measured})
    told = ", ".join(f"{count} {side}" for side, count in sides_count.most_common()) or "unknown"
    median = np.median([one.volume_ml for one in measured])
    lead = [f"{len(measured)} sessions of {subjects} subjects."]
    lead.append(f"Median lesion volume {median:.2f} ml; side: {told}.")
    flagged = sum(bool(one.warnings) for one in measured)
    lead.append(f"{flagged} of {len(measured)} sessions have a warning.")
    lead += [f"Not predicted: {case}: {why}" for case, why in failed.items()]
    header = ("session", "volume (ml)", "lesions", "side", *(("regions",) if atlas else ()), "warnings")
    said = f"Regions by {atlas.name}. " if atlas else ""
    title = f"Predicted lesions: {out.resolve().name}"
    return write_gallery(out / PAGE, entries, title=title, header=header, lead=lead, provenance=said + _made_by(out))


def _made_by(out: Path) -> str:
    """What made the predictions, by the derivative's description."""
    try:
        makers = json.loads((out / DESCRIPTION).read_text(encoding="utf-8"))["GeneratedBy"]
        return "Made by " + "; ".join(
            f"{one['Name']} {one['Version']}, run {one['Parameters']['run']}" for one in makers
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "Made by strokelab"


def _ids(one: Measured) -> tuple[str, str]:
    return f"sub-{one.subject}", f"ses-{one.session}" if one.session else "n/a"


def _tsv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    return text.getvalue()
