"""``strokelab self-train``: the four schemes of MAPPING, the fourth of which learns from the best of the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from strokelab import terminal
from strokelab.command_words import setting
from strokelab.data.pseudo import LABELS
from strokelab.data.split_file import write_folds
from strokelab.errors import ConfigError, RunError
from strokelab.self_training.labelling import Labelling, write_pseudo_labels
from strokelab.self_training.settings import STUDENT, Loop, device_of, loop_of
from strokelab.self_training.stages import run_sweep
from strokelab.self_training.teachers import SCHEMES, SchemeScore, cross_validated, find_teachers
from strokelab.sweeps.record import told_record
from strokelab.sweeps.states import state_of

Stage = Literal["teachers", "labels", "students"]
STAGES: tuple[Stage, ...] = ("teachers", "labels", "students")
PSEUDO_LABELS = "pseudo_labels"
"""Folder of the masks, inside that of the runs."""
FOLDS = "folds.csv"
"""Which case is in which fold, beside the runs: for split=from_file."""


def self_train(
    overrides: Sequence[str],
    out: Path,
    *,
    schemes: Sequence[str] = SCHEMES,
    until: str = "students",
    weight: float = 1.0,
    per_fold: bool = True,
    device: str | None = None,
    console: Console,
) -> None:
    """Train teachers, draw masks, train students: whatever of it is not done yet.

    Args:
        overrides: of all trainings, as ``train.py -m`` takes them.
        out: folder of all runs, a sweep's.
        schemes: that may teach.
        until: the last stage to do: ``teachers``, ``labels`` or ``students``.
        weight: how often a pseudo-labelled case is sampled for each time that a labelled one is.
        per_fold: masks by teachers that have not seen the fold's test cases; False: by all of them.
        device: where masks are predicted; None: where trainings run.
        console: for what is found.

    Raises:
        ConfigError: a setting that does not fit, see ``loop_of``.
        DataError: the cohort cannot be read, or has no unlabelled case.
        RunError: a training did not finish.
        SystemExit: asked to stop.
    """
    if until not in STAGES:
        raise ConfigError("--until", found=until, expected=f"one of {list(STAGES)}", remedy="choose one of them")
    loop = loop_of(overrides, out.expanduser().resolve(), schemes=schemes)
    _say(console, f"{len(loop.datamodule.unlabelled)} unlabelled cases beside {len(loop.datamodule.cases)} labelled")
    run_sweep(loop.teaching, loop.folder)
    teachers = find_teachers(loop.folder, loop.schemes, loop.folds)
    scores = cross_validated(teachers)
    console.print(_score_table(scores))
    first = teachers[loop.schemes[0]]
    write_folds(loop.folder / FOLDS, {case_id: one.fold for one in first for case_id in one.split.test})
    if until == "teachers":
        return
    labels = loop.folder / PSEUDO_LABELS
    work = Labelling(
        labels,
        teachers[scores[0].scheme],
        scores,
        loop.datamodule.unlabelled,
        loop.datamodule.store,
        device=device or device_of(loop.trainer),
        workers=loop.datamodule.prepare_workers,
    )
    digest = write_pseudo_labels(work, console)
    _say(console, f"Pseudo-labels: {labels / LABELS}")
    if until == "labels":
        return
    if not per_fold:
        _say(console, "Masks of all teachers: scores of the students' test parts are not honest.")
    run_sweep(loop.learning(labels, digest, weight=weight, per_fold=per_fold), loop.folder)
    _check_students(loop)
    _say(console, f"All schemes: {terminal.door_command('evaluate')} ensemble=mapping {setting('sweep', loop.folder)}")


def _check_students(loop: Loop) -> None:
    students = [one for one in told_record(loop.folder).members if f"model={STUDENT}" in one.overrides]
    left = {one.folder.name: state_of(one) for one in students if state_of(one).state != "finished"}
    if left or not students:
        raise RunError(
            loop.folder,
            found=f"{len(left)} of {len(students)} students not finished: "
            + ", ".join(f"{name} {state.state} {state.error}".strip() for name, state in left.items()),
            expected=f"{loop.folds} finished trainings",
            remedy="see their log.txt, then give the command again: it goes on with what is not finished",
        )


def _score_table(scores: Sequence[SchemeScore]) -> Table:
    table = Table(
        title="Cross-validated Dice; the first scheme teaches", title_justify="left", box=None, pad_edge=False
    )
    for heading in ("scheme", "cases", "Dice", "SD"):
        table.add_column(heading, justify="left" if heading == "scheme" else "right")
    for score in scores:
        table.add_row(score.scheme, str(score.cases), f"{score.dice_mean:.4f}", f"{score.dice_sd:.4f}")
    return table


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
