"""The table of a sweep: gathered from its run folders at any time, shown live, written to ``sweep.csv``.

Imports neither torch nor Hydra: asking how a sweep stands should take no longer than reading it.
"""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from strokelab import terminal
from strokelab.command_words import setting
from strokelab.files import write_text
from strokelab.foreign_text import as_cell
from strokelab.sweeps.record import SweepMember, told_record
from strokelab.sweeps.states import SweepMemberState, state_of

SWEEP_CSV = "sweep.csv"
_COLOURS = {"finished": "green", "running": "cyan", "failed": "red", "killed": "red", "other settings": "yellow"}
_REFRESH_SECONDS = 1.0


def gather_states(folder: Path, asked: Sequence[SweepMember] = ()) -> dict[SweepMember, SweepMemberState]:
    """The members of a sweep and how each stands, in their order.

    Args:
        folder: the sweep's.
        asked: members of a command under way; they stand in the place of those that were recorded in their folders.

    Raises:
        RunError: this is no folder of a sweep, or its members cannot be told.
    """
    record = told_record(folder)
    members = {member.folder: member for member in (*record.members, *asked)}
    return {member: state_of(member) for member in members.values()}


def swept_values(members: Sequence[SweepMember]) -> dict[SweepMember, dict[str, str]]:
    """The settings in which members differ, key -> value, for each."""
    given = {member: dict(_pair(item) for item in member.overrides) for member in members}
    keys = dict.fromkeys(key for values in given.values() for key in values)
    swept = [key for key in keys if len({values.get(key) for values in given.values()}) > 1]
    return {member: {key: values[key] for key in swept if key in values} for member, values in given.items()}


def sweep_table(states: Mapping[SweepMember, SweepMemberState], folder: Path, *, title: str = "") -> Table:
    """One row per member."""
    table = Table(title=escape(title) or None, title_justify="left", box=None, pad_edge=False)
    for heading in ("member", "state", "epoch", "val Dice", "Dice", "minutes", "first error line"):
        right = heading in ("epoch", "val Dice", "Dice", "minutes")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for member, state in states.items():
        epoch = "" if state.epoch is None else f"{state.epoch}{f'/{state.epochs}' if state.epochs else ''}"
        table.add_row(
            Text(_name(member, folder)),
            Text(state.state, style=_COLOURS.get(state.state, "")),
            epoch,
            _number(state.val_dice, 3),
            _number(state.dice, 3),
            _number(state.minutes, 1),
            Text(state.error),
        )
    return table


