"""``strokelab matrix``: every run on every dataset whose contrasts it can take, as one table, train by test.

What was predicted before is taken from the kept tables (``kept_scores``); where all is, no model is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console

from strokelab import runs, terminal
from strokelab.configuration import Settings
from strokelab.contract import Case
from strokelab.evaluation.boards import check_loggers, leaderboard_of_matrix, log_evaluation
from strokelab.evaluation.candidates import Candidate, candidates_of
from strokelab.evaluation.datasets import Dataset, datasets_of
from strokelab.evaluation.kept_scores import KeptScores
from strokelab.evaluation.seen import Memory, Seen, cohorts_of, others, untold
from strokelab.evaluation.sweep import Sweep, gather_all, is_sweep, unfinished
from strokelab.evaluation.trained_form import TrainedForm, trained_form
from strokelab.files import make_folder
from strokelab.metrics.profiles import find_profile
from strokelab.preparation.store import default_store
from strokelab.report.cells import counted
from strokelab.report.matrix import write_matrix
from strokelab.report.train_by_test import ENSEMBLE, CellFacts, Matrix
from strokelab.runs.folder import remove_empty
from strokelab.scoring.tables import Scores, write_table

if TYPE_CHECKING:
    from strokelab.runs import Run

console = terminal.console()


@dataclass(frozen=True)
class Cell:
    """One run on one dataset.

    Args:
        run: that is tested.
        dataset: that it is tested on.
        cases: that it is tested on: labelled, not seen in training, with its contrasts.
        seen: what of the dataset it has seen.
        lacking: how many cases lack its contrasts.
        form: how the run's training looked at the dataset; None: it is none of its training.
        reason: why there are no cases; "" = there are.
    """

    run: Candidate
    dataset: Dataset
    cases: tuple[Case, ...]
    seen: Seen
    lacking: int
    form: TrainedForm | None = None
    reason: str = ""

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The images that the run is given each alone; (): all that it was trained on, at once."""
        return tuple(dict.fromkeys(name for case in self.cases for name in case.images)) if self.run.each else ()

    @property
    def mean(self) -> str | None:
        """How the rows of the mean over these images are called; None where it is given one image."""
        return ENSEMBLE if len(self.contrasts) > 1 else None

    @property
    def main(self) -> str:
        """The rows that stand for the run: of what it was trained on where that is there, else of the mean."""
        if not self.contrasts:
            return " + ".join(self.trained)
        own = self.trained[0] if not self.run.any_contrast and self.trained[0] in self.contrasts else None
        return own or self.mean or self.contrasts[0]

    @property
    def trained(self) -> tuple[str, ...]:
        """The images of this dataset that the run was trained on, or that have the names of those."""
        names = self.run.preparation.modalities
        return self.form.named(names) if self.form else names

    @property
    def notes(self) -> list[str]:
        """In what its numbers are not the run's own, or not those that other runs can have, in sentences."""
        notes = [self.form.note] if self.form and self.form.note and not self.reason else []
        if self.form and self.run.any_contrast and self.main == ENSEMBLE and {*self.trained} != {*self.contrasts}:
            given, own = ", ".join(self.contrasts), ", ".join(self.trained)
            notes.append(
                f"{self.run.label} on {self.dataset.name}: the mean over {given} stands for the run; it was trained on "
                f"{own} of them, and its own cases.csv is of {own}."
            )
        return notes


