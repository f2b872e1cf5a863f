"""What a matrix holds, and the numbers of its cells. Knows rows and columns; knows no page and no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from strokelab.report.material import ListedMember
from strokelab.report.summary import CLUSTER, HEADLINE, RESAMPLES, SEED, measured, with_sites
from strokelab.statistics.bootstrap import bootstrap_intervals
from strokelab.statistics.repeats import average_repeats

ENSEMBLE = "ensemble"
"""How the mean over the images of a case is called, as a contrast."""


@dataclass(frozen=True)
class CellFacts:
    """What became of one run on one dataset.

    Args:
        run: its name in tables.
        model: that it is of.
        dataset: that it was tested on.
        trained_on: the dataset of its training.
        own: it is the dataset of its training.
        cases: that it was tested on.
        seen: how many cases were left out because their subject trained or validated.
        seen_subjects: how many subjects these are.
        lacking: how many cases lack its contrasts.
        reason: why it was tested on none; "" = it was.
        differs: settings that tell its model from its namesakes, where ``model`` does not say them.
    """

    run: str
    model: str
    dataset: str
    trained_on: str
    own: bool = False
    cases: int = 0
    seen: int = 0
    seen_subjects: int = 0
    lacking: int = 0
    reason: str = ""
    differs: str = ""


@dataclass(frozen=True)
class Matrix:
    """Everything ``write_matrix`` needs.

    Args:
        tested: every run on every dataset, in the order of the page.
        cases: all case rows, with ``model``, ``run``, ``dataset``, ``modality`` (of which image, or the mean) and
            ``main``: the row stands for the run.
        datasets: name -> what it holds, in words.
        profile: of the metrics.
        phantom: synthetic data are among them.
        members: of the sweeps that runs come from.
        notes: above the page.
        created: ISO 8601.
        command: what was typed.
        versions: of packages.
    """

    tested: tuple[CellFacts, ...]
    cases: pd.DataFrame
    datasets: Mapping[str, str]
    profile: str = "default"
    phantom: bool = False
    members: tuple[ListedMember, ...] = ()
    notes: tuple[str, ...] = ()
    created: str = ""
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """In order of appearance."""
        return list(dict.fromkeys(one.model for one in self.tested))


def cell_lines(matrix: Matrix, *, by: Sequence[str] = (), metrics: Sequence[str] = HEADLINE) -> pd.DataFrame:
    """One row per model, dataset, contrast and metric: mean with its interval, and what is not in it.

    Rows of a model on one case (seeds, folds) are averaged first; subjects are resampled.

    Args:
        matrix: to report.
        by: further columns that make groups, e.g. ``["site"]``.
        metrics: those that are measured at all.

    Returns:
        ``model``, ``dataset``, ``modality``, ``main``, the columns of ``by``, ``runs``; the rest as
        ``bootstrap_intervals`` has it, statistic ``mean`` and, of distances with infinite values, ``median``.
    """
    keys = ["model", "dataset", "modality", "main", *by]
    metrics = measured(matrix.cases, metrics)
    if not metrics:  # no case, or none that could be scored
        return pd.DataFrame(columns=[*keys, "runs", "metric", "statistic", "n", "estimate", "low", "high", "failed"])
    lines = []
    for labels, rows in with_sites(matrix.cases).groupby(keys, sort=False, dropna=False):
        named: dict[str, Any] = dict(zip(keys, labels, strict=True))
        cases = average_repeats(rows, metrics, column="model", cluster=CLUSTER).reset_index()
        cases = cases.assign(error=np.where(cases["good"] == 0, "failed", ""))
        found = bootstrap_intervals(cases, metrics, cluster="cluster", resamples=RESAMPLES, seed=SEED)
        lines.append(found.assign(**named, runs=rows["run"].nunique()))
    table = pd.concat(lines, ignore_index=True)
    return table[[*keys, "runs", *(name for name in table.columns if name not in (*keys, "runs"))]]


def main_line(lines: pd.DataFrame, model: str, dataset: str, metric: str = "dice") -> pd.Series | None:
    """The mean that stands for a model on a dataset; of several runs with several main contrasts, the first's."""
    chosen = (lines["model"] == model) & (lines["dataset"] == dataset) & lines["main"].astype(bool)
    found = lines[chosen & (lines["metric"] == metric) & (lines["statistic"] == "mean")]
    return None if found.empty else found.iloc[0]
