"""Pairs of mask files to a case table, cases in parallel. Knows files and metrics; draws nothing, writes nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from strokelab import __version__
from strokelab.contract import LesionFile
from strokelab.errors import DataError, StrokelabError
from strokelab.files import natural_key
from strokelab.metrics.case import score_row
from strokelab.metrics.profiles import find_profile
from strokelab.metrics.thresholds import of_probabilities
from strokelab.nifti import read_grid, read_lesion
from strokelab.scoreboard.masks import MaskRule, ReadMask, bring_to, noted, read_mask
from strokelab.scoreboard.workers import over_cases
from strokelab.scoring.tables import PROBABILITY_COLUMNS, Scores, typed

Row = dict[str, Any]
_Outcome = tuple[Row, pd.DataFrame | None, bool]  # row, histogram, and whether the file holds more than 0 and 1
_BINARY = MaskRule()


@dataclass(frozen=True)
class Reference:
    """One case: whose it is, its masks, and the scan they were annotated on."""

    case: str
    files: tuple[LesionFile, ...]  # united
    subject: str = ""
    site: str | None = None
    scanner: str | None = None
    dataset: str = ""
    scan: Path | None = None  # of a known dataset: the image whose grid the masks lie on, by the dataset's own rule
    images: tuple[Path, ...] = ()  # candidates for the ground under an overlay, best first

    @property
    def paths(self) -> tuple[Path, ...]:
        """The mask files."""
        return tuple(file.path for file in self.files)


@dataclass(frozen=True)
class Entry:
    """What one method says about one case."""

    method: str
    reference: Reference
    prediction: Path | None = None  # None: there is none, which makes a failed row


@dataclass(frozen=True)
class Rules:
    """How files become masks and masks become numbers."""

    prediction: MaskRule = _BINARY
    reference: MaskRule = _BINARY
    profile: str = "default"
    strict_grid: bool = False


def score_entries(
    entries: Sequence[Entry], rules: Rules, *, workers: int | None = None, console: Console | None = None
) -> Scores:
    """Score masks of any tools.

    Args:
        entries: what is to be scored.
        rules: how.
        workers: processes, each at one case at a time; None: one per core. The numbers do not depend on it.
        console: where a progress bar is shown; None: nowhere.

    Returns:
        One row per entry, methods in the order of the entries, cases in natural order: the columns of a case table,
        with the method as ``run``, and ``grid_kept`` (volume after / before a prediction was brought to its reference's
        grid; empty where it lay there), ``note`` (a rule that was applied to this case), ``prediction`` and
        ``reference`` (the files). What is wrong with a case stands in its ``error``; the others go on. ``mdsc`` and
        ``probabilities`` are filled for methods whose files are probability maps, given a threshold.

    Raises:
        ConfigError: the profile does not exist.
        DataError: a worker was killed.
    """
    find_profile(rules.profile)
    methods = list(dict.fromkeys(entry.method for entry in entries))
    jobs: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: natural_key(entry.reference.case)):
        jobs.setdefault(entry.reference.case, []).append(entry)
    found: dict[tuple[str, str], _Outcome] = {}
    work = partial(score_case_of, rules=rules)
    for case, results in over_cases(work, jobs, workers=workers, console=console, title="Scoring"):
        found |= {(row["run"], case): (row, counts, graded) for row, counts, graded in results}
    ordered = [found[method, case] for method in methods for case in jobs if (method, case) in found]
    return _tables(ordered)


def score_case_of(entries: Sequence[Entry], rules: Rules) -> list[_Outcome]:
    """All methods on one case; the reference is read once."""
    reference: ReadMask | str = ""
    results: list[_Outcome] = []
    for entry in entries:
        row = _origin(entry, rules)
        try:
            if entry.prediction is None:
                raise _no_prediction(entry)
            if isinstance(reference, str):
                reference = read_reference(entry.reference, rules.reference)
            prediction = read_prediction(entry.prediction, rules.prediction)
            prediction = bring_to(prediction, reference.grid, where=entry.prediction, strict=rules.strict_grid)
            scores, counts, graded = _scores(prediction, reference, rules.profile)
            notes = [*prediction.notes, *(f"reference: {note}" for note in reference.notes)]
            if any(os.path.samefile(entry.prediction, file) for file in entry.reference.paths):
                notes.append("prediction and reference are one file")
        except (StrokelabError, OSError, MemoryError) as error:
            results.append((row | {"error": " ".join(str(error).split()) or type(error).__name__}, None, False))
            continue
        if counts is not None:
            counts.insert(0, "run", entry.method)
            counts.insert(1, "case", entry.reference.case)
        about = {"note": "; ".join(notes), "error": "", "grid_kept": prediction.kept}
        results.append((row | scores | about, counts, graded))
    return results


def read_reference(reference: Reference, rule: MaskRule) -> ReadMask:
    """The reference of a case: by the rule, or as the reader of its dataset has it.

    Raises:
        DataError: a file cannot be read, is no mask by the rule, or lies on another grid than the others.
    """
    if reference.scan is None:
        return noted(partial(read_mask, reference.paths, rule))
    scan = reference.scan

    def by_dataset() -> ReadMask:
        grid = read_grid(scan)
        return ReadMask(read_lesion(reference.files, grid, scan).astype(bool), grid)

    return noted(by_dataset)


def read_prediction(path: Path, rule: MaskRule) -> ReadMask:
    """One method's mask of a case.

    Raises:
        DataError: as ``read_reference``.
    """
    return noted(partial(read_mask, (path,), rule))


def _origin(entry: Entry, rules: Rules) -> Row:
    """Everything about a row that is known before a file is opened; order of the table's columns."""
    case = entry.reference
    row: Row = {"run": entry.method, "case": case.case, "subject": case.subject or case.case, "site": case.site}
    row |= {"dataset": case.dataset, "scanner": case.scanner, "fold": None, "seed": np.nan}
    row |= {"checkpoint": None, "weights": None, "inference": None, "postprocessing": str(rules.prediction)}
    row |= {"profile": find_profile(rules.profile).name, "version": __version__, "note": "", "error": ""}
    row["prediction"] = "" if entry.prediction is None else str(entry.prediction)
    return row | {"reference": ";".join(map(str, case.paths))}


