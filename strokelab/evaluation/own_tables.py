"""The tables a training wrote itself, taken where predicting again would give the same. Predicts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from strokelab import runs
from strokelab.configuration import Settings
from strokelab.errors import DataError
from strokelab.evaluation.entries import Entry
from strokelab.metrics.profiles import CASE_METRICS
from strokelab.scoring import Scores, read_scores
from strokelab.scoring.tables import RECIPE
from strokelab.statistics.aggregate import has_failed


def own_scores(entry: Entry, settings: Settings) -> Scores | str:
    """The scores a run has of its own test part, or why they cannot stand for those this evaluation asks for.

    They can when they were made from the same weights, with the same post-processing, metric profile and version of
    strokelab, of exactly the cases asked for, and none of them failed. What changed in the images or masks since is
    not seen. Columns of the training's own metrics are left out.
    """
    if settings.get("data") or settings["part"] != "test":
        return "other cases are asked for"
    if settings.get("metrics"):
        return "own metrics are asked for"
    try:
        scores = read_scores(entry.folder / runs.CASES, entry.folder / runs.PROBABILITIES)
    except DataError as error:
        return f"{error.where.rpartition('/')[2]}: {error.found}"
    return _difference(entry, scores) or replace(scores, cases=scores.cases.drop(columns=_own_metrics(entry, scores)))


def _own_metrics(entry: Entry, scores: Scores) -> list[str]:
    """Columns of the training's own metrics, which an evaluation has only where it asks for them."""
    callbacks = entry.settings.get("callbacks")
    nodes = callbacks.values() if isinstance(callbacks, Mapping) else ()
    own = [node.get("own") for node in nodes if isinstance(node, Mapping)]
    names = {name for one in own if isinstance(one, Mapping) for name in one}
    return [str(name) for name in scores.cases if name in names and name not in CASE_METRICS]


def _difference(entry: Entry, scores: Scores) -> str:
    table = scores.cases
    for column in RECIPE:
        values = set(table[column])
        if values != {entry.recipe[column]}:
            return f"another {column}"
    missing = [metric for metric in CASE_METRICS if metric not in table]
    if missing:
        return f"no {missing[0]}"
    if has_failed(table).any():
        return "cases that failed"
    cases = list(table["case"])
    wanted = [case.case_id for case in entry.cohort.cases]
    if set(table["dataset"]) != {entry.cohort.dataset} or len(set(cases)) != len(cases):
        return "other cases"
    if cases != wanted if wanted else not set(cases) <= set(entry.split.test):
        return "other cases"
    return "" if set(scores.probabilities["case"]) == set(cases) else "other cases in the probabilities"