def write_table(states: Mapping[SweepMember, SweepMemberState], folder: Path) -> Path:
    """Write ``sweep.csv``: as the table on the screen, with every digit and a column per swept setting."""
    values = swept_values(list(states))
    keys = list(dict.fromkeys(key for row in values.values() for key in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ("state", "epoch", "epochs", "val_dice", "dice", "minutes", "error")
    writer.writerow(["number", "folder", *keys, *columns])
    for member, state in states.items():
        told = [getattr(state, name) for name in columns]
        settings = [values[member].get(key, "") for key in keys]
        row = [member.number, _name(member, folder), *settings, *("" if value is None else value for value in told)]
        writer.writerow([as_cell(value) for value in row])
    write_text(folder / SWEEP_CSV, out.getvalue())
    return folder / SWEEP_CSV


def sweep_content(folder: Path) -> dict[str, Any]:
    """How a sweep stands, as plain data; ``docs/sweeps.md`` says what is in it.

    Args:
        folder: the sweep's.

    Raises:
        RunError: the folder is none of a sweep.
    """
    states = gather_states(folder)
    values, means = swept_values(list(states)), value_means(states)
    members = [
        {
            **{"number": member.number, "folder": str(member.folder), "overrides": list(member.overrides)},
            **{"settings": values[member], **asdict(state)},
        }
        for member, state in states.items()
    ]
    dices = [state.dice for state in states.values() if state.state == "finished" and state.dice is not None]
    return {
        "folder": str(folder),
        "members": members,
        "finished": sum(state.state == "finished" for state in states.values()),
        "dice": dict(zip(("mean", "sd"), _mean_sd(dices), strict=True)) if dices else None,
        "settings": [dict(zip(("setting", "members", "mean", "sd"), row, strict=True)) for row in means],
    }


def value_means(states: Mapping[SweepMember, SweepMemberState]) -> list[tuple[str, int, float, float]]:
    """Dice over the finished members of each value of each swept setting: (``key=value``, n, mean, SD).

    Only settings with some value that has several finished members: others would repeat the table.
    """
    values = swept_values(list(states))
    scored = {member: state.dice for member, state in states.items() if state.dice is not None}
    rows = []
    for key in dict.fromkeys(key for row in values.values() for key in row):
        groups: dict[str, list[float]] = {}
        for member, dice in scored.items():
            groups.setdefault(values[member].get(key, ""), []).append(dice)
        if len(groups) > 1 and max(map(len, groups.values())) > 1:
            rows += [(f"{key}={value}", len(dices), *_mean_sd(dices)) for value, dices in groups.items()]
    return rows


def print_sweep(
    folder: Path, console: Console, asked: Sequence[SweepMember] = ()
) -> dict[SweepMember, SweepMemberState]:
    """Print how a sweep stands, and write its ``sweep.csv``.

    Args:
        folder: the sweep's.
        console: to print on.
        asked: as ``gather_states`` takes it.

    Raises:
        RunError: the folder is none of a sweep.
    """
    states = gather_states(folder, asked)
    finished = [state for state in states.values() if state.state == "finished"]
    title = f"{folder.name}: {len(finished)} of {len(states)} members finished"
    console.print()
    console.print(sweep_table(states, folder, title=title))
    dices = [state.dice for state in finished if state.dice is not None]
    if dices:
        mean, sd = _mean_sd(dices)
        console.print(f"\nDice over {len(dices)} finished member(s): mean {mean:.3f}, SD {_number(sd, 3) or '-'}")
    means = value_means(states)
    if means:
        table = Table("setting", "members", "mean Dice", "SD", box=None, pad_edge=False)
        for name, count, mean, sd in means:
            table.add_row(Text(name), str(count), f"{mean:.3f}", _number(sd, 3))
        console.print(table)
    try:
        written = f"Table: {write_table(states, folder)}"
    except OSError as error:  # a sweep that one may only look at
        written = f"{SWEEP_CSV} cannot be written there: {error.strerror or error}"
    console.print(f"Members: {folder}   {written}", markup=False, soft_wrap=True, highlight=False)
    if finished:
        line = f"Report:  {terminal.door_command('evaluate')} {setting('sweep', folder)}"
        console.print(line, markup=False, soft_wrap=True, highlight=False)
    return states


class SweepDisplay:
    """How the members of a batch do while they are trained: a table on a terminal, a line per event elsewhere.

    Args:
        members: of the batch.
        folder: of the sweep.
        console: to print on.
        at_once: how many run at a time.
    """

    def __init__(self, members: Sequence[SweepMember], folder: Path, console: Console, *, at_once: int) -> None:
        self.folder, self.console = folder, console
        self._states = {member: state_of(member) for member in members}
        self._places = {member: f"[{index}/{len(members)}]" for index, member in enumerate(members, start=1)}
        self._running: set[SweepMember] = set()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._shown = 0.0
        done = sum(state.state == "finished" for state in self._states.values())
        before = f", {done} finished before" if done else ""
        self.say(f"Sweep of {len(members)} member(s){before}, {at_once} at a time, in {folder}")
        for member, state in self._states.items():
            if state.state in ("other settings", "running"):  # whose turn may never come
                self._line(member, state)

    def __enter__(self) -> SweepDisplay:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def started(self, member: SweepMember) -> None:
        """A member's process has begun."""
        self._running.add(member)
        self._states[member] = SweepMemberState("running")
        if not self._live:
            self._line(member, SweepMemberState("started"))

    def ended(self, member: SweepMember, state: SweepMemberState) -> None:
        """A member's process has ended."""
        self._running.discard(member)
        self._states[member] = state
        if not self._live:
            self._line(member, state)

    def refresh(self) -> None:
        """Read how the running members do, and show it; at most once a second."""
        if self._live and time.monotonic() - self._shown > _REFRESH_SECONDS:
            self._shown = time.monotonic()
            shown = {member: self._now(member) for member in self._fitting()}
            self._live.update(sweep_table(shown, self.folder, title=self._counts()), refresh=True)

    def states(self) -> dict[SweepMember, SweepMemberState]:
        """How each member stands."""
        return dict(self._states)

    def _fitting(self) -> list[SweepMember]:
        """All members, or those at work and the last that ended where the terminal has fewer lines."""
        members, lines = list(self._states), max(4, self.console.height - 4)
        if len(members) <= lines:
            return members
        room = max(0, lines - len(self._running))
        ended = [one for one in members if self._states[one].state not in ("waiting", "running")]
        chosen = {*self._running, *ended[max(0, len(ended) - room) :]}
        return [member for member in members if member in chosen][:lines]

    def _counts(self) -> str:
        counts = Counter(state.state for state in self._states.values())
        return ", ".join(f"{count} {state}" for state, count in counts.items())

    def _now(self, member: SweepMember) -> SweepMemberState:
        if member not in self._running:
            return self._states[member]
        state = state_of(member)
        if state.state == "running":
            return state
        return SweepMemberState(
            "running", epoch=state.epoch, epochs=state.epochs
        )  # libraries load; or it ends just now

    def _line(self, member: SweepMember, state: SweepMemberState) -> None:
        told = [state.state]
        told += [f"Dice {state.dice:.3f}"] if state.dice is not None else []
        told += [f"{state.minutes:.1f} min"] if state.minutes is not None else []
        told += [state.error] if state.error else []
        self.say(f"{self._places[member]} {_name(member, self.folder)}: {', '.join(told)}")


def _pair(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def _name(member: SweepMember, folder: Path) -> str:
    return member.folder.relative_to(folder.resolve()).as_posix()


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or value != value else f"{value:.{digits}f}"


def _mean_sd(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else float("nan")
