"""What the report is told: runs with their tables, curves and grey values, members of sweeps, what was done."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from strokelab import runs
from strokelab.configuration import Settings, conf_folder
from strokelab.data.splits import Split
from strokelab.errors import DataWarning, StrokelabError
from strokelab.evaluation.cohort import Cohorts, store_of
from strokelab.evaluation.entries import Entry
from strokelab.evaluation.outcomes import Outcome, many
from strokelab.evaluation.rates import rates_of
from strokelab.evaluation.recipes import unlike_recipes
from strokelab.evaluation.sweep import Sweep
from strokelab.inference.slices import SliceWindows
from strokelab.metrics.profiles import find_profile
from strokelab.models.cost import slice_costs
from strokelab.preparation.store import StoredCase
from strokelab.report.intensities import GreyValues, SitePixels, grey_values, slice_index
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.paper_tables import load_tables
from strokelab.runs import Run

PARTS = ("standardizer", "hemispheres", "adversary")


def materials_of(outcomes: Sequence[Outcome], settings: Settings) -> list[RunMaterial]:
    """Everything the report shows of each run. Of many runs, grey values and cost are those of a model's first."""
    cohorts = Cohorts(settings)
    seen: dict[str, RunMaterial] = {}
    told: set[Path] = set()  # whose curves are shown
    materials = []
    for outcome in outcomes:
        entry = outcome.entry
        run = None
        grey, cost = None, seen[entry.model].cost if entry.model in seen else {}
        if not entry.members and not entry.averaged and (entry.model not in seen or not many(outcomes)):
            run = entry.run(settings)
            grey = _grey_values(run, cohorts, settings)
            cost = _cost(run)
        material = _material(outcome, grey, cost)
        if entry.model not in seen and not entry.members:
            material = replace(material, rates=rates_of(entry.settings, material.history))
        if entry.modality and entry.folder in told:
            material = replace(material, history=None)
        told.add(entry.folder)
        seen.setdefault(entry.model, material)
        materials.append(material)
    return materials


def evaluation_of(
    materials: Sequence[RunMaterial],
    outcomes: Sequence[Outcome],
    sweep: Sweep,
    settings: Settings,
    papers: str = "*",
) -> Evaluation:
    """Everything the report shows of the whole evaluation, with the published tables whose names fit ``papers``."""
    entries = [outcome.entry for outcome in outcomes]
    datasets = _distinct(entry.cohort.dataset for entry in entries)
    models = _distinct(material.model for material in materials)
    environment = runs.environment()
    packages: Mapping[str, str] = environment["packages"]
    return Evaluation(
        title=f"{' and '.join(models)} on {', '.join(datasets)}",
        dataset=", ".join(datasets),
        runs=tuple(materials),
        phantom=any(entry.cohort.phantom for entry in entries),
        protocol={
            "grid of the network": ", ".join(_distinct(entry.cohort.spacing for entry in entries)),
            "scored on": scored_on(settings["profile"]),
            "checkpoint": ", ".join(_distinct(entry.recipe["checkpoint"] for entry in entries)),
            "predicted in": ", ".join(_distinct(entry.recipe["inference"] for entry in entries)),
            "post-processing": ", ".join(_distinct(entry.recipe["postprocessing"] for entry in entries)),
            "scores": _origin(outcomes),
        },
        profile=settings["profile"],
        own_metrics=tuple(settings.get("metrics") or ()),
        papers=load_tables(conf_folder(), papers) if papers else (),
        versions={"strokelab": environment["strokelab"], **packages},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=environment["command"],
        notes=(*sweep.notes, *_absences(entries)),
        members=sweep.members,
    )


def scored_on(profile: str) -> str:
    """The grid of the scores, in words."""
    side = find_profile(profile).spacing_mm
    return "the native grid of each case" if side is None else f"cubes of {side:g} mm over each case's field of view"


def _material(outcome: Outcome, grey: GreyValues | None, cost: Mapping[str, float]) -> RunMaterial:
    entry = outcome.entry
    split = entry.settings.get("split") or {}
    scans = entry.settings["cohort"].get("training_scans")
    parts = None if entry.averaged else parts_of(entry.settings)
    return RunMaterial(
        name=entry.label,
        model=entry.model,
        differs=entry.differs,
        published=entry.published,
        unlike=unlike_recipes(entry, parts),
        protocol=str(entry.settings.get("protocol") or ""),
        dataset=entry.cohort.dataset,
        cases=outcome.scores.cases,
        split=str(split.get("_target_", "")).rpartition(".")[2],
        held_out_site=held_out_site(entry.split),
        seed=entry.settings.get("seed"),
        sites=tuple(entry.sites),
        folder=entry.made_of or entry.folder.name,
        parts=parts,
        training_scans=scans if isinstance(scans, dict) else {},
        history=None if entry.averaged else _history(entry.folder / runs.METRICS),
        grey_values=grey,
        overlays=outcome.overlays,
        size_overlays=outcome.size_overlays,
        shared_overlays=outcome.shared_overlays,
        cost=cost,
        probabilities=outcome.scores.probabilities,
        tuning=entry.tuning if entry.cohort.own else None,  # it is of the run's own cases
        monitor=_monitor(entry),
        kept_epoch=entry.epoch,
        ended_epoch=_ended(entry.folder),
    )


