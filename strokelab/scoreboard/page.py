"""Scores as files: tables, and the report with overlays. Knows folders and the report's words; computes no metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from strokelab.configuration import conf_folder
from strokelab.errors import DataError
from strokelab.files import make_folder
from strokelab.grid import Grid, Orient
from strokelab.nifti import read_grid, read_voxels
from strokelab.phantoms.naming import is_phantom
from strokelab.preparation.regrid import image_on
from strokelab.report.choice import cases_to_show
from strokelab.report.html import write_report
from strokelab.report.material import Evaluation, Overlay, RunMaterial
from strokelab.report.paper_tables import load_tables
from strokelab.scoreboard.entries import Entries
from strokelab.scoreboard.masks import about_grids, bring_to
from strokelab.scoreboard.score import Entry, Reference, Rules, read_prediction, read_reference
from strokelab.scoring.tables import Scores, write_table
from strokelab.statistics.aggregate import has_failed

CASES, PROBABILITIES = "cases.csv", "probabilities.csv"
_PACKAGES = ("numpy", "scipy", "nibabel", "connected-components-3d", "pandas")


@dataclass(frozen=True)
class Written:
    """The files of a scoreboard."""

    cases: Path
    probabilities: Path | None  # None: no method gave probability maps
    summary: Path
    report: Path


def write_scoreboard(found: Entries, scores: Scores, rules: Rules, out: Path, *, command: str = "") -> Written:
    """Write cases.csv, probabilities.csv where there are maps, summary.csv and report.html with its folders.

    Files of these names are replaced; nothing else in the folder is touched.

    Args:
        found: what was scored.
        scores: what came out.
        rules: how it was scored.
        out: the folder, made when absent.
        command: what was typed, for the report.

    Raises:
        DataError: the folder cannot be written to.
    """
    make_folder(out)
    probabilities = out / PROBABILITIES
    if len(scores.probabilities) or probabilities.exists():  # of an earlier scoring: they would not fit the cases
        write_table(scores.probabilities, probabilities)
    write_table(scores.cases, out / CASES)
    report = write_report(evaluation_of(found, scores, rules, command=command), out)
    return Written(out / CASES, probabilities if len(scores.probabilities) else None, out / "summary.csv", report)


def evaluation_of(found: Entries, scores: Scores, rules: Rules, *, command: str = "") -> Evaluation:
    """Everything the report shows, one method as one run and one model."""
    methods = list(dict.fromkeys(entry.method for entry in found.entries))
    by_method = {name: scores.cases[scores.cases["run"] == name].reset_index(drop=True) for name in methods}
    counts = {name: scores.probabilities[scores.probabilities["run"] == name] for name in methods}
    overlays, plain = _overlays(found, by_method, rules)
    materials = [
        RunMaterial(
            name=name,
            model=name,
            dataset=found.dataset,
            cases=by_method[name],
            trained=False,
            overlays=tuple(overlays[name]),
            probabilities=counts[name] if len(counts[name]) else None,
        )
        for name in methods
    ]
    return Evaluation(
        title=f"{', '.join(methods)} against {found.dataset}",
        dataset=found.dataset,
        runs=tuple(materials),
        phantom=is_phantom(found.where),
        protocol=_protocol(rules),
        profile=rules.profile,
        papers=load_tables(conf_folder()),
        versions={"strokelab": version("strokelab"), **{name: version(name) for name in _PACKAGES}},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        notes=(*found.notes, *about_grids(scores.cases), *_about_cases(scores.cases), *plain),
    )


def _protocol(rules: Rules) -> Mapping[str, str]:
    return {
        "scored on": "the grid of each reference",
        "predictions": str(rules.prediction) or "binary masks as they are",
        "references": str(rules.reference) or "binary masks as they are",
        "other grids": "refused" if rules.strict_grid else "brought to the reference's by nearest neighbour, noted",
    }


def _about_cases(cases: pd.DataFrame) -> list[str]:
    """Which rows bear a note; the notes themselves stand in the table."""
    noted = cases[~has_failed(cases) & cases["note"].notna()]
    if noted.empty:
        return []
    rows = [f"{case} ({run})" for run, case in noted[["run", "case"]].itertuples(index=False)]
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return [f"{len(rows)} rows have a note in {CASES}: {', '.join(rows[:5])}{more}. First: {noted['note'].iloc[0]}"]


def _overlays(
    found: Entries, tables: Mapping[str, pd.DataFrame], rules: Rules
) -> tuple[dict[str, list[Overlay]], list[str]]:
    """Best, median and worst cases of each method, and which of them have no image below."""
    entries = {(entry.method, entry.reference.case): entry for entry in found.entries}
    overlays: dict[str, list[Overlay]] = {}
    plain: dict[str, None] = {}
    for method, table in tables.items():
        overlays[method] = []
        for label, _, case in cases_to_show(table):
            entry, dice = entries[method, case], float(table.loc[table["case"] == case, "dice"].iloc[0])
            overlays[method].append(_overlay(entry, rules, label=label, dice=dice))
            if not entry.reference.images:
                plain[case] = None
    notes = [f"Plotted on a plain ground, for want of an image: {', '.join(plain)}."] if plain else []
    return overlays, notes


def _overlay(entry: Entry, rules: Rules, *, label: str, dice: float) -> Overlay:
    assert entry.prediction is not None  # cases without a prediction have no Dice
    reference = read_reference(entry.reference, rules.reference)
    prediction = bring_to(read_prediction(entry.prediction, rules.prediction), reference.grid, where=entry.prediction)
    orient = Orient(reference.grid)
    return Overlay(
        label=label,
        case=entry.reference.case,
        dice=dice,
        image=orient.apply(_ground(entry.reference, reference.grid)),
        reference=orient.apply(reference.mask),
        prediction=orient.apply(prediction.mask),
        spacing=orient.target.spacing,
    )


def _ground(reference: Reference, grid: Grid) -> np.ndarray:
    """A scan of the case on the reference's grid, one that lies there already if there is; else nothing but zeros."""
    scans = [(path, own) for path in reference.images if (own := _grid_or_none(path)) is not None]
    for path, own in sorted(scans, key=lambda scan: not scan[1].matches(grid)):
        try:
            voxels = read_voxels(path)[0]
        except DataError:  # a picture is no reason to stop; the next scan may be whole
            continue
        return voxels if own.matches(grid) else image_on(voxels, own, grid)
    return np.zeros(grid.shape, dtype=np.float32)


def _grid_or_none(path: Path) -> Grid | None:
    try:
        return read_grid(path)
    except DataError:
        return None


def failed_rows(cases: pd.DataFrame) -> Sequence[str]:
    """Case, method and what was found wrong, for every row that could not be scored."""
    failed = cases[has_failed(cases)][["run", "case", "error"]]
    return [f"{case} ({run}): {told(error)}" for run, case, error in failed.itertuples(index=False)]


def told(error: str) -> str:
    """The half of an error in one line that says what was found where; the table has all of it."""
    return error.partition(" expected: ")[0]