def _scores(prediction: ReadMask, reference: ReadMask, profile: str) -> tuple[Row, pd.DataFrame | None, bool]:
    grid = reference.grid
    volume = grid.voxel_volume_mm3
    scores: Row = dict(score_row(prediction.mask, reference.mask, grid.spacing, profile, voxel_volume_mm3=volume))
    row = {"lesion_ml": scores.pop("truth_ml"), **scores}
    if prediction.probability is None:
        return row | {"mdsc": float("nan"), "mdsc_threshold": float("nan")}, None, False
    best, histogram = of_probabilities(prediction.probability, reference.mask, profile)
    graded = bool(((prediction.probability > 0) & (prediction.probability < 1)).any())
    return row | best, histogram, graded


def _tables(outcomes: Sequence[_Outcome]) -> Scores:
    """Of a method whose files hold nothing between 0 and 1, masks and no maps, the maximal Dice means nothing."""
    graded = {row["run"] for row, _, graded in outcomes if graded}
    nothing = {"mdsc": float("nan"), "mdsc_threshold": float("nan")}
    rows = [row if row["run"] in graded else row | nothing for row, _, _ in outcomes]
    counts = [table for row, table, _ in outcomes if table is not None and row["run"] in graded]
    last = ("mdsc", "mdsc_threshold", "grid_kept", "note", "error", "prediction", "reference")
    cases = pd.DataFrame(rows).assign(grid_kept=[row.get("grid_kept", float("nan")) for row in rows])
    cases = cases[[*(name for name in cases.columns if name not in last), *last]]
    probabilities = pd.concat(counts, ignore_index=True) if counts else pd.DataFrame(columns=PROBABILITY_COLUMNS)
    return Scores(typed(cases), probabilities)


def _no_prediction(entry: Entry) -> DataError:
    return DataError(
        f"case {entry.reference.case}",
        found=f"no prediction of {entry.method}",
        expected="one prediction for every reference",
        remedy="add the mask (an empty one where nothing was found), or take the reference away",
    )
