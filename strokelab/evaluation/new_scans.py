"""``strokelab predict``: one run, or the mean of several, applied to scans whose lesions are not known."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from strokelab import runs
from strokelab.configuration import compose, plain
from strokelab.contract import Case
from strokelab.data.new_scans import NewScans, grouped
from strokelab.errors import ConfigError, DataWarning, StrokelabError
from strokelab.evaluation.outcomes import save_qc
from strokelab.evaluation.sweep import members_and_inputs
from strokelab.foreign_text import printable
from strokelab.inference.derivative import Derivative
from strokelab.inference.postprocess import check_settled
from strokelab.inference.precision import AS_TRAINED
from strokelab.inference.progress import shown_in
from strokelab.inference.saved import SavedPrediction
from strokelab.nifti import is_volume
from strokelab.preparation.intake import AS_TRAINED as AS_IT_TRAINED
from strokelab.preparation.progress import advancing, bar
from strokelab.runs import Ensemble, Run
from strokelab.runs.given import scans_of, with_brain

if TYPE_CHECKING:
    from strokelab.runs.ensemble import Weights


@dataclass(frozen=True)
class Applying:
    """How runs are applied.

    Args:
        checkpoints: last, best, names or files; several, or snapshots: their mean; (): each run's own choice.
        device: cpu, cuda, cuda:1, ...
        probabilities: also write probability maps.
        classes: also write the probabilities of all classes.
        allow: dotted prefixes of the user's own classes in the runs' configs.
        postprocess: a name in ``conf/postprocess`` and settings of it as key=value; () = the runs' own.
        weights: of several runs, see ``runs.load_ensemble``.
        disagreement: also write the standard deviation of several members' maps.
        memory_gb: of several runs' weights, see ``runs.load_ensemble``.
        precision: see ``runs.load_run``.
        windows: settings in place of the runs' own as key=value, e.g. mirror=none; or a region: full.
        register: whether scans are brought to MNI space, see ``runs.load_run``.
        brain_mask: a file with the brain mask of the one scan; else a word, see ``runs.load_run``.
        as_modality: take scans for the run's modality whatever contrast their names say.
        as_each: modalities that a run of one modality is fed with, one by one; several: their mean, on the grid of
            the first.
    """

    checkpoints: Sequence[str] = ()
    device: str = "cpu"
    probabilities: bool = True
    classes: bool = False
    allow: Sequence[str] = ()
    postprocess: Sequence[str] = ()
    weights: str = "per_map"
    disagreement: bool = False
    memory_gb: float = 4.0
    precision: str = AS_TRAINED
    windows: Sequence[str] = ()
    register: str = "auto"
    brain_mask: str = AS_IT_TRAINED
    as_modality: str | None = None
    as_each: Sequence[str] = ()

    @property
    def brain_file(self) -> Path | None:
        """The mask of the one scan, where that is what was named."""
        file = Path(self.brain_mask).expanduser()
        return file if is_volume(file) else None

    def load(self, folders: Sequence[Path]) -> Run | Ensemble:
        """One run, or several members as one.

        Raises:
            StrokelabError: a run cannot be loaded, or members cannot be averaged.
        """
        given: dict[str, Any] = {
            "device": self.device,
            "allow": self.allow,
            "postprocess": _postprocess(self.postprocess),
            "precision": self.precision,
            "windows": _asked(self.windows),
            "register": self.register,
            "brain_mask": AS_IT_TRAINED if self.brain_file else self.brain_mask,
        }
        for folder in folders:
            if (state := runs.read_status(folder)["state"]) not in ("finished", "unknown"):
                said = f"{folder}: its training has not ended ({state}); the weights are those that it had reached"
                warnings.warn(f"{said}: python train.py resume={folder} ends it", DataWarning, stacklevel=2)
        several = len(self.checkpoints) > 1 or runs.SNAPSHOTS in self.checkpoints
        alone = len(folders) == 1 and not several and len(self.as_each) < 2
        if alone and self.disagreement:
            raise ConfigError(
                "--disagreement",
                found=f"one run, {folders[0]}",
                expected="several members that can disagree",
                remedy="name further runs or the folder of a sweep",
            )
        if alone and not self.as_each:
            return runs.load_run(folders[0], checkpoint=next(iter(self.checkpoints), None), **given)
        return runs.load_ensemble(
            folders,
            checkpoint=self.checkpoints or None,
            modalities=self.as_each,
            weights=cast("Weights", self.weights),  # a word of the command line; load_ensemble refuses others
            memory_gb=self.memory_gb,
            **given,
        )


@dataclass(frozen=True)
class Writing:
    """Where masks go, and what becomes of those that lie there.

    Args:
        out: folder of the derivative.
        overwrite: replace the files of cases that were predicted before.
        resume: leave out the cases that this run has predicted already.
        report: takes an account of what was done, as plain data; None: no account.

    Raises:
        ConfigError: both ``overwrite`` and ``resume``.
    """

    out: Path
    overwrite: bool = False
    resume: bool = False
    report: Callable[[dict[str, Any]], object] | None = None

    def __post_init__(self) -> None:
        if self.overwrite and self.resume:
            raise ConfigError(
                "--overwrite --resume",
                found="both",
                expected="one of the two: replace what is there, or leave it",
                remedy="--resume goes on after an interruption",
            )


def segment(places: Sequence[Path], applying: Applying, writing: Writing, *, console: Console) -> Path:
    """Segment scans and write them as a BIDS derivative with QC pictures and a table of lesion volumes.

    Args:
        places: run folders and sweeps first, then the scans or folders of scans.
        applying: how.
        writing: where to.
        console: where to print.

    Returns:
        The table of lesion volumes.

    Raises:
        StrokelabError: there is no run or no scan, runs do not fit together, or cases are there already.
        ConfigError: at least one scan could not be segmented; the others are done.
    """
    folders, inputs = members_and_inputs(places)
    trained = applying.load(folders)
    check_settled(trained.postprocess)
    first = next(iter(applying.as_each), "")  # its grid is that of the results
    found = scans_of(inputs, wanted_by(trained), applying.as_modality, grid=first)
    found = with_brain(found, applying.brain_file)
    return segment_found(found, trained, applying, writing, console=console)


def wanted_by(trained: Run | Ensemble) -> tuple[str, ...] | None:
    """The modalities that a scan must have; None: any contrast does."""
    return None if trained.any_contrast else trained.modalities


def segment_found(
    found: NewScans, trained: Run | Ensemble, applying: Applying, writing: Writing, *, console: Console
) -> Path:
    """As ``segment``, of scans that were found already by a model that is loaded."""
    derivative = Derivative(
        writing.out,
        name="strokelab",
        provenance=trained.provenance,
        probabilities=applying.probabilities,
        overwrite=writing.overwrite,
    )
    cases = _to_do(found.cases, derivative, writing, console)
    rows: list[SavedPrediction] = []
    failures: dict[str, StrokelabError] = {}
    title = f"Predicting with {printable(trained.name)}"
    with bar(title, len(cases), shown=True, console=console) as shown, shown_in(shown):
        for case in advancing(shown, cases):
            try:
                prediction = trained.predict(case, disagreement=applying.disagreement, classes=applying.classes)
                rows.append(derivative.write(prediction, image=case.reference_image, modality=case.reference_modality))
                save_qc(derivative, case, prediction)
                row = rows[-1]
                images = f" from {named}" if (named := prediction.provenance.get("modalities")) else ""
                done = f"; {row.preparation}" if prediction.registered else ""
                say(console, f"{case.case_id}: {row.volume_ml:.2f} ml in {row.lesions} lesion(s){images}{done}")
            except StrokelabError as error:  # one damaged scan must not cost the others
                failures[case.case_id] = error
                derivative.fail(case.case_id, error, image=case.reference_image)
                console.print("[red]failed:[/] ", end="")
                say(console, f"{case.case_id}: {error}")
    table = derivative.finish()
    _announce(found, wanted_by(trained) or ["any contrast"], console)
    say(
        console,
        f"Masks: {writing.out}   Volumes: {table}" if rows or len(cases) < len(found.cases) else f"Table: {table}",
    )
    if writing.report is not None:
        writing.report(_account(table, rows, found, cases, failures))
    if failures:
        raise ConfigError(
            ", ".join(failures),
            found=f"{len(failures)} of {len(cases)} scans could not be segmented",
            expected="scans of heads with the run's modalities",
            remedy="see the messages above"
            + ("; the other scans are done: with --resume only these are tried again" if rows else ""),
        )
    return table


def _to_do(cases: Sequence[Case], derivative: Derivative, writing: Writing, console: Console) -> list[Case]:
    """The cases to predict: all, or with ``resume`` those that this run has not predicted into the folder.

    Raises:
        DataError: cases are there already, of another run or of other images.
    """
    derivative.check_images({case.case_id: case.reference_image for case in cases})
    done = {}
    if writing.resume:
        rows = {case.case_id: derivative.row_of(case.case_id) for case in cases}
        done = {name: row for name, row in rows.items() if row and row.mask.is_file() and derivative.made(row)}
    if done:
        edited = [name for name, row in done.items() if row.edited()]
        words = f"; edited since, and left so: {', '.join(edited)}" if edited else ""
        say(console, f"{len(done)} of {len(cases)} cases are done already{words}")
    left = [case for case in cases if case.case_id not in done]
    derivative.check_new([case.case_id for case in left])
    return left


def _announce(found: NewScans, modalities: Sequence[str], console: Console) -> None:
    """What of the folders was taken and what was not."""
    taken = sum(len(case.images) for case in found.cases)
    if found.assumed:
        names = ", ".join(file.name for file in found.assumed[:3]) + (" ..." if len(found.assumed) > 3 else "")
        say(console, f"Taken for {modalities[0]}, though their names say no contrast: {len(found.assumed)} ({names})")
    if found.left_out:
        say(console, f"{taken} of {taken + len(found.left_out)} files are scans of {', '.join(modalities)}. Left out:")
        for line in grouped(found.left_out):
            say(console, f"  {line}")


def _account(
    table: Path,
    rows: Sequence[SavedPrediction],
    found: NewScans,
    cases: Sequence[Case],
    failures: Mapping[str, StrokelabError],
) -> dict[str, Any]:
    """What was done, as plain data."""
    tried = {case.case_id for case in cases}
    images = {case.case_id: {name: str(path) for name, path in case.images.items()} for case in found.cases}
    return {
        "table": str(table),
        "cases": [
            {
                "case": row.case_id,
                "images": images[row.case_id],
                "mask": str(row.mask),
                "volume_ml": row.volume_ml,
                "lesions": row.lesions,
            }
            for row in rows
        ],
        "done_before": [case.case_id for case in found.cases if case.case_id not in tried],
        "failed": [
            {"case": case, "where": e.where, "found": e.found, "expected": e.expected, "remedy": e.remedy}
            for case, e in failures.items()
        ],
        "left_out": [{"file": str(file), "reason": reason} for file, reason in found.left_out.items()],
    }


def say(console: Console, text: str) -> None:
    """A line as it is: names of files are no markup, and are not broken."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _postprocess(words: Sequence[str]) -> Mapping[str, Any] | None:
    """The node of a post-processing by name, with settings of it."""
    if not words:
        return None
    names = [word for word in words if "=" not in word]
    if len(names) != 1:
        raise ConfigError(
            "--postprocess",
            found=" ".join(words),
            expected="one name of conf/postprocess, and settings of it as key=value",
            remedy="e.g. --postprocess mapping --postprocess size_limit=2000",
        )
    overrides = [f"postprocess={names[0]}", *(f"postprocess.{word}" for word in words if "=" in word)]
    node: Mapping[str, Any] = plain(compose("evaluate", overrides))["postprocess"]
    return node


def _asked(words: Sequence[str]) -> dict[str, Any] | str | None:
    """Settings as key=value, values as YAML reads them; or one word, a region."""
    import yaml

    wrong = [word for word in words if "=" not in word]
    if wrong and len(words) == 1:
        return wrong[0]
    if wrong:
        raise ConfigError(
            "--windows", found=wrong[0], expected="key=value, such as mirror=none", remedy="write it with ="
        )
    return {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in words)} or None
