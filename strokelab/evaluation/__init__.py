"""``evaluate.py``: run folders and a dataset in; predictions, tables and a report out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig
from rich.console import Console

from strokelab import runs
from strokelab.configuration import Settings, bind, check_arguments, check_keys, plain
from strokelab.contract import Case, Prediction
from strokelab.data.datamodule import default_store
from strokelab.data.split_file import PARTS
from strokelab.errors import ConfigError, StrokelabError
from strokelab.evaluation.cohort import Cohort, cohort_of
from strokelab.evaluation.material import evaluation_of, material_of
from strokelab.files import make_folder
from strokelab.grid import Orient
from strokelab.inference.derivative import Derivative
from strokelab.metrics.profiles import find_profile
from strokelab.nifti import read_voxels
from strokelab.preparation.store import PreparedStore, StoredCase
from strokelab.report.html import write_report
from strokelab.report.overlays import qc_picture
from strokelab.report.terminal import results_table
from strokelab.runs import Run, load_run
from strokelab.runs.folder import remove_empty
from strokelab.scoring import Scores, score_cases, write_scores

KEYS = (
    "runs",
    "data",
    "out",
    "part",
    "checkpoint",
    "postprocess",
    "profile",
    "save_predictions",
    "store",
    "allow",
    "device",
)

console = Console()


def evaluate_or_exit(cfg: DictConfig) -> None:
    """``evaluate`` for the door: a user's mistake ends with its message and status 1."""
    from hydra.core.hydra_config import HydraConfig

    try:
        evaluate(cfg)
    except StrokelabError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        console.print(f"\n[bold red]{type(error).__name__}[/] ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    finally:
        output = Path(HydraConfig.get().runtime.output_dir)  # Hydra makes it even where out is another
        remove_empty(output, *output.parents[:2])


def evaluate(cfg: DictConfig) -> Path:
    """Evaluate one or more runs and write everything into ``out``.

    Returns:
        The path of ``report.html``.

    Raises:
        StrokelabError: a run folder, a dataset or the output folder is not what it should be.
    """
    settings = plain(cfg)
    _check(settings)
    out = Path(str(settings["out"])).expanduser().resolve()
    made = [place for place in (out, *out.parents) if not place.exists()]
    make_folder(out)
    try:
        return _evaluate(settings, out)
    finally:
        remove_empty(out, *made)  # where nothing could be evaluated, nothing is left


def _evaluate(settings: Settings, out: Path) -> Path:
    # What can be wrong with a run or a dataset is found before the first of them is predicted.
    loaded = [_load(folder, settings) for folder in _listed(settings["runs"])]
    labels = _labels(loaded)
    cohorts = [cohort_of(run, settings) for run in loaded]
    prepared = [_prepare(run, cohort, settings) for run, cohort in zip(loaded, cohorts, strict=True)]
    tables, probabilities, materials = [], [], []
    for run, label, cohort, stored in zip(loaded, labels, cohorts, prepared, strict=True):
        scores = _score(run, label, cohort=cohort, stored=stored, settings=settings, out=out)
        table = scores.cases
        tables.append(table)
        probabilities.append(scores.probabilities)
        materials.append(material_of(run, label, cohort=cohort, stored=stored, table=table, store=_store(settings)))
    cases = pd.concat(tables, ignore_index=True)
    write_scores(Scores(cases, pd.concat(probabilities)), out / runs.CASES, out / runs.PROBABILITIES)
    report = write_report(evaluation_of(materials, cohorts, loaded, settings), out)
    console.print(results_table(cases, title=f"{len(loaded)} run(s), native grid"))
    console.print(f"Cases:  {out / runs.CASES}")
    console.print(f"Report: [bold]{report}[/]")
    return report


def _check(settings: Settings) -> None:
    check_keys(settings, KEYS, "config")
    find_profile(settings["profile"])
    if not _listed(settings["runs"]):
        raise ConfigError("runs", found="none", expected="run folders", remedy="name them: runs=[outputs/a,outputs/b]")
    if settings["part"] not in PARTS:
        raise ConfigError(
            "part", found=repr(settings["part"]), expected=f"one of {list(PARTS)}", remedy="set part=test, or leave it"
        )
    if settings.get("data"):
        bind({"data": settings["data"]}, {})
        check_arguments({"data": settings["data"]})


def _listed(folders: Any) -> list[str]:
    return [str(folder) for folder in folders] if isinstance(folders, list) else [str(folders)]


def _load(folder: str, settings: Settings) -> Run:
    return load_run(
        folder,
        checkpoint=settings["checkpoint"],
        device=settings["device"],
        allow=settings["allow"],
        postprocess=settings.get("postprocess"),
    )


def _labels(loaded: Sequence[Run]) -> list[str]:
    """Names of the runs that tell them apart: model, then held-out site or folder where models repeat."""
    names = [run.name for run in loaded]
    if len(set(names)) == len(names):
        return names
    longer = [f"{run.name} {run.folder.name}" for run in loaded]
    return longer if len(set(longer)) == len(longer) else [f"{run.name} {run.folder}" for run in loaded]


def _prepare(run: Run, cohort: Cohort, settings: Settings) -> list[StoredCase]:
    return PreparedStore(_store(settings)).prepare(cohort.cases, run.view.preparation)


def _store(settings: Settings) -> Path:
    return Path(settings["store"]) if settings["store"] else default_store()


def _score(
    run: Run, label: str, *, cohort: Cohort, stored: Sequence[StoredCase], settings: Settings, out: Path
) -> Scores:
    keep = None
    derivative = None
    if settings["save_predictions"]:
        name = f"strokelab-{label}".replace("/", "-").replace(" ", "-")
        derivative = Derivative(out / "predictions" / name, name=name, provenance=run.provenance)

        def keep(case: Case, prediction: Prediction) -> None:
            derivative.write(prediction)
            save_qc(derivative, case, prediction)

    scores = score_cases(
        run, cohort.cases, stored, profile=settings["profile"], name=label, keep=keep, phantom=cohort.phantom
    )
    if derivative is not None:
        derivative.finish()
    return scores


def save_qc(derivative: Derivative, case: Case, prediction: Prediction) -> Path:
    """A small picture of a prediction beside its mask, in RAS+ order."""
    voxels, grid = read_voxels(case.reference_image)
    orient = Orient(grid)
    path = derivative.path_of(prediction.case_id, "desc-qc.png")
    qc_picture(orient.apply(voxels), orient.apply(prediction.mask), orient.target.spacing, path)
    return path
