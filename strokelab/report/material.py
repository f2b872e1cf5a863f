"""The words of the report: everything a page is made from. Knows no files, no figures and no HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strokelab.inference.tune import Found
from strokelab.metrics.profiles import CASE_METRICS, METRICS, find_profile
from strokelab.report.intensities import GreyValues
from strokelab.report.paper_tables import PaperTable

KEY_COLUMNS = ("run", "case", "subject", "site")
VOLUMES = {"lesion_ml": "Lesion volume (ml)", "prediction_ml": "Predicted volume (ml)"}
CASE_COLUMNS = (*KEY_COLUMNS, *CASE_METRICS, *VOLUMES, "error")

_DIGITS = {"mm": 1, "ml": 2, "mm^3": 0, "voxels": 0, "lesions": 1}  # by unit; shares have three


def heading(metric: str, profile: str = "default") -> str:
    """Table header or axis label of a metric or volume: name, unit, and the arrow that says which way is better."""
    if metric not in (*METRICS, *VOLUMES):
        return metric  # the user's own
    # An arrow alone on a line of its own says nothing.
    return VOLUMES.get(metric) or find_profile(profile).header(metric).replace(" ↑", "\u00a0↑").replace(" ↓", "\u00a0↓")


def digits(metric: str, profile: str = "default", *, single: bool = False) -> int:
    """Decimals a value is shown with; a count of a single case has none."""
    if metric in VOLUMES:
        return _DIGITS["ml"]
    if metric not in METRICS:
        return 3
    unit = find_profile(profile).unit(metric)
    return 0 if single and unit == "lesions" else _DIGITS.get(unit, 3)


@dataclass(frozen=True)
class Overlay:
    """One case to look at, on its native grid brought to RAS+ order."""

    label: str  # "best" | "median" | "worst"; "large" | "small"
    case: str
    dice: float
    image: NDArray[Any]  # (X, Y, Z)
    reference: NDArray[Any]  # (X, Y, Z), non-zero = lesion
    prediction: NDArray[Any]  # (X, Y, Z), non-zero = lesion
    spacing: tuple[float, float, float]  # mm
    probability: NDArray[Any] | None = None  # (X, Y, Z), shown in place of the prediction's mask
    labels: NDArray[Any] | None = None  # (X, Y, Z), the most probable class, 0 the first of class_names
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunMaterial:
    """One trained run and what it did on the evaluated cases. Parts that are None are left out, with a line why."""

    name: str
    model: str
    dataset: str
    cases: pd.DataFrame  # CASE_COLUMNS, one row per case
    split: str = ""  # in words, e.g. "leave one site out, site 5 held out"
    held_out_site: str | None = None
    seed: int | None = None
    sites: tuple[str, ...] = ()  # training sites in index order
    folder: str = ""  # a label, not necessarily a path
    trained: bool = True  # False: masks of any tool, of whose training nothing is known
    parts: frozenset[str] | None = None  # of {"standardizer", "adversary", "hemispheres"}; None = not of that family
    training_scans: Mapping[str, int] = field(default_factory=dict)  # training site -> number of scans
    history: pd.DataFrame | None = None  # metrics.csv of Lightning's CSVLogger, sparse
    rates: pd.DataFrame | None = None  # learning rate over epochs: epoch, stage, rate, restart; of a model's first run
    grey_values: GreyValues | None = None
    overlays: tuple[Overlay, ...] = ()
    size_overlays: tuple[Overlay, ...] = ()  # of the largest and the smallest lesions, with probabilities
    shared_overlays: tuple[Overlay, ...] = ()  # of cases that every model is shown on
    cost: Mapping[str, float] = field(default_factory=dict)  # columns of the paper's cost table, if measured
    probabilities: pd.DataFrame | None = None  # run, case, bin, lesion, healthy, mass: metrics.thresholds
    differs: str = ""  # settings that tell ``model`` from its namesakes, where it does not say them
    published: str = ""  # what published tables call the model, where it is not ``model``
    unlike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # table -> what its recipe has otherwise
    protocol: str = ""  # by whose training models of one table are compared, by its name in conf/protocol
    tuning: Found | None = None  # the search for threshold and smallest component; None: there was none
    monitor: str = ""  # column of ``history`` that early stopping looked at; "" = it was not asked for
    kept_epoch: int | None = None  # from 1, whose weights are evaluated
    ended_epoch: int | None = None  # from 1, in which the training ended before its length

    def __post_init__(self) -> None:
        # A table in which every case failed has no metric columns at all.
        columns = list(dict.fromkeys([*CASE_COLUMNS, *self.cases.columns]))
        cases = self.cases.reindex(columns=columns)
        errors = cases["error"].astype(object)
        object.__setattr__(self, "cases", cases.assign(error=errors.where(errors.notna(), "")))

    @property
    def majority_share(self) -> float | None:
        """Share of the largest training site: the accuracy of always naming it. None when scans are not known."""
        total = sum(self.training_scans.values())
        return max(self.training_scans.values()) / total if total else None


@dataclass(frozen=True)
class ListedMember:
    """A line of the report's list of a sweep's members, whether or not anything came of it."""

    name: str  # of its folder
    state: str  # "finished" | "failed" | "killed" | "running" | "missing" | "unknown"
    overrides: str = ""  # what tells it from the others, e.g. "model=sgnet split.fold=3"
    error: str = ""  # first line


@dataclass(frozen=True)
class Evaluation:
    """Everything ``html.write_report`` needs."""

    title: str
    dataset: str  # name and, where it helps, root or release
    runs: tuple[RunMaterial, ...]
    phantom: bool = False  # synthetic data: never comparable with a paper
    protocol: Mapping[str, str] = field(default_factory=dict)  # what was done, e.g. {"voxel spacing": "4 mm"}
    profile: str = "default"  # of the metrics
    own_metrics: tuple[str, ...] = ()  # columns of the user's own beside the profile's
    papers: tuple[PaperTable, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""  # ISO 8601
    command: str = ""
    notes: tuple[str, ...] = ()
    members: tuple[ListedMember, ...] = ()  # of the sweep the runs come from, all of them; () = no sweep

    @property
    def cases(self) -> pd.DataFrame:
        """All case rows: ``model`` and ``seed`` of their run, CASE_COLUMNS, then what else the tables hold."""
        tables = [run.cases.assign(run=run.name, model=run.model, seed=run.seed) for run in self.runs]
        table = pd.concat([t.dropna(axis="columns", how="all") for t in tables], ignore_index=True)
        return table.reindex(columns=list(dict.fromkeys(["model", "seed", *CASE_COLUMNS, *table.columns])))

    @property
    def models(self) -> list[str]:
        """Model names in order of appearance."""
        return list(dict.fromkeys(run.model for run in self.runs))


def finite(values: pd.Series) -> NDArray[np.float64]:
    """The finite numbers of a column."""
    numbers: NDArray[np.float64] = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(numbers[np.isfinite(numbers)])
