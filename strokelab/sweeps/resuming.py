"""``strokelab sweep DIR --resume``: the unfinished members of a recorded sweep, started anew without its command.

A record may be untrusted. What it would start is therefore held against what a resumed run may do: our own
``train.py``, overrides without Hydra's settings and resolvers, settings on the allow-list.
"""

from __future__ import annotations

import re
import sys
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from strokelab import runs
from strokelab.command_words import quoted, setting
from strokelab.configuration import check_buildable, compose, conf_folder, plain
from strokelab.configuration.untrusted_paths import check_places
from strokelab.errors import ConfigError, RunError, StrokelabError
from strokelab.sweeps.launching import unfinished
from strokelab.sweeps.members import Door, SweepMember
from strokelab.sweeps.processes import train_members
from strokelab.sweeps.record import PROCESSES, SWEEP, Record, told_record
from strokelab.sweeps.sharing import AUTO, shares_of
from strokelab.sweeps.table import print_sweep

# A resolver other than plain references may read the environment or files of whoever resumes.
_RESOLVER = re.compile(r"\$\{(?!hydra:)[^{}]*:")


def resume_sweep(folder: Path, console: Console, *, at_once: int | str = AUTO) -> bool:
    """Train what a sweep has left, on this machine.

    Args:
        folder: the sweep's.
        console: for the table.
        at_once: members at a time, or ``auto``.

    Returns:
        Whether all members are finished now.

    Raises:
        RunError: no record, a script that is gone, or a record that asks for more than a training.
        ConfigError: a member's settings cannot be composed, or build something outside the allow-list.
        SystemExit: asked to stop.
    """
    folder = folder.expanduser().resolve()
    record = told_record(folder)
    members = unfinished(record.members)
    if members:
        door = _trusted_door(folder, record)
        with chdir(door.cwd):  # places in the settings count from there
            settings = [_trusted_settings(folder, member) for member in members]
        shares = shares_of(settings[0]["trainer"], at_once=at_once)
        train_members(record.members, door, shares, folder=folder, console=console)
    states = print_sweep(folder, console)
    return all(state.state == "finished" for state in states.values())


def _trusted_door(folder: Path, record: Record) -> Door:
    door = record.door
    if record.launcher != PROCESSES or door.flags:
        what = f"by the launcher {record.launcher!r}" if record.launcher != PROCESSES else f"with {door.flags}"
        raise _refusal(folder, f"a sweep that was started {what}", "one whose members are processes of one machine")
    if door.script is not None:  # None: the package's own door
        ours = [conf_folder().parent / "train.py", Path.cwd() / "train.py"]
        if not door.script.is_file():
            raise _refusal(folder, f"its script {door.script} is gone", "the script that started it")
        if not any(path.is_file() and path.samefile(door.script) for path in ours):
            raise _refusal(folder, f"its script is {door.script}", f"the train.py of this installation ({ours[0]})")
    if not door.cwd.is_dir():
        raise _refusal(folder, f"its folder {door.cwd} is gone", "the folder that it was started in")
    return replace(door, python=sys.executable)


def _trusted_settings(folder: Path, member: SweepMember) -> dict[str, Any]:
    """The settings of a member, held against the allow-list and its recorded digest."""
    if not member.folder.resolve().is_relative_to(folder):
        raise _refusal(folder, f"the folder of member {member.number} leads out of the sweep's", "folders inside it")
    for item in member.overrides:
        key, _, value = item.lstrip("+~").partition("=")
        group = (conf_folder() / key).is_dir()
        if key.startswith(("hydra", "-")) or key in ("run_dir", "resume") or _RESOLVER.search(item):
            raise _refusal(folder, f"the override {item!r}", "settings of a training, plain references at most")
        if group and not re.fullmatch(r"[\w.-]*|\[[\w., -]*\]", value):
            raise _refusal(folder, f"the override {item!r}", f"an option of conf/{key}")
    settings = plain(compose("train", [*member.overrides, f"run_dir={quoted(str(member.folder))}"]))
    try:
        check_buildable(settings, where=folder / SWEEP, training=True)
        check_places(settings, member.folder.resolve(), where=folder / SWEEP)
    except ConfigError as error:  # what its remedy adds to a command cannot be said here
        raise _refusal(folder, error.found, error.expected) from error
    settings = runs.with_init_weights(settings, member.folder)
    known = not member.digest or runs.settings_digest(settings) == member.digest
    if not known and not runs.as_before(settings, member.digest, member.overrides):
        raise _refusal(
            folder,
            f"other settings of member {member.number} than when it was started: conf/ or the environment changed",
            "the settings it was started with",
        )
    return settings


def _refusal(folder: Path, found: str, expected: str) -> StrokelabError:
    return RunError(
        folder / SWEEP,
        found=found,
        expected=expected,
        remedy=f"give the sweep's own command again with {setting('hydra.sweep.dir', folder)}: "
        "finished members are skipped",
    )
