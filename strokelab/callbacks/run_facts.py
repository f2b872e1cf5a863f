"""What a tracking board receives of a run: the words it is found, grouped and compared by. Knows no board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

TAG_LIMIT = 64  # characters, W&B
STEP = "trainer/global_step"  # Lightning's name for the x axis of every curve
CASE_TABLE, OVERLAYS = "test/per_case", "test/overlays"
LEADERBOARD, EVALUATED, MATRIX = "evaluation/leaderboard", "evaluation/per_case", "evaluation/table_matrix"


@dataclass(frozen=True)
class EvaluationFacts:
    """One evaluation, as a board receives it.

    Args:
        name: of the board's run.
        models: that were evaluated.
        datasets: that they were evaluated on -> whether it is synthetic; readers' names.
        leaderboard: a row per model (and dataset), best first.
        cases: the case table.
        tables: files of the page's tables, CSV, without those that list cases or members.
        figures: files of figures without scans, PNG.
        scans: files of figures that show scans.
        command: what was typed.
    """

    name: str
    models: Sequence[str]
    datasets: Mapping[str, bool]
    leaderboard: pd.DataFrame
    cases: pd.DataFrame
    tables: Sequence[Path] = ()
    figures: Sequence[Path] = ()
    scans: Sequence[Path] = ()
    command: str = ""


@dataclass(frozen=True)
class RunFacts:
    """One training, in the words of its tables.

    Args:
        folder: of the run.
        family: what the run calls its model, usually the name of a file in ``conf/model``.
        dataset: of the cohort; phantoms in the layout of a dataset are ``phantom_<dataset>``.
        phantom: whether the images are synthetic.
        split: rule, e.g. ``leave_one_site_out``.
        fold: of the split's setting; "" = the rule has none.
        held_out: the one site that all test cases come from; "" = there is no such site.
        seed: of the training.
        sweep: name of the sweep's folder; "" = a run of its own.
        settings: every setting, resolved.
        environment: versions, machine and git commit.
        resumed_step: global step of the checkpoint it goes on from; None = a new training.
    """

    folder: Path
    family: str
    dataset: str
    phantom: bool
    split: str
    fold: str
    held_out: str
    seed: int
    sweep: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    resumed_step: int | None = None

    @property
    def name(self) -> str:
        """``family-dataset-heldout-seed``; the fold stands in for the site where none is held out."""
        place = self.held_out or (f"fold{self.fold}" if self.fold else self.split)
        return f"{self.family}-{self.dataset}-{place}-seed{self.seed}"

    @property
    def tags(self) -> list[str]:
        """Family, dataset, split, fold and held-out site, none empty, none twice, short enough."""
        words = (self.family, self.dataset, self.split, f"fold {self.fold}" if self.fold else "", self.held_out)
        return list(dict.fromkeys(word[:TAG_LIMIT] for word in words if word))

    @property
    def keys(self) -> dict[str, Any]:
        """What boards filter and group by; the names are ``KEYS``."""
        return {
            "family": self.family,
            "dataset": self.dataset,
            "phantom": self.phantom,
            "split_rule": self.split,
            "fold": self.fold,
            "held_out": self.held_out,
            "seed": self.seed,
            "sweep": self.sweep,
            "stage_names": ", ".join(self.settings.get("stages") or ()),
            "classes": len((self.settings.get("view") or {}).get("classes") or ()) or 1,
            "synthetic_ratio": synthetic_ratio(self.settings),
            "commit": str(self.environment.get("commit", "")),
        }


KEYS = (
    *("family", "dataset", "phantom", "split_rule", "fold", "held_out", "seed", "sweep", "stage_names"),
    *("classes", "synthetic_ratio", "commit"),
)
"""Flat config keys of every run on a board, beside its settings under their own names."""


def synthetic_ratio(settings: Mapping[str, Any]) -> str:
    """Steps on synthetic images to steps on scans, e.g. ``1:1``; ``0`` where none are synthesised."""
    data = settings.get("data") or {}
    sources = [name for name, node in (data.get("sources") or {}).items() if node]
    if "synthetic" not in sources:
        return "0"
    ratio: list[int] = [*((data.get("mixing") or {}).get("ratio") or ())]
    if len(ratio) != 1 + len(sources):
        return "by weight"
    return f"{ratio[1 + sources.index('synthetic')]}:{ratio[0]}"
