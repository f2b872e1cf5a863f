"""Would training again show the difference, too? Trainings are the unit, subjects are nested in or crossed with them.

``paired.compare`` asks about other subjects and these trained networks. Here trainings are resampled. Folds (trainings
that share no tested subject) are resampled whole, with their subjects: a cluster bootstrap. Seeds (trainings that are
tested on the same subjects) are resampled beside the subjects, each with weights of its own. Knows rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from strokelab.seeding import stream
from strokelab.statistics.aggregate import has_failed
from strokelab.statistics.bootstrap import in_clusters
from strokelab.statistics.repeats import average_repeats
from strokelab.statistics.resampling import Floats, percentile_interval

_COLUMNS = ("metric", "n", "trainings", "difference", "low", "high")


def training_differences(
    table: pd.DataFrame,
    metrics: Sequence[str],
    *,
    first: str,
    second: str,
    column: str = "model",
    cluster: str = "subject",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """First minus second on the cases both have, with intervals over trainings; one row per metric.

    Trainings of both methods that have the same seed and fold are resampled in pairs, where all of them have a
    partner; else each method's by themselves, except that folds with the same subjects always stay together.

    Args:
        table: a case table, a row per case and training (``run``).
        metrics: columns.
        first: a value of ``column``.
        second: another one.
        column: what is compared.
        cluster: column of the subject, see ``bootstrap.cluster_names``.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        ``metric``; ``n`` cases in the mean: finite on both sides; ``trainings`` of the method that has fewer;
        ``difference`` of the means over cases of the means of their trainings; its 95 % interval ``low``, ``high``, NaN
        where a method has a single training.

    Raises:
        DataError: a case is listed twice in a run, or a column is missing.
    """
    rows = table[table[column].isin([first, second])]
    cases = average_repeats(rows, metrics, column=column, cluster=cluster)
    cases = cases[cases["good"] > 0]
    sides = [cases[cases.index.get_level_values(0) == name].droplevel(0) for name in (first, second)]
    shared = sides[0].index.intersection(sides[1].index)
    good, subjects = in_clusters(rows[~has_failed(rows) & rows["case"].isin(shared)], cluster)
    if good.empty:
        return pd.DataFrame([{"metric": metric, "n": 0, "trainings": 0} for metric in metrics], columns=list(_COLUMNS))
    design = _Design.of(good, subjects, (good[column] == first).to_numpy())
    lines = []
    for metric in metrics:
        values = np.array([side.loc[shared, metric] for side in sides], dtype=float)
        finite = shared[np.isfinite(values).all(axis=0)]
        kept = good["case"].isin(finite).to_numpy() & good[metric].notna().to_numpy()
        line = {"metric": metric, "n": len(finite), "trainings": design.trainings}
        lines.append(line | design.interval(good, metric, kept, resamples=resamples, seed=seed))
    return pd.DataFrame(lines, columns=list(_COLUMNS))


@dataclass(frozen=True, eq=False)
class _Design:
    """Which method, training, subject and independent unit every row belongs to."""

    is_first: NDArray[np.bool_]  # (rows,)
    training: NDArray[np.intp]  # (rows,) number; the two of a pair have one number
    subject: NDArray[np.intp]  # (rows,)
    unit: NDArray[np.intp]  # (rows,) trainings that have subjects in common are one unit
    trainings: int  # of the method that has fewer

    @classmethod
    def of(cls, rows: pd.DataFrame, subjects: NDArray[np.intp], is_first: NDArray[np.bool_]) -> _Design:
        runs = rows["run"].astype(str).to_numpy()
        counts = [len(set(runs[side])) for side in (is_first, ~is_first)]
        labels = _pairs(rows, is_first)
        names = runs if labels is None else labels
        sided = [f"{side} {name}" if labels is None else name for side, name in zip(is_first, names, strict=True)]
        training = pd.factorize(np.asarray(sided, dtype=object))[0].astype(np.intp)
        n_trainings, n_subjects = int(training.max()) + 1, int(subjects.max()) + 1
        edges = coo_array(
            (np.ones(len(rows)), (training, n_trainings + subjects)), shape=(n_trainings + n_subjects,) * 2
        )
        _, member = connected_components(edges, directed=False)
        unit = pd.factorize(member[training])[0].astype(np.intp)
        return cls(is_first, training, subjects, unit, min(counts))

    def interval(
        self, rows: pd.DataFrame, metric: str, kept: NDArray[np.bool_], *, resamples: int, seed: int
    ) -> dict[str, float]:
        """Difference of a metric over the rows that are kept, and its interval."""
        if not kept.any():
            return dict.fromkeys(("difference", "low", "high"), float("nan"))
        values = rows[metric].to_numpy(dtype=float)
        sides = [kept & side for side in (self.is_first, ~self.is_first)]
        shares = [_shares(rows["case"], side) for side in sides]
        ones = np.ones((1, len(rows)))
        difference = _difference(ones, values, shares)
        if self.trainings < 2:
            return {"difference": float(difference[0]), "low": float("nan"), "high": float("nan")}
        generator = stream(seed, "bootstrap", "trainings")
        samples = np.concatenate([_difference(self._weights(generator), values, shares) for _ in range(resamples)])
        low, high = percentile_interval(samples[:, None])
        return {"difference": float(difference[0]), "low": float(low[0]), "high": float(high[0])}

    def _weights(self, generator: np.random.Generator) -> Floats:
        """Of one resample, (1, rows)."""
        if int(self.unit.max()) > 0:
            return _sampled(generator, self.unit)[None]
        return (_sampled(generator, self.training) * _sampled(generator, self.subject))[None]


def _sampled(generator: np.random.Generator, codes: NDArray[np.intp]) -> Floats:
    """How often each row's group is sampled when as many groups as there are come with replacement."""
    groups = int(codes.max()) + 1
    counts = np.bincount(generator.integers(groups, size=groups), minlength=groups)
    weights: Floats = counts[codes].astype(np.float64)
    return weights


def _shares(cases: pd.Series, mine: NDArray[np.bool_]) -> Floats:
    """The share of each row in its case on one side; 0 for rows of the other."""
    shares = np.zeros(len(cases))
    own = cases[mine]
    shares[mine] = 1 / own.groupby(own).transform("size").to_numpy()
    return shares


def _difference(weights: Floats, values: Floats, shares: Sequence[Floats]) -> Floats:
    """First minus second of weighted means, (b,); NaN where a resample holds nothing of a side."""
    known = np.nan_to_num(values, posinf=0, neginf=0)
    with np.errstate(invalid="ignore"):
        first, second = ((weights @ (share * known)) / (weights @ share) for share in shares)
    result: Floats = first - second
    return result


def _pairs(rows: pd.DataFrame, is_first: NDArray[np.bool_]) -> NDArray[np.object_] | None:
    """Seed and fold of every row where both methods have the same trainings by these, each once; else None."""
    if not {"seed", "fold", "run"} <= {*rows.columns}:
        return None
    named = rows[["seed", "fold"]].itertuples(index=False)
    labels = np.array([f"seed {seed}, fold {fold}" for seed, fold in named], dtype=object)
    runs = pd.DataFrame({"side": is_first, "label": labels, "run": rows["run"].to_numpy()}).drop_duplicates()
    same = set(labels[is_first]) == set(labels[~is_first])
    return labels if same and not runs.duplicated(["side", "label"]).any() else None