def matrix(
    folders: Sequence[Path],
    on: Sequence[str],
    out: Path,
    *,
    checkpoint: str | None = None,
    profile: str = "default",
    device: str = "cpu",
    precision: str = "as_trained",
    register: str = "auto",
    brain_mask: str = "as_trained",
    store: Path | None = None,
    allow: Sequence[str] = (),
    again: bool = False,
    loggers: Mapping[str, Settings] | None = None,
    command: str = "",
) -> Path:
    """Test every run on every dataset, and write tables, heatmap and page.

    Args:
        folders: of runs and sweeps.
        on: datasets, ``NAME=PATH`` each (``datasets.datasets_of``).
        out: where the page goes.
        checkpoint: ``last``, ``best`` or a file; None: each run's own choice.
        profile: conventions of the metrics.
        device: where models go.
        precision: of predictions; see ``load_run``.
        register: whether scans are; see ``load_run``.
        brain_mask: how brains are found; see ``load_run``.
        store: of prepared cases and kept tables; None: ``STROKELAB_STORE``, else the user's cache.
        allow: dotted prefixes of the user's own classes in the runs' configs.
        again: predict what was predicted before, too.
        loggers: nodes of ``conf/logger`` that are given the tables, too.
        command: what was typed, for the page.

    Returns:
        The path of ``report.html``.

    Raises:
        StrokelabError: a run, a sweep, a dataset or the output folder is not what it should be.
    """
    settings: dict[str, Any] = {"checkpoint": checkpoint, "profile": profile, "device": device, "allow": list(allow)}
    settings |= {"precision": precision, "store": str(store or default_store()), "out": str(out), "windows": None}
    settings |= {"register": register, "brain_mask": brain_mask}
    find_profile(profile)
    check_loggers(loggers or {})
    sweep = gather_all([str(folder) for folder in folders if is_sweep(folder)])
    listed = [folder for folder in folders if not is_sweep(folder)]
    datasets = datasets_of(on)
    candidates = candidates_of(listed, sweep.finished, checkpoint=checkpoint, allow=allow)
    cells = cells_of(candidates, datasets)
    place = out.expanduser().resolve()
    made = [folder for folder in (place, *place.parents) if not folder.exists()]
    make_folder(place)
    try:
        tables = [*_tables(cells, settings, again=again)]
        found = _found(cells, tables, sweep, settings, command)
        report = _written(found, place)
        _log(loggers or {}, cells, found, place)
        return report
    finally:
        remove_empty(place, *made)


def cells_of(candidates: Sequence[Candidate], datasets: Sequence[Dataset]) -> list[Cell]:
    """Every run on every dataset, runs first; what cannot be tested has its reason."""
    memory = Memory(datasets)
    return [_cell(run, dataset, memory.of(run, dataset)) for run in candidates for dataset in datasets]


def _cell(run: Candidate, dataset: Dataset, seen: Seen) -> Cell:
    form = trained_form(run, dataset)
    wanted = form.named(run.preparation.modalities) if form else run.preparation.modalities
    having = [case for case in (form or dataset).cases if run.each or {*wanted} <= {*case.images}]
    cases = tuple(case for case in having if case.case_id not in seen.cases)
    lacking = len(dataset.cases) - len(having)
    reason = ""
    if not having:
        lost = ", ".join(name for name in wanted if name not in dataset.modalities)
        reason = f"no {lost or 'case with ' + ', '.join(wanted)}: the dataset has {', '.join(dataset.modalities)}"
    elif seen.unknown:
        cases, reason = (), seen.unknown
    elif form and form.reason:
        cases, reason = (), form.reason
    elif not cases:
        reason = f"all {counted(len(having), 'case')} were seen in training"
    return Cell(run, dataset, cases, seen, lacking, form, reason)


def _tables(cells: Sequence[Cell], settings: Settings, *, again: bool) -> Iterator[pd.DataFrame]:
    """The case table of every cell that has one; a run is loaded once for all cells that must be predicted."""
    kept = KeptScores(Path(settings["store"]))
    latest: dict[Path, Run] = {}
    for cell in cells:
        name = f"{cell.run.label} on {cell.dataset.name}"
        if cell.reason:
            _say(f"{name}: no number: {cell.reason}")
            continue
        inputs = kept.inputs(cell.run, [*cell.cases], _how(cell, settings))
        scores = None if again else kept.read(inputs)
        if scores is None:
            if cell.run.folder not in latest:
                latest.clear()
                latest[cell.run.folder] = _predicting().loaded(cell.run.folder, settings)
            scores = _predicted(cell, latest[cell.run.folder], settings)
            kept.write(inputs, scores)
        else:
            _say(f"{name}: {counted(len(cell.cases), 'case')}, predicted before")
        yield scores.cases.assign(
            run=cell.run.label,
            model=cell.run.model,
            dataset=cell.dataset.name,
            main=scores.cases["modality"] == cell.main,
        )


