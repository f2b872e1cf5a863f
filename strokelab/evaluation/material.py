"""What the report is told about each run: tables, curves, overlays, grey values. Predicts a few cases again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from strokelab import runs
from strokelab.configuration import Settings, conf_folder
from strokelab.contract import Case
from strokelab.errors import StrokelabError
from strokelab.evaluation.cohort import Cohort, recorded_cases
from strokelab.grid import Orient
from strokelab.models.cost import slice_costs
from strokelab.nifti import read_lesion, read_voxels
from strokelab.preparation.store import PreparedStore, StoredCase
from strokelab.report.intensities import GreyValues, SitePixels, grey_values, slice_index
from strokelab.report.material import Evaluation, Overlay, RunMaterial, best_median_worst
from strokelab.report.paper_tables import load_tables
from strokelab.runs import Run


def material_of(
    run: Run, label: str, *, cohort: Cohort, stored: Sequence[StoredCase], table: pd.DataFrame, store: Path
) -> RunMaterial:
    """Everything the report shows of one run.

    Args:
        run: the run.
        label: what tables call it.
        cohort: the cases it was evaluated on.
        stored: the same cases, prepared.
        table: their scores.
        store: where prepared cases lie.
    """
    by_id = {case.case_id: (case, item) for case, item in zip(cohort.cases, stored, strict=True)}
    overlays = [_overlay(run, kind, *by_id[case_id]) for kind, case_id in best_median_worst(table)]
    model = run.settings["model"]
    split = run.settings.get("split") or {}
    history = run.folder / runs.METRICS
    names = ("standardizer", "hemispheres", "adversary")
    return RunMaterial(
        name=label,
        model=run.name,
        dataset=cohort.dataset,
        cases=table,
        split=str(split.get("_target_", "")).rpartition(".")[2],
        held_out_site=_held_out(run),
        seed=run.settings.get("seed"),
        sites=tuple(run.sites),
        folder=run.folder.name,
        parts=frozenset([name for name in names if model.get(name)] + _site_balanced(run)),
        training_scans=run.settings["cohort"].get("training_scans", {}),
        history=pd.read_csv(history) if history.is_file() else None,
        grey_values=_grey_values(run, store),
        overlays=tuple(overlays),
        cost=_cost(run),
    )


def _site_balanced(run: Run) -> list[str]:
    order = (run.settings["view"].get("order") or {}).get("_target_", "")
    return ["site_balanced"] if order.endswith(".SiteBalanced") else []


def _cost(run: Run) -> Mapping[str, float]:
    """The paper's cost columns, for models of slices."""
    plane = run.view.input_shape
    return slice_costs(run.model, plane) if plane is not None and len(plane) == 2 else {}


def _held_out(run: Run) -> str | None:
    """The site all test cases of the run's own split come from, when there is exactly one."""
    split = run.split
    sites = {split.about[case_id][1] for case_id in split.test} - {""}
    return next(iter(sites)) if len(sites) == 1 else None


def _overlay(run: Run, kind: str, case: Case, stored: StoredCase) -> Overlay:
    voxels, grid = read_voxels(case.reference_image)
    reference = read_lesion(case.lesions, grid, case.reference_image)
    mask = run.predict_prepared(stored.load()).mask
    orient = Orient(grid)
    shared = int((mask & reference).sum(dtype="int64"))
    total = int(mask.sum(dtype="int64")) + int(reference.sum(dtype="int64"))
    return Overlay(
        label=kind,
        case=case.case_id,
        dice=2 * shared / total if total else 1.0,
        image=orient.apply(voxels),
        reference=orient.apply(reference),
        prediction=orient.apply(mask),
        spacing=orient.target.spacing,
    )


def _grey_values(run: Run, store: Path) -> GreyValues | None:
    """Grey values per site before and after the run's standardizer, over the cases of its whole cohort."""
    if run.model.standardizer is None:
        return None
    try:
        cases = recorded_cases(run)
    except StrokelabError:
        return None  # the run was moved away from its cohort; the report says that the figure is left out
    known = [case for case in cases if case.site is not None]
    if not known:
        return None
    every = PreparedStore(store).prepare(known, run.view.preparation, progress=False)
    return grey_values(_slice_pixels(run, stored) for stored in every)


def _slice_pixels(run: Run, stored: StoredCase) -> SitePixels:
    """One axial slice of a scan as the standardizer gets it and as it leaves it."""
    import torch

    prepared = stored.load()
    index = slice_index(prepared.image.shape[3])
    before = torch.from_numpy(prepared.image[:, :, :, index].transpose(0, 2, 1).copy())
    brain = torch.from_numpy(prepared.brain[:, :, index].T.astype("uint8"))
    with torch.inference_mode():
        after = run.model.standardizer(before[None], brain[None, None])  # type: ignore[misc]
    return SitePixels(str(stored.site), before[0].numpy(), after[0, 0].numpy(), brain.numpy())


def evaluation_of(
    materials: Sequence[RunMaterial], cohorts: Sequence[Cohort], loaded: Sequence[Run], settings: Settings
) -> Evaluation:
    """Everything the report shows of the whole evaluation."""
    datasets = list(dict.fromkeys(cohort.dataset for cohort in cohorts))
    models = list(dict.fromkeys(material.model for material in materials))
    environment = runs.environment()
    packages: Mapping[str, str] = environment["packages"]
    return Evaluation(
        title=f"{' and '.join(models)} on {', '.join(datasets)}",
        dataset=", ".join(datasets),
        runs=tuple(materials),
        phantom=any(cohort.phantom for cohort in cohorts),
        protocol={
            "grid of the network": ", ".join(dict.fromkeys(cohort.spacing for cohort in cohorts)),
            "scored on": "the native grid of each case",
            "checkpoint": ", ".join(dict.fromkeys(run.checkpoint.name for run in loaded)),
            "post-processing": json.dumps(settings.get("postprocess") or loaded[0].settings["postprocess"]),
        },
        profile=settings["profile"],
        papers=load_tables(conf_folder()),
        versions={"strokelab": environment["strokelab"], **packages},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=environment["command"],
    )
