"""Everything the page says in numbers, section by section. Knows the tables and sentences; knows no HTML, no figure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from strokelab.report.cells import NOTHING, Cell, Table, plain_number
from strokelab.report.lead import MOST_COMPARISONS, comparison_sentences, lead_sentences
from strokelab.report.listings import case_table, member_list, run_list
from strokelab.report.material import Evaluation
from strokelab.report.postprocessing import ANCHOR, TITLE, effect_tables
from strokelab.report.ranking import ranking_table
from strokelab.report.results import interval_table, result_tables
from strokelab.report.significance import comparison_table, comparisons, with_nested_intervals
from strokelab.report.sizes import size_tables
from strokelab.report.summary import summary_table, with_sites
from strokelab.report.tuning import ANCHOR as TUNING
from strokelab.report.tuning import TITLE as TUNING_TITLE
from strokelab.report.tuning import tuning_tables

__all__ = ["NOTHING", "Cell", "Numbers", "Table", "lead", "measure", "page_tables", "plain_number"]

PHANTOM = "Phantom data: synthetic images, not comparable with numbers from patients."

Chapter = tuple[str, str, tuple[str, ...], list[Table]]
"""Anchor, title, sentences and tables of a section of the page."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """What sentences, tables and files are made from, computed once."""

    cases: pd.DataFrame  # every case row, sites named
    summary: pd.DataFrame  # of ``summary.summary_table``, the file summary.csv
    comparisons: pd.DataFrame  # of ``significance.comparisons``; no row for one model


def measure(evaluation: Evaluation) -> Numbers:
    """Compute every number of an evaluation that more than one part of the page needs.

    Raises:
        DataError: a run lists a case twice.
    """
    cases = with_sites(evaluation.cases)
    return Numbers(cases, summary_table(evaluation), with_nested_intervals(comparisons(cases), cases))


def lead(evaluation: Evaluation, numbers: Numbers | None = None) -> list[str]:
    """The sentences above the page: what was evaluated, what came out, what is missing.

    Args:
        evaluation: what to report.
        numbers: of ``measure``, if at hand.
    """
    numbers = numbers or measure(evaluation)
    return lead_sentences(evaluation, numbers.cases, numbers.summary, numbers.comparisons)


def page_tables(evaluation: Evaluation, numbers: Numbers | None = None) -> list[Chapter]:
    """The sections of the page that hold numbers: results, comparison, sizes, cases, runs, in this order.

    Args:
        evaluation: what to report.
        numbers: of ``measure``, if at hand.

    Returns:
        (anchor, title, sentences, tables) per section, anchors ``results``, ``comparison`` (two models and more),
        ``sizes`` (where volumes are known), ``postprocessing`` (where it can be told), ``tuning`` (where runs searched
        for it), ``cases`` (one sortable table) and ``runs`` (not of masks without a run).
    """
    numbers = numbers or measure(evaluation)
    cases, summary = numbers.cases, numbers.summary
    results = [*result_tables(evaluation, cases, summary), interval_table(evaluation, cases, summary)]
    chapters: list[Chapter] = [("results", "Results", (), _marked(evaluation, results))]
    if len(numbers.comparisons):
        told = comparison_sentences(evaluation, summary, numbers.comparisons)
        ranking = ranking_table(evaluation, cases)
        tables = [comparison_table(numbers.comparisons, evaluation.profile), *([ranking] if ranking else [])]
        chapters.append(
            ("comparison", "Comparison of the models", tuple(told[MOST_COMPARISONS:]), _marked(evaluation, tables))
        )
    if sizes := size_tables(evaluation, cases):
        chapters.append(("sizes", "By lesion size", (), _marked(evaluation, sizes)))
    if finished := effect_tables(evaluation):
        chapters.append((ANCHOR, TITLE, (), _marked(evaluation, finished)))
    if searched := tuning_tables(evaluation):
        chapters.append((TUNING, TUNING_TITLE, (), _marked(evaluation, searched)))
    members = member_list(evaluation)
    chapters.append(("cases", "Every case", (), [case_table(evaluation, cases)]))
    listed = [run_list(evaluation)] if any(run.trained for run in evaluation.runs) else []
    if listed or members:
        chapters.append(("runs", "Runs", (), [*listed, *([members] if members else [])]))
    return chapters


def _marked(evaluation: Evaluation, tables: list[Table]) -> list[Table]:
    """Numbers of phantoms say so wherever a table goes: a file of it has no page around it."""
    return [replace(table, notes=(*table.notes, PHANTOM)) for table in tables] if evaluation.phantom else tables
