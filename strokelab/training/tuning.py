"""Threshold and smallest component of a finished training, found on the cases its curves are of."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from lightning.pytorch import Trainer
from rich.console import Console

from strokelab import runs
from strokelab.configuration import Settings
from strokelab.data.datamodule import CohortDataModule
from strokelab.distributed import gathered, together
from strokelab.errors import ConfigError
from strokelab.inference.postprocess import search_of
from strokelab.preparation.store import StoredCase
from strokelab.runs.alone import as_looked_at
from strokelab.runs.tuning import read_pair, write_found
from strokelab.scoring.kept import KeptRun
from strokelab.scoring.tuning import found_of, tune_cases


def check_tunable(settings: Settings, datamodule: CohortDataModule) -> None:
    """Refuse a training whose post-processing has nothing to be found on, before it begins.

    Raises:
        ConfigError: no labelled case is in the curves, or half a pair is given.
    """
    if search_of(settings["postprocess"]) and not _searched(datamodule):
        raise ConfigError(
            "postprocess=tuned",
            found="no labelled case in the validation part, nor leave to choose by held-out ones",
            expected="cases to find threshold and smallest component on",
            remedy="set split.val_fraction=0.1, or ++data.curves=held_out_selects as some papers do, or give the pair: "
            "postprocess.threshold=0.5 postprocess.min_voxels=200",
        )


def trained(settings: Settings, folder: Path, trainer: Trainer) -> runs.Run:
    """The run as its folder alone rebuilds it; of one with a search, each case's scores are computed once."""
    run = runs.load_run(folder, device=str(trainer.strategy.root_device), allow=("",))
    return KeptRun.of(run, folder) if search_of(settings["postprocess"]) else run


def find_pair(
    settings: Settings, folder: Path, datamodule: CohortDataModule, trainer: Trainer, *, console: Console
) -> None:
    """Find the pair where the post-processing asks for it, and write it into the run folder, whole or not at all.

    Every process tries its own share of the cases. A pair that was found with the same weights stands.
    """
    search = search_of(settings["postprocess"])
    if search is None:
        return
    by_id = {case.case_id: case for case in datamodule.cases}
    stored = _searched(datamodule)
    trainer.strategy.barrier("trained")  # until the first process has put the last checkpoint in its place

    def share() -> tuple[str, pd.DataFrame]:
        run = trained(settings, folder, trainer)
        weights = run.digest[:16]
        if read_pair(folder, search, weights):
            return weights, pd.DataFrame()
        mine = stored[trainer.global_rank :: trainer.world_size]
        cases = [by_id[item.case_id] for item in mine]
        seen = as_looked_at(run, cases, mine, datamodule.store, progress=trainer.is_global_zero)
        return weights, tune_cases(run, cases, seen, search, progress=trainer.is_global_zero)

    weights, mine = together(share)
    table = pd.concat(gathered(mine), ignore_index=True)

    def write() -> None:
        if not trainer.is_global_zero or read_pair(folder, search, weights):
            return
        order = {item.case_id: place for place, item in enumerate(stored)}
        rows = table.sort_values("case", key=lambda names: names.map(order), kind="stable", ignore_index=True)
        write_found(folder, found_of(rows, search, datamodule.split_result.test), weights)

    together(write)
    pair = read_pair(folder, search, weights)
    if pair and trainer.is_global_zero:
        tested = set(datamodule.split_result.test) & {item.case_id for item in stored}
        console.print(
            f"Post-processing: above {pair.threshold:g}, {search.size} {pair.size:g}, by the combined score "
            f"{pair.score:.4f} over {pair.cases} cases"
            + (", which are tested with it: a result is too good by that" if tested else ""),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _searched(datamodule: CohortDataModule) -> list[StoredCase]:
    """The cases by whose curves something may be chosen; all of them are labelled."""
    return datamodule.volumes("curves") if datamodule.validates else []
