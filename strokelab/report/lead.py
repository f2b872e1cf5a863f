"""The sentences above the page: what was evaluated, what came out, what is missing. Knows no table and no HTML."""

from __future__ import annotations

import pandas as pd

from strokelab.files import natural_key
from strokelab.report.cells import between, counted, listed, plural
from strokelab.report.material import Evaluation
from strokelab.report.significance import number_of_tests, sentence, worth_telling
from strokelab.report.summary import line_of
from strokelab.statistics.aggregate import has_failed, tally

MOST_COMPARISONS = 4
"""In the lead; the others stand above the table of comparisons."""


def lead_sentences(
    evaluation: Evaluation, cases: pd.DataFrame, summary: pd.DataFrame, found: pd.DataFrame
) -> list[str]:
    """What was evaluated and what came out, in sentences to quote.

    Args:
        evaluation: what to report.
        cases: its cases ``with_sites``.
        summary: its ``summary_table``.
        found: its ``comparisons``.
    """
    sentences = [_what(evaluation, cases), *_means(evaluation, summary)]
    sentences += comparison_sentences(evaluation, summary, found)[:MOST_COMPARISONS]
    return [*sentences, *_repeats(found), *_different_cases(evaluation, cases), *_failed(cases), *_members(evaluation)]


def comparison_sentences(evaluation: Evaluation, summary: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """The two best models against each other, then every model against the first one of the evaluation."""
    best = [model for model, _ in _by_mean(evaluation, summary)]
    return [sentence(row, number_of_tests(found)) for row in worth_telling(found, evaluation.models, best)]


def _what(evaluation: Evaluation, cases: pd.DataFrame) -> str:
    held_out = sorted({run.held_out_site for run in evaluation.runs if run.held_out_site is not None}, key=natural_key)
    seeds = sorted({run.seed for run in evaluation.runs if run.seed is not None})
    sites = sorted(cases["site"].unique(), key=natural_key)
    counts = tally(cases)
    return (
        f"{counted(len(evaluation.runs), 'run')} of {counted(len(evaluation.models), 'model')} "
        f"({', '.join(evaluation.models)}) on {counted(counts.cases, 'case')} of {evaluation.dataset}"
        + (f" ({counts})" if len({counts.cases, counts.subjects, counts.rows}) > 1 else "")
        + (f", {plural(len(sites), 'site')} {', '.join(sites)}" if sites else "")
        + (f"; held out in training: {plural(len(held_out), 'site')} {', '.join(held_out)}" if held_out else "")
        + (f"; {plural(len(seeds), 'seed')} {', '.join(map(str, seeds))}" if seeds else "")
        + f". Scored on the images' own grids, metric profile “{evaluation.profile}”."
    )


def _by_mean(evaluation: Evaluation, summary: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """Models with a scored case, best mean Dice first."""
    lines = [(model, line_of(summary, level="model", model=model)) for model in evaluation.models]
    return sorted(((model, line) for model, line in lines if line["n"]), key=lambda pair: -float(pair[1]["mean"]))


def _means(evaluation: Evaluation, summary: pd.DataFrame) -> list[str]:
    scored = []
    for model, line in _by_mean(evaluation, summary):
        ends = between(float(line["low"]), float(line["high"]), 3)
        scored.append(f"{model} {float(line['mean']):.3f}" + (f" ({ends})" if ends else ""))
    return [f"Mean Dice over cases (95 % CI): {', '.join(scored)}."] if scored else []


def _repeats(found: pd.DataFrame) -> list[str]:
    if found.empty or found["repeats"].max() < 2:
        return []
    return [
        f"Rows of one model on the same case (seeds, runs; up to {int(found['repeats'].max())}) are averaged before "
        "models are compared."
    ]


def _different_cases(evaluation: Evaluation, cases: pd.DataFrame) -> list[str]:
    every = set(cases["case"])
    own = {model: set(rows) for model, rows in cases.groupby("model")["case"]}
    lacking = []
    for model in evaluation.models:
        missing = sorted(every - own.get(model, set()), key=natural_key)
        if missing:
            lacking.append(f"{model} lacks {len(missing)} of {len(every)} ({listed(missing, 3)})")
    if not lacking:
        return []
    return [
        f"The models were not evaluated on the same cases: {', '.join(lacking)}. Their means are of different things; "
        "tests use only the cases that both models have."
    ]


def _failed(cases: pd.DataFrame) -> list[str]:
    bad = cases[has_failed(cases)]
    if bad.empty:
        return []
    names = [f"{case} of {run}" for case, run in zip(bad["case"], bad["run"], strict=True)]
    return [
        f"{counted(len(bad), 'row')} could not be scored and {'counts' if len(bad) == 1 else 'count'} in no number "
        f"({listed(names, 3)}); the case table says why."
    ]


def _members(evaluation: Evaluation) -> list[str]:
    absent = [member for member in evaluation.members if member.state != "finished"]
    if not absent:
        return []
    states = {state: [m.name for m in absent if m.state == state] for state in dict.fromkeys(m.state for m in absent)}
    parts = "; ".join(f"{len(names)} {state} ({listed(names, 5)})" for state, names in states.items())
    return [
        f"Of {counted(len(evaluation.members), 'member')} of the sweep {len(absent)} "
        f"{'is' if len(absent) == 1 else 'are'} in no number: {parts}."
    ]
