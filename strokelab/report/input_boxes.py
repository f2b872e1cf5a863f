"""Models compared for each image that they were given, with marks of the test (SynthStroke). Knows case rows."""

from __future__ import annotations

import pandas as pd

from strokelab.metrics.profiles import METRICS
from strokelab.report.figures import box_plots
from strokelab.report.material import Evaluation, finite
from strokelab.report.pictures import Section, listed, stored
from strokelab.statistics.paired import compare, stars

ANCHOR, TITLE = "inputs", "Image by image"
_METRICS = ("dice", "lesion_f1")  # Chalcroft 2024, Figs. 1, 2 and 4
_RULE = "ns p > 0.05, * ≤ 0.05, ** ≤ 0.01, *** ≤ 0.001, **** ≤ 0.0001"


def input_section(evaluation: Evaluation) -> Section:
    """Boxes of Dice and lesion-wise F1 per input and model; with two models, the mark of their paired test."""
    names = {run.model: run.published or run.model for run in evaluation.runs}
    cases = by_input(evaluation.cases).replace({"model": names})
    models = list(dict.fromkeys(cases["model"]))
    pictures = [
        stored(
            f"{metric}_by_input",
            box_plots(cases, metric, evaluation.profile, ylabel="input", marks=marks_of(cases, metric)),
            caption=f"{METRICS[metric].title} for each input of the network. Box: quartiles and median; whiskers: 1.5 "
            "times the quartile range; small marks: single cases; diamond: mean. Beside an input, where there are two "
            f"models, their Wilcoxon signed-rank test over cases, each by itself: {_RULE}.",
            alt=f"Box plots of {METRICS[metric].title} per input for {listed(models)}.",
        )
        for metric in _METRICS
        if metric in cases and finite(cases[metric]).size
    ]
    return Section(ANCHOR, TITLE, tuple(pictures), () if pictures else ("No case could be scored.",))


def by_input(cases: pd.DataFrame) -> pd.DataFrame:
    """The rows with what the network was given in the column site: an image, of several data sets also which."""
    modality = cases["modality"] if "modality" in cases else pd.Series(index=cases.index, dtype=object)
    given = modality.where(modality.notna() & (modality != ""), "as trained").astype(str)
    several = "dataset" in cases and cases["dataset"].nunique() > 1
    return cases.assign(site=cases["dataset"].astype(str) + " " + given if several else given)


def marks_of(cases: pd.DataFrame, metric: str) -> dict[str, str]:
    """Input -> the mark of the paired test of its two models; no mark where there are not two that share a case."""
    found = {}
    for name, rows in cases.groupby("site", sort=False):
        if rows["model"].nunique() == 2:
            lines = compare(rows, [metric], column="model", resamples=1)
            found[str(name)] = stars(float(lines["p"].iloc[0])) if len(lines) else ""
    return found
