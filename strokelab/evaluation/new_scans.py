"""``strokelab predict``: one run, or the mean of several, applied to scans of which nobody knows a lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from strokelab import runs
from strokelab.configuration import compose, plain
from strokelab.data.readers.folder import cases_from_paths
from strokelab.errors import ConfigError, RunError, StrokelabError
from strokelab.evaluation.outcomes import save_qc
from strokelab.evaluation.sweep import gather, is_sweep, unfinished
from strokelab.inference.derivative import Derivative
from strokelab.inference.precision import AS_TRAINED
from strokelab.runs import Ensemble, Run

if TYPE_CHECKING:
    from strokelab.runs.ensemble import Weights


@dataclass(frozen=True)
class Applying:
    """How runs are applied.

    Args:
        checkpoint: last, best or a file; None: each run's own choice.
        device: cpu, cuda, cuda:1, ...
        probabilities: also write probability maps.
        allow: dotted prefixes of the user's own classes in the runs' configs.
        postprocess: a name in ``conf/postprocess`` and settings of it as key=value; () = the runs' own.
        weights: of several runs, see ``runs.load_ensemble``.
        disagreement: also write the standard deviation of several runs' maps.
        memory_gb: of several runs' weights, see ``runs.load_ensemble``.
        precision: see ``runs.load_run``.
        windows: settings in place of the runs' own as key=value, e.g. mirror=none.
    """

    checkpoint: str | None = None
    device: str = "cpu"
    probabilities: bool = True
    allow: Sequence[str] = ()
    postprocess: Sequence[str] = ()
    weights: str = "per_map"
    disagreement: bool = False
    memory_gb: float = 4.0
    precision: str = AS_TRAINED
    windows: Sequence[str] = ()

    def load(self, folders: Sequence[Path]) -> Run | Ensemble:
        """One run, or several as one.

        Raises:
            StrokelabError: a run cannot be loaded, or several cannot be averaged.
        """
        given: dict[str, Any] = {
            "checkpoint": self.checkpoint,
            "device": self.device,
            "allow": self.allow,
            "postprocess": _postprocess(self.postprocess),
            "precision": self.precision,
            "windows": _pairs(self.windows) or None,
        }
        if len(folders) == 1 and not self.disagreement:
            return runs.load_run(folders[0], **given)
        if len(folders) == 1:
            raise ConfigError(
                "--disagreement",
                found=f"one run, {folders[0]}",
                expected="several runs that can disagree",
                remedy="name further runs or the folder of a sweep",
            )
        weights = cast("Weights", self.weights)  # a word of the command line; load_ensemble refuses others
        return runs.load_ensemble(folders, weights=weights, memory_gb=self.memory_gb, **given)


def segment(places: Sequence[Path], applying: Applying, *, out: Path, console: Console) -> Path:
    """Segment scans and write them as a BIDS derivative with QC pictures and a table of lesion volumes.

    Args:
        places: run folders and sweeps first, then the scans or folders of scans.
        applying: how.
        out: folder of the derivative.
        console: where it is told.

    Returns:
        The table of lesion volumes.

    Raises:
        StrokelabError: there is no run or no scan, or runs do not fit together.
        ConfigError: at least one scan could not be segmented; the others are done.
    """
    folders, inputs = members_and_inputs(places)
    trained = applying.load(folders)
    cases = cases_from_paths(inputs, trained.modalities)
    derivative = Derivative(out, name="strokelab", provenance=trained.provenance, probabilities=applying.probabilities)
    failures: list[str] = []
    for case in track(cases, f"Predicting with {trained.name}", console=console):
        try:
            if isinstance(trained, Ensemble):
                prediction = trained.predict(case, disagreement=applying.disagreement)
            else:
                prediction = trained.predict(case)
            row = derivative.write(prediction)
            save_qc(derivative, case, prediction)
            console.print(f"{escape(case.case_id)}: {row.volume_ml:.2f} ml in {row.lesions} lesion(s)")
        except StrokelabError as error:  # one damaged scan must not cost the others
            failures.append(case.case_id)
            console.print(f"[red]{escape(case.case_id)} failed:[/] {escape(str(error))}", highlight=False)
    table = derivative.finish()
    console.print(f"Masks: [bold]{escape(str(out))}[/]   Volumes: {escape(str(table))}")
    if failures:
        raise ConfigError(
            ", ".join(failures),
            found=f"{len(failures)} of {len(cases)} scans could not be segmented",
            expected="readable scans with the run's modalities",
            remedy="see the messages above; the other scans are done",
        )
    return table


def members_and_inputs(places: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The run folders that a command begins with, sweeps as their members, and the scans after them.

    Raises:
        RunError: the first place is no run and no sweep, or a sweep has members that are not finished.
        ConfigError: no scan follows.
    """
    leading = list(takewhile(_is_run, places)) or [places[0]]  # what is no run is refused when it is loaded
    inputs = list(places[len(leading) :])
    if not inputs:
        raise ConfigError(
            ", ".join(map(str, places)),
            found="runs and no scan",
            expected="runs, then NIfTI files or folders of them",
            remedy="name the scans after the runs",
        )
    return [folder for place in leading for folder in _members(place)], inputs


def _is_run(place: Path) -> bool:
    return (place / runs.CONFIG).is_file() or is_sweep(place)


def _members(place: Path) -> list[Path]:
    if not is_sweep(place) or (place / runs.CONFIG).is_file():
        return [place]
    sweep = gather(place.expanduser().resolve())
    left = unfinished(sweep.members)
    if left or not sweep.finished:
        raise RunError(
            place,
            found="; ".join(left) or "no member",
            expected="a sweep whose members have all finished, so that the mean is that of all",
            remedy="finish it (strokelab sweep DIR --resume), or name the run folders to average one by one",
        )
    return [member.folder for member in sweep.finished]


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


def _pairs(words: Sequence[str]) -> dict[str, Any]:
    """Settings as key=value, values as YAML reads them."""
    import yaml

    wrong = [word for word in words if "=" not in word]
    if wrong:
        raise ConfigError(
            "--windows", found=wrong[0], expected="key=value, such as mirror=none", remedy="write it with ="
        )
    return {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in words)}
