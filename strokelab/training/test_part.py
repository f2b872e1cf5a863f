"""The test part of a finished training, scored as everybody who has its folder would score it."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer
from rich.console import Console

from strokelab import runs
from strokelab.configuration import Settings
from strokelab.data.datamodule import CohortDataModule
from strokelab.report.terminal import results_table
from strokelab.scoring import score_cases, write_scores
from strokelab.training.boards import log_results


def score_test(
    settings: Settings, folder: Path, datamodule: CohortDataModule, trainer: Trainer, *, console: Console
) -> float | None:
    """Score the test part with the run as its folder alone rebuilds it: what is reported is what others can load.

    Writes ``cases.csv`` and ``probabilities.csv`` and prints the results.

    Returns:
        Mean Dice on the native grids; None without a labelled test case.
    """
    stored = datamodule.volumes("test")
    if not stored:
        console.print("The split has no test part: nothing to score.")
        return None
    run = runs.load_run(folder, device=str(trainer.strategy.root_device), allow=("",))
    by_id = {case.case_id: case for case in datamodule.cases}
    phantom = bool(settings["cohort"].get("phantom"))
    scores = score_cases(run, [by_id[item.case_id] for item in stored], stored, phantom=phantom)
    table = scores.cases
    if table.empty:
        return None  # nobody drew a lesion in the test part
    write_scores(scores, folder / runs.CASES, folder / runs.PROBABILITIES)
    console.print(results_table(table, title=f"{settings['name']}: {len(table)} test cases, native grid"))
    by_id_stored = {item.case_id: item for item in stored}
    log_results(
        trainer.loggers,
        scores,
        cases=by_id,
        predict=lambda case_id: run.predict_prepared(by_id_stored[case_id].load()).mask,
    )
    return float(table["dice"].mean()) if "dice" in table else None  # no column where every case failed
