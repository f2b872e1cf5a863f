"""``evaluate.py``: run folders and a dataset in; predictions, tables and a report out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig
from rich.console import Console

from strokelab import runs
from strokelab.configuration import Settings, build, check_keys, conf_folder, plain
from strokelab.contract import Case, Prediction
from strokelab.data import read_cases
from strokelab.data.datamodule import default_store
from strokelab.errors import ConfigError, StrokelabError
from strokelab.files import make_folder
from strokelab.grid import Orient
from strokelab.inference.derivative import Derivative
from strokelab.models.cost import slice_costs
from strokelab.nifti import read_lesion, read_voxels
from strokelab.preparation.store import PreparedStore, StoredCase
from strokelab.report.html import write_report
from strokelab.report.intensities import GreyValues, SitePixels, grey_values, slice_index
from strokelab.report.material import Evaluation, Overlay, RunMaterial, best_median_worst
from strokelab.report.overlays import qc_picture
from strokelab.report.paper_tables import PaperTable, load_tables
from strokelab.report.terminal import results_table
from strokelab.runs import Run, load_run
from strokelab.scoring import score_cases, write_table

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


@dataclass(frozen=True)
class Cohort:
    """The cases one run is evaluated on."""

    dataset: str
    phantom: bool
    cases: tuple[Case, ...]
    spacing: str


def evaluate_or_exit(cfg: DictConfig) -> None:
    """``evaluate`` for the door: a user's mistake ends with its message and status 1."""
    try:
        evaluate(cfg)
    except StrokelabError as error:
        console.print(f"\n[bold red]{type(error).__name__}[/] ", end="")
        console.print(str(error), markup=False, highlight=False)
        sys.exit(1)


def evaluate(cfg: DictConfig) -> Path:
    """Evaluate one or more runs and write everything into ``out``.

    Returns:
        The path of ``report.html``.

    Raises:
        StrokelabError: a run folder, a dataset or the output folder is not what it should be.
    """
    settings = plain(cfg)
    check_keys(settings, KEYS, "config")
    out = make_folder(Path(str(settings["out"])).resolve())
    folders = settings["runs"] if isinstance(settings["runs"], list) else [settings["runs"]]
    loaded = [_load(folder, settings) for folder in folders]
    labels = _labels(loaded)
    tables, materials, cohorts = [], [], []
    for run, label in zip(loaded, labels, strict=True):
        cohort = _cohort(run, settings)
        stored = _prepare(run, cohort, settings)
        table = _score(run, label, cohort=cohort, stored=stored, settings=settings, out=out)
        tables.append(table)
        cohorts.append(cohort)
        materials.append(_material(run, label, cohort=cohort, stored=stored, table=table, store=_store(settings)))
    cases = pd.concat(tables, ignore_index=True)
    write_table(cases, out / runs.CASES)
    report = write_report(_evaluation(materials, cohorts, loaded, settings), out)
    console.print(results_table(cases, title=f"{len(loaded)} run(s), native grid"))
    console.print(f"Cases:  {out / runs.CASES}")
    console.print(f"Report: [bold]{report}[/]")
    return report


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


def _cohort(run: Run, settings: Settings) -> Cohort:
    """The dataset named on the command line with all its labelled cases, else the run's own and its split's part."""
    own = run.settings["cohort"]
    if settings.get("data"):
        datamodule = build(settings["data"], view=run.view, split=None)
        described = datamodule.describe()
        cases = [case for case in datamodule.cases if case.labelled]
        if tuple(datamodule.modalities) != run.modalities:
            raise ConfigError(
                "data.modalities",
                found=str(list(datamodule.modalities)),
                expected=f"{list(run.modalities)}, what {run.name} was trained on",
                remedy="choose a dataset with these modalities, or set data.modalities",
            )
    else:
        described = own
        every = {case.case_id: case for case in read_cases(own["dataset"], Path(own["root"]), **own["options"])}
        wanted = getattr(run.split, settings["part"])
        missing = [case_id for case_id in wanted if case_id not in every]
        if missing:
            raise ConfigError(
                str(own["root"]),
                found=f"{len(missing)} of {len(wanted)} {settings['part']} cases are gone, first {missing[0]!r}",
                expected="the cohort the run was trained on",
                remedy="restore the data, or name another dataset with data=...",
            )
        cases = [every[case_id] for case_id in wanted]
    if not cases:
        raise ConfigError(
            run.folder,
            found=f"no case in the {settings['part']} part",
            expected="labelled cases to score",
            remedy="choose part=val or part=train, or a dataset with data=...",
        )
    spacing = run.view.preparation.spacing
    text = "native" if spacing is None else " x ".join(f"{value:g}" for value in spacing) + " mm"
    return Cohort(str(described["dataset"]), bool(described.get("phantom")), tuple(cases), text)


def _prepare(run: Run, cohort: Cohort, settings: Settings) -> list[StoredCase]:
    return PreparedStore(_store(settings)).prepare(cohort.cases, run.view.preparation)


def _store(settings: Settings) -> Path:
    return Path(settings["store"]) if settings["store"] else default_store()


def _score(
    run: Run, label: str, *, cohort: Cohort, stored: Sequence[StoredCase], settings: Settings, out: Path
) -> pd.DataFrame:
    keep = None
    derivative = None
    if settings["save_predictions"]:
        name = f"strokelab-{label}".replace("/", "-").replace(" ", "-")
        derivative = Derivative(out / "predictions" / name, name=name, provenance=run.provenance)

        def keep(case: Case, prediction: Prediction) -> None:
            derivative.write(prediction)
            save_qc(derivative, case, prediction)

    table = score_cases(run, cohort.cases, stored, profile=settings["profile"], name=label, keep=keep)
    if derivative is not None:
        derivative.finish()
    return table


def save_qc(derivative: Derivative, case: Case, prediction: Prediction) -> Path:
    """A small picture of a prediction beside its mask, in RAS+ order."""
    voxels, grid = read_voxels(case.reference_image)
    orient = Orient(grid)
    path = derivative.path_of(prediction.case_id, "desc-qc.png")
    qc_picture(orient.apply(voxels), orient.apply(prediction.mask), orient.target.spacing, path)
    return path


def _material(
    run: Run, label: str, *, cohort: Cohort, stored: Sequence[StoredCase], table: pd.DataFrame, store: Path
) -> RunMaterial:
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
    own = run.settings["cohort"]
    try:
        cases = read_cases(own["dataset"], Path(own["root"]), **own["options"])
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


def _evaluation(
    materials: Sequence[RunMaterial], cohorts: Sequence[Cohort], loaded: Sequence[Run], settings: Settings
) -> Evaluation:
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
        papers=_papers(loaded),
        versions={"strokelab": environment["strokelab"], **packages},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=environment["command"],
    )


def _papers(loaded: Sequence[Run]) -> tuple[PaperTable, ...]:
    """The tables of the papers whose families were evaluated; the plain U-Net stands in SG-Net's."""
    families = {str(run.settings.get("family", "sgnet")) for run in loaded}
    return tuple(table for family in sorted(families) for table in load_tables(conf_folder(), f"{family}_*"))