def _history(path: Path) -> pd.DataFrame | None:
    """A run's curves, numbers only; None where there are none, or none that can be read, which is said."""
    if not path.is_file():
        return None
    try:
        table: pd.DataFrame = pd.read_csv(path).apply(pd.to_numeric, errors="coerce")
        if {"epoch", "step"} <= set(table.columns):
            return table
        reason = "no columns epoch and step"
    except (OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
    warnings.warn(f"{path} is not plotted: {reason}", DataWarning, stacklevel=2)
    return None


def _monitor(entry: Entry) -> str:
    """What early stopping looked at; "" where there is none."""
    callbacks = [node for node in (entry.settings.get("callbacks") or {}).values() if isinstance(node, dict)]
    stopping = [node for node in callbacks if str(node.get("_target_")).endswith(".EarlyStopping")]
    return str(stopping[0].get("monitor") or "") if stopping else ""


def _ended(folder: Path) -> int | None:
    """The epoch, from 1, in which something ended the training before its length."""
    ended = runs.read_status(folder).get("ended")
    epoch = ended.get("epoch") if isinstance(ended, dict) else None
    return epoch if isinstance(epoch, int) else None


def parts_of(settings: Settings) -> frozenset[str] | None:
    """The parts of SG-Net that a run has on; None for what is no row of its tables: another network."""
    model = settings["model"]
    network = model.get("network") or {}
    if not str(network.get("_target_", "")).endswith(".unet.UNet") or network.get("dimensions", 2) != 2:
        return None
    order = (settings["view"].get("order") or {}).get("_target_", "")
    balanced = ["site_balanced"] if order.endswith(".SiteBalanced") else []
    if model.get("adversary") and not str(model["adversary"].get("_target_", "")).endswith(".SiteAdversary"):
        return None  # unlearning, or an own part
    return frozenset([name for name in PARTS if model.get(name)] + balanced)


def held_out_site(split: Split) -> str | None:
    """The site all test cases of a run's own split come from, when there is exactly one."""
    sites = {split.about[case_id][1] for case_id in split.test} - {""}
    return next(iter(sites)) if len(sites) == 1 else None


def _cost(run: Run) -> Mapping[str, float]:
    """The paper's cost columns, for models of slices."""
    plane = run.view.input_shape
    return slice_costs(run.model, plane) if plane is not None and len(plane) == 2 else {}


def _grey_values(run: Run, cohorts: Cohorts, settings: Settings) -> GreyValues | None:
    """Grey values per site before and after the run's standardizer, over the cases of its whole cohort."""
    if run.model.standardizer is None:
        return None
    try:
        cases = cohorts.recorded(run.settings["cohort"], run.folder)
    except StrokelabError:
        return None  # the run was moved away from its cohort; the report says that the figure is left out
    known = [case for case in cases if case.site is not None]
    if not known:
        return None
    every = store_of(settings).prepare(known, run.view.preparation, progress=False)
    return grey_values(_slice_pixels(run, stored) for stored in every)


def _slice_pixels(run: Run, stored: StoredCase) -> SitePixels:
    """One axial slice of a scan as the standardizer gets it and as it leaves it, with its scale and shift."""
    import torch

    prepared = stored.load()
    index = slice_index(prepared.image.shape[3])
    slices, target = getattr(run.view.sampler, "slices", 1), getattr(run.view.sampler, "target", 0)
    first = max(index - target, 0)
    near = torch.from_numpy(prepared.image[:, :, :, first : index - target + slices].copy())
    before = SliceWindows(slices=slices, target=target).samples(near, torch.tensor([index - first]))[0]
    brain = torch.from_numpy(prepared.brain[:, :, index].T.astype("uint8"))
    device, standardizer = run.model.device, run.model.standardizer
    assert standardizer is not None
    with torch.inference_mode():
        after = standardizer(before[None].to(device), brain[None, None].to(device))
    known = all(hasattr(standardizer, name) for name in ("gamma", "beta"))  # MAIN's; an own part may have none
    scale, shift = (
        tuple(getattr(standardizer, name).flatten().tolist()) if known else () for name in ("gamma", "beta")
    )
    shown = after[0, target].float().cpu().numpy()
    return SitePixels(str(stored.site), before[target].numpy(), shown, brain.numpy(), scale, shift)


def _origin(outcomes: Sequence[Outcome]) -> str:
    """Which scores were taken and which were made now, and why."""
    taken = sum(not outcome.again for outcome in outcomes)
    if not taken:
        return "predicted and scored now"
    reasons = _distinct(outcome.again for outcome in outcomes if outcome.again)
    if not reasons:
        return f"taken from the runs' own tables ({taken})"
    rest = len(outcomes) - taken
    return f"taken from the runs' own tables ({taken}); predicted and scored now ({rest}: {'; '.join(reasons)})"


def _absences(entries: Sequence[Entry]) -> list[str]:
    places = _distinct(entry.cohort.absent for entry in entries if entry.cohort.absent)
    absent = sum(bool(entry.cohort.absent) for entry in entries)
    return (
        [f"The data of {absent} run(s) are not at {', '.join(places)}: no pictures of their cases."] if absent else []
    )


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
