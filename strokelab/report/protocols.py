"""What differs between a published table's protocol and ours, fact by fact. Knows words and counts; no metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from strokelab.metrics.profiles import METRICS
from strokelab.report.beside import Candidate, Ours, metric_of
from strokelab.report.material import Evaluation
from strokelab.report.paper_tables import Number, PaperRow, PaperTable

_ROUNDING = 0.01  # relative
_STATISTICS = {
    "mean_sd": "mean ± SD",
    "mean_population_sd": "mean ± population SD",
    "mean_ci": "mean (95 % bootstrap interval, patients resampled)",
    "mean": "mean",
    "": "value",
}


def in_words(table: PaperTable) -> str:
    """The paper's protocol in one line."""
    protocol = table.protocol
    facts = [protocol.dataset]
    if protocol.cases is not None:
        facts.append(f"{protocol.cases} scans{', labels not public' if protocol.hidden else ''}")
    facts.append(protocol.split)
    if protocol.voxel_mm is not None:
        facts.append(f"voxels of {_size(protocol.voxel_mm)}")
    if protocol.grid:
        facts.append(f"scored on a grid of {protocol.grid}")
    if protocol.postprocess:
        facts.append(f"post-processing: {protocol.postprocess}")
    return "; ".join([*facts, *protocol.notes])


def differences(
    table: PaperTable,
    evaluation: Evaluation,
    chosen: Sequence[Candidate],
    rows: Sequence[tuple[PaperRow, Ours | None]],
) -> list[str]:
    """What is not alike, each with theirs and ours; empty where all that is known agrees.

    Args:
        table: the published table.
        evaluation: ours.
        chosen: the runs that stand in the table.
        rows: its rows, each with ours or None.
    """
    if not table.over:  # no case was scored
        return _costs(table, rows)
    shown = [own for row, own in rows if own is not None and not row.difference_of]
    used = pd.concat([own.cases for own in shown], ignore_index=True)
    protocol, found = table.protocol, []
    if evaluation.phantom:
        names = ", ".join(dict.fromkeys(c.run.dataset for c in chosen))
        found.append(f"data: theirs {protocol.dataset}, ours synthetic phantoms in the layout of {names}")
    found += _cases(table, used)
    splits = sorted({c.run.split for c in chosen if c.run.split})
    if not protocol.splits or not set(splits) <= set(protocol.splits):
        found.append(f"split: theirs {protocol.split}, ours {', '.join(splits) or 'not recorded'}")
    found += _grid(table, evaluation, used)
    repeats = max(int(own.cases.groupby("case")["run"].nunique().max()) for own in shown)
    if repeats > 1 and table.over != "models":
        found.append(f"repeats: ours averages up to {repeats} runs of a case first")
    return [*found, *_metrics(table, chosen, shown), *_costs(table, rows)]


def statistic(table: PaperTable) -> str:
    """What a table prints, in words: "mean ± SD over sites"."""
    return f"{_STATISTICS[table.statistic]} over {table.over}" if table.over else "counted, not averaged"


def _cases(table: PaperTable, used: pd.DataFrame) -> list[str]:
    protocol, found = table.protocol, []
    n = used["case"].nunique()
    if protocol.hidden:
        count = "" if protocol.cases is None else f"{protocol.cases} "
        found.append(f"cases: theirs {count}of a test set without public labels, ours {n} others")
    elif protocol.cases is not None and protocol.cases != n:
        found.append(f"cases: theirs {protocol.cases}, ours {n}")
    sites = used["site"].nunique() if "site" in used.columns else 0
    if protocol.sites is not None and protocol.sites != sites:
        found.append(f"sites: theirs {protocol.sites}, ours {sites}")
    return found


def _grid(table: PaperTable, evaluation: Evaluation, used: pd.DataFrame) -> list[str]:
    protocol, found = table.protocol, []
    if protocol.voxel_mm is not None and "voxel_volume_mm3" in used.columns:
        theirs = math.prod(protocol.voxel_mm)
        volumes = used["voxel_volume_mm3"].dropna().to_numpy(dtype=float)
        if len(volumes) and not np.allclose(volumes, theirs, rtol=1e-3):
            low, high = volumes.min(), volumes.max()
            ours = f"{low:.3g}" if math.isclose(low, high, rel_tol=1e-3) else f"{low:.3g} to {high:.3g}"
            found.append(f"voxel volume: theirs {theirs:g} mm³, ours {ours} mm³")
    scored_on = evaluation.protocol.get("scored on", "the native grid of each case")
    if protocol.grid:
        found.append(f"grid of the scores: theirs {protocol.grid}, ours {scored_on}")
    network = evaluation.protocol.get("grid of the network", "native")
    alike = {"native"} | ({_size(protocol.voxel_mm)} if protocol.voxel_mm else set())
    if network not in alike:
        found.append(f"grid of our networks: {network}")
    return found


def _metrics(table: PaperTable, chosen: Sequence[Candidate], shown: Sequence[Ours]) -> list[str]:
    """Remarks on the columns: brought into their terms, defined otherwise, or missing."""
    found = []
    for column, heading in table.columns.items():
        metric = metric_of(column)
        if metric is None:
            continue
        missing = not any(column in own.values for own in shown)
        remarks = list(dict.fromkeys(c.remarks[metric] for c in chosen if metric in c.remarks))
        if not remarks and missing:
            title = METRICS[metric].title if metric in METRICS else "its means"
            remarks = [f"{title} is not in our case table"]
        found += [f"{heading}: {remark}" for remark in remarks]
    return found


def _costs(table: PaperTable, rows: Sequence[tuple[PaperRow, Ours | None]]) -> list[str]:
    """A network of another width, or on other samples, is not the paper's, whatever its parts are called."""
    columns = [column for column in table.columns if metric_of(column) is None]
    for row, own in rows:
        pairs = [(row.values.get(column), own.values.get(column)) for column in columns] if own else []
        alike = [
            math.isclose(theirs.mean, ours.mean, rel_tol=_ROUNDING)
            for theirs, ours in pairs
            if isinstance(theirs, Number) and ours is not None
        ]
        if alike and not any(alike):  # one column alone may be a misprint
            return [f"costs: ours are of our runs' own widths and sample sizes ({row.method})"]
    return []


def _size(voxel_mm: tuple[float, float, float]) -> str:
    return " x ".join(f"{edge:g}" for edge in voxel_mm) + " mm"
