"""What became of a member, read from its run folder. Imports no torch: a table asks often, and for many."""

from __future__ import annotations

import csv
import math
import platform
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from strokelab import runs
from strokelab.configuration.stages import of_stages
from strokelab.errors import RunError
from strokelab.sweeps.record import SweepMember

LOG = "log.txt"
STATES = ("waiting", "running", "finished", "failed", "killed", "other settings")
_TAIL = 65_536  # bytes of metrics.csv or log.txt that hold the last rows
_ERROR = re.compile(r"^(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning as error)\b.*")


@dataclass(frozen=True)
class SweepMemberState:
    """How a member stands.

    Args:
        state: one of ``STATES``.
        error: first line of what went wrong.
        dice: mean over its test cases, native grids.
        epoch: how many have begun.
        epochs: how many there will be.
        minutes: of training, or since it was started.
        val_dice: latest of the validation cases, per case; before there is one, the pooled one.
    """

    state: str
    error: str = ""
    dice: float | None = None
    epoch: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    val_dice: float | None = None


def state_of(member: SweepMember | Path) -> SweepMemberState:
    """How a member of a sweep stands at this moment.

    Args:
        member: or its folder alone; then a run of any settings counts.
    """
    folder = member.folder if isinstance(member, SweepMember) else member
    status = runs.read_status(folder)
    epoch, val_dice = _progress(folder / runs.METRICS)
    state = SweepMemberState(
        *_word(folder, status),
        dice=runs.read_score(folder) if status["state"] == "finished" else None,
        epoch=epoch,
        epochs=_epochs(folder),
        minutes=_minutes(status),
        val_dice=val_dice,
    )
    if isinstance(member, SweepMember) and _is_other(member):
        return SweepMemberState("other settings", f"a run with other settings lies there ({state.state})")
    return state


def settle(
    member: SweepMember, exit_status: int, *, before: Mapping[str, Any], log: Path | None = None, reason: str = ""
) -> SweepMemberState:
    """Write down why the process of a member ended, where the member could not do so itself.

    Args:
        member: whose process ended.
        exit_status: of the process; of one killed by signal n: -n.
        before: ``runs.read_status`` before it was started.
        log: what it printed.
        reason: why it was killed, if that is known here.

    Returns:
        How it stands now.
    """
    status, state = runs.read_status(member.folder), state_of(member)
    silent = status == dict(before) or status["state"] in ("unknown", "running")
    if not silent or state.state in ("finished", "other settings") or runs.is_claimed(member.folder):
        return state
    if exit_status < 0:
        name = signal.Signals(-exit_status).name
        hint = reason or ("from outside: often because memory ran out" if name == "SIGKILL" else "")
        runs.write_status(member.folder, "killed", error=f"{name}, {hint}" if hint else name)
    else:
        said = first_error(log) if log else ""
        runs.write_status(member.folder, "failed", error=said or f"ended with exit status {exit_status}")
    return state_of(member)


def first_error(log: Path) -> str:
    """The line with which the last start in a log says why it failed; ``""`` where it says nothing.

    Messages of this house go on below their first line; what was found joins it.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    starts = [number for number, line in enumerate(lines) if line.startswith(START)]
    lines = lines[starts[-1] + 1 :] if starts else lines
    for number, line in enumerate(lines):
        if _ERROR.match(line):
            found = [item.strip() for item in lines[number + 1 : number + 3] if item.startswith("  found:")]
            return " ".join(" ".join([line, *found]).split())[:300]
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


START = "=== "  # begins the line before each start in a log


def _word(folder: Path, status: Mapping[str, Any]) -> tuple[str, str]:
    state, error = str(status["state"]), (str(status.get("error") or "").splitlines() or [""])[0]
    if state == "requeued":
        return "waiting", error or "requeued"
    if state not in STATES:
        return "waiting", ""
    if state == "running" and not runs.is_claimed(folder):
        host = status.get("host", platform.node())
        return ("killed", "no process is at it") if host == platform.node() else ("running", f"on {str(host)[:80]}")
    return state, error


def _is_other(member: SweepMember) -> bool:
    if not member.digest or not (member.folder / runs.CONFIG).is_file():
        return False
    return bool(runs.read_environment(member.folder).get("digest") != member.digest)


def _progress(path: Path) -> tuple[int | None, float | None]:
    """Epochs begun and the latest validation Dice, from the end of ``metrics.csv``."""
    try:
        with path.open("rb") as file:
            header = file.readline()
            file.seek(max(len(header), path.stat().st_size - _TAIL))
            rest = file.read().decode(errors="replace")
    except OSError:
        return None, None
    columns = header.decode(errors="replace").strip().split(",")
    epoch: int | None = None
    latest: dict[str, float] = {}
    for row in csv.DictReader(rest.splitlines(), columns):
        if str(row.get("epoch") or "").isdecimal():
            epoch = int(str(row["epoch"])) + 1
        for name in ("val/dice", "val/pooled_dice"):
            value = _number(row.get(name))
            if value is not None:
                latest[name] = value
    return epoch, latest.get("val/dice", latest.get("val/pooled_dice"))


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _epochs(folder: Path) -> int | None:
    try:
        return _epochs_of(folder, (folder / runs.CONFIG).stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=1024)
def _epochs_of(folder: Path, written: int) -> int | None:
    try:
        trainers = [stage.get("trainer") for stage in of_stages(runs.read_settings(folder))]
    except RunError:
        return None
    epochs = [trainer.get("max_epochs") if isinstance(trainer, dict) else None for trainer in trainers]
    known = [number for number in epochs if isinstance(number, int) and number > 0]
    return sum(known) if len(known) == len(epochs) else None


def _minutes(status: Mapping[str, Any]) -> float | None:
    minutes = _number(status.get("minutes"))
    if minutes is not None or status["state"] != "running":
        return minutes
    try:
        begun = datetime.fromisoformat(str(status.get("time")))
        return max(0.0, (datetime.now(UTC) - begun).total_seconds() / 60)
    except (ValueError, TypeError):
        return None
