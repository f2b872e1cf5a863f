"""``strokelab bids``: a model applied to a BIDS dataset, subject by subject, and one page and table of all of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from strokelab.data import readers
from strokelab.data.new_scans import NewScans
from strokelab.data.readers._bids_tables import label
from strokelab.errors import ConfigError, DataError
from strokelab.evaluation.new_scans import Applying, Writing, say, segment_found, wanted_by
from strokelab.evaluation.sweep import members_and_inputs
from strokelab.inference.postprocess import check_settled

_VALIDATOR = "bids-validator-deno"


@dataclass(frozen=True)
class Asked:
    """Which sessions of a dataset, and which of their images.

    Args:
        dataset: the folder of the BIDS dataset.
        participants: labels of subjects, with or without ``sub-``; none: all.
        sessions: labels of sessions, with or without ``ses-``; none: all.
        options: of the reader (``strokelab.data.readers.bids``).
        validate: hold the dataset against the rules of BIDS first, where the validator is installed.
    """

    dataset: Path
    participants: Sequence[str] = ()
    sessions: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    validate: bool = True

    def takes(self, subject: str, session: str | None) -> bool:
        """Whether a session is asked for, by labels without their entities."""
        wanted = [label(name, "sub") for name in self.participants]
        visits = [label(name, "ses") for name in self.sessions]
        return (not wanted or subject in wanted) and (not visits or session in visits)


def predict_participants(
    asked: Asked, models: Sequence[Path], applying: Applying, writing: Writing, *, console: Console
) -> Path:
    """Segment each session into a BIDS derivative; those that are there already of this model stay as they are.

    Args:
        asked: of which dataset.
        models: run folders and sweeps; several: their mean.
        applying: how.
        writing: where to.
        console: where to print.

    Returns:
        The table of lesion volumes.

    Raises:
        StrokelabError: nothing is there that is asked for, or the model cannot be loaded.
        ConfigError: at least one session could not be segmented; the others are done.
    """
    _check_validity(asked, console)
    folders, _ = members_and_inputs([*models, asked.dataset])
    trained = applying.load(folders)
    check_settled(trained.postprocess)
    problems: list[DataError] = []
    options = {**asked.options, "modalities": wanted_by(trained)}
    cases = readers.read("bids", asked.dataset, problems, **options)
    chosen = [replace(case, lesions=()) for case in cases if asked.takes(*of_case(case.case_id))]
    _check_labels(asked, [case.case_id for case in cases], problems)
    lost = [error for error in problems if _concerns(asked, error)]
    for error in lost:
        console.print("[red]left out:[/] ", end="")
        say(console, str(error))
    if not chosen:
        raise lost[0]
    table = segment_found(NewScans(chosen), trained, applying, writing, console=console)
    if lost:
        raise ConfigError(
            ", ".join(error.where for error in lost),
            found=f"{len(lost)} sessions could not be read",
            expected="one image of each contrast of the model in every session",
            remedy="see the messages above; all other sessions are done",
        )
    return table


def _check_labels(asked: Asked, cases: Sequence[str], problems: Sequence[DataError]) -> None:
    """Hold the labels against what the dataset has.

    Raises:
        ConfigError: a subject, or a session of none of them, is not there.
    """
    names = [*cases, *(error.where.removeprefix("case ") for error in problems if error.where.startswith("case "))]
    there = [of_case(name) for name in names]
    subjects = list(dict.fromkeys(subject for subject, _ in there))
    sessions = list(dict.fromkeys(session for _, session in there if session is not None))
    options = (("--participant-label", "sub", asked.participants, subjects),)
    for option, entity, wanted, known in (*options, ("--session-label", "ses", asked.sessions, sessions)):
        missing = [name for name in wanted if label(name, entity) not in known]
        if missing:
            raise ConfigError(
                option,
                found=f"{', '.join(missing)}, which {asked.dataset} does not have with the contrasts of the model",
                expected=f"some of {', '.join(known[:12])}{' ...' if known[12:] else ''}" if known else "no sessions",
                remedy=f"{option} {known[0]}" if known else f"leave out {option}",
            )
    if there and not any(asked.takes(*one) for one in there):
        raise ConfigError(
            "--participant-label, --session-label",
            found="no session that both of them name",
            expected=f"sessions such as {names[0]}",
            remedy="leave one of the two out",
        )


def _concerns(asked: Asked, error: DataError) -> bool:
    """Whether a problem is about a session that is asked for; one about the whole dataset always is."""
    name = error.where.removeprefix("case ")
    return name == error.where or asked.takes(*of_case(name))


def of_case(case_id: str) -> tuple[str, str | None]:
    """Labels of subject and session of the reader's case ids."""
    words = dict(word.split("-", 1) for word in case_id.split("_") if "-" in word)
    return words.get("sub", case_id), words.get("ses")


def _check_validity(asked: Asked, console: Console) -> None:
    """Ask the validator of BIDS, where it is installed.

    Raises:
        DataError: the dataset breaks a rule; the first of them is named.
    """
    program = shutil.which(_VALIDATOR)
    if not asked.validate or not asked.dataset.is_dir():
        return
    if program is None:
        say(console, f"The dataset was not held against the rules of BIDS: {_VALIDATOR} is not installed")
        return
    command = [program, "--format", "json", "--ignoreWarnings", str(asked.dataset)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (ValueError, KeyError, TypeError):
        say(console, f"{_VALIDATOR} gave no answer that can be read; the dataset was not held against the rules")
        return
    wrong = [issue for issue in issues if issue.get("severity") == "error"]
    if wrong:
        first = wrong[0]
        said = "; ".join(sorted({str(issue.get("code")) for issue in wrong}))
        raise DataError(
            Path(f"{asked.dataset}{first.get('location', '')}"),
            found=f"{len(wrong)} errors by {_VALIDATOR}: {said}",
            expected="a valid BIDS dataset",
            remedy="mend it, or use it as it is with --skip-bids-validation",
        )
