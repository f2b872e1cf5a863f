"""The test part of a finished training, scored as everybody who has its folder would score it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from rich.console import Console

from strokelab import runs
from strokelab.callbacks.case_metrics import CaseMetrics
from strokelab.configuration import Settings
from strokelab.data.datamodule import CohortDataModule
from strokelab.distributed import gathered, together
from strokelab.metrics.own import OwnMetric
from strokelab.phantoms.naming import of_phantoms
from strokelab.report.terminal import results_table
from strokelab.runs.alone import as_looked_at
from strokelab.scoring import Scores, joined, score_cases, write_scores
from strokelab.training.boards import log_results
from strokelab.training.tuning import trained


def score_test(
    settings: Settings, folder: Path, datamodule: CohortDataModule, trainer: Trainer, *, console: Console
) -> float | None:
    """Score the test part with the run as its folder alone rebuilds it: what is reported is what others can load.

    Every process scores its own share of the cases; the first one writes ``cases.csv`` and ``probabilities.csv``,
    equal to those of a single process, prints the results and tells the loggers. Metrics of the user's own that
    validation measured (``CaseMetrics``) are columns, too.

    Returns:
        Mean Dice on the native grids; None without a labelled test case, and in all processes but the first.
    """
    stored = datamodule.volumes("test")
    if not stored:
        console.print("The split has no test part: nothing to score.")
        return None
    by_id = {case.case_id: case for case in datamodule.cases}
    trainer.strategy.barrier("trained")  # until the first process has put the last checkpoint in its place

    def share() -> tuple[runs.Run, Scores]:
        run = trained(settings, folder, trainer)
        mine = stored[trainer.global_rank :: trainer.world_size]
        cases, phantom = [by_id[item.case_id] for item in mine], bool(of_phantoms(settings["cohort"]))
        seen = as_looked_at(run, cases, mine, datamodule.store, progress=trainer.is_global_zero)
        own = _own_metrics(trainer)
        return run, score_cases(run, cases, seen, phantom=phantom, own=own, progress=trainer.is_global_zero)

    run, mine = together(share)
    scores = joined(gathered(mine), [item.case_id for item in stored])
    table = scores.cases
    if table.empty or not trainer.is_global_zero:
        return None  # no test case is labelled, or another process prints it
    write_scores(scores, folder / runs.CASES, folder / runs.PROBABILITIES)
    console.print(results_table(table, title=f"{settings['name']}: {len(table)} test cases, native grid"))
    by_id_stored = {item.case_id: item for item in stored}

    def predict(case_id: str) -> NDArray[np.uint8]:
        case, item = by_id[case_id], by_id_stored[case_id]
        (seen,) = as_looked_at(run, [case], [item], datamodule.store, progress=False)
        return run.predict_prepared(seen.load()).mask

    log_results(trainer.loggers, scores, cases=by_id, predict=predict)
    return float(table["dice"].mean()) if "dice" in table else None  # no column where every case failed


def _own_metrics(trainer: Trainer) -> dict[str, OwnMetric]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return {name: metric for one in callbacks if isinstance(one, CaseMetrics) for name, metric in one.own.items()}