def _how(cell: Cell, settings: Settings) -> Mapping[str, Any]:
    """What a table depends on besides the files of run and cases."""
    names = ("profile", "precision", "windows", "register", "brain_mask")
    return {name: settings[name] for name in names} | {
        "device": str(settings["device"]).partition(":")[0],
        "contrasts": list(cell.contrasts),
        "mean": cell.mean,
        "own": sorted(cell.form.held_out) if cell.form else [],
        "fed": dict(zip(cell.run.preparation.modalities, cell.trained, strict=True)) if cell.form else {},
        "phantom": cell.dataset.phantom,
    }


def _predicted(cell: Cell, run: Run, settings: Settings) -> Scores:
    scores: Scores = _predicting().predicted_scores(
        run,
        cell.cases,
        cell.contrasts,
        settings,
        main=cell.main,
        mean=cell.mean,
        form=cell.form,
        phantom=cell.dataset.phantom,
    )
    _say(f"{cell.run.label} on {cell.dataset.name}: {counted(len(cell.cases), 'case')}, predicted now")
    return scores


def _predicting() -> Any:
    return importlib.import_module("strokelab.evaluation.matrix_scores")  # torch only where something is predicted


def _found(
    cells: Sequence[Cell], tables: Sequence[pd.DataFrame], sweep: Sweep, settings: Settings, command: str
) -> Matrix:
    datasets = list({cell.dataset.name: cell.dataset for cell in cells}.values())
    candidates = list({cell.run.folder: cell.run for cell in cells}.values())
    return Matrix(
        tested=tuple(_tested(cell) for cell in cells),
        cases=pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(),
        datasets={one.name: _about(one) for one in datasets},
        profile=settings["profile"],
        phantom=any(one.phantom for one in datasets),
        members=sweep.members,
        notes=(
            *sweep.notes,
            *(line for run in candidates for line in _doubts(run, datasets)),
            *(line for cell in cells for line in cell.notes),
        ),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        versions={name: version(name) for name in ("strokelab", "torch", "numpy", "scipy", "pandas")},
    )


def _written(found: Matrix, out: Path) -> Path:
    for line in unfinished(found.members):
        _say(f"Not in the tables: {line}")
    write_table(found.cases, out / runs.CASES)
    report = write_matrix(found, out)
    for note in found.notes:
        _say(note)
    _say(f"Cases:  {out / runs.CASES}")
    _say(f"Report: {report}")
    return report


def _log(loggers: Mapping[str, Settings], cells: Sequence[Cell], found: Matrix, out: Path) -> None:
    if loggers:
        log_evaluation(
            loggers,
            out,
            models=found.models,
            datasets=((cell.dataset.reader, cell.dataset.phantom) for cell in cells),
            leaderboard=leaderboard_of_matrix(pd.read_csv(out / "matrix.csv")),
            cases=found.cases,
            command=found.command,
        )


def _tested(cell: Cell) -> CellFacts:
    run, seen = cell.run, cell.seen
    datasets = cohorts_of(run.cohort)
    known = cell.dataset.reader in datasets and not others(run, cell.dataset)
    trained = " + ".join(datasets) + (" (phantoms)" if run.phantom else "")
    return CellFacts(
        run=run.label,
        model=run.model,
        dataset=cell.dataset.name,
        trained_on=trained,
        own=known,
        cases=len(cell.cases),
        seen=len(seen.cases),
        seen_subjects=seen.subjects,
        lacking=cell.lacking,
        reason=cell.reason,
        differs=run.differs,
    )


def _about(dataset: Dataset) -> str:
    words = f"{counted(len(dataset.cases), 'case')} with a mask"
    words += f", {dataset.unlabelled} without one are left out" if dataset.unlabelled else ""
    return f"{words}; {', '.join(dataset.modalities)}" + ("; phantoms" if dataset.phantom else "")


def _doubts(run: Candidate, datasets: Sequence[Dataset]) -> list[str]:
    said = runs.nothing_found(run.folder)
    return [*untold(run, datasets), *([f"{run.label}: {said}."] if said else [])]


def _say(line: str, where: Console = console) -> None:
    where.print(line, markup=False, highlight=False, soft_wrap=True)
