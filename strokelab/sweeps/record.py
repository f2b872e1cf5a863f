"""``sweep.json`` in the folder of a sweep: its members and what starts them. Written under a lock, read with distrust.

It grows: a search adds members batch by batch. Knows neither what became of a member nor how one is started.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from strokelab.configuration import conf_folder
from strokelab.configuration.multirun import MULTIRUN, read_multirun
from strokelab.errors import RunError
from strokelab.files import locked, write_json

SWEEP = "sweep.json"
DOOR_MODULE = "strokelab.doors.train"  # what starts a training where no train.py lies
PROCESSES = "processes"  # the launcher of one machine
_LOCK = ".sweep.lock"
_MOST = 10_000  # members; more are a mistake or malice
_MOST_BYTES = 50_000_000


@dataclass(frozen=True)
class SweepMember:
    """One training of a sweep.

    Args:
        number: in the sweep's order, from 0.
        overrides: the settings, as on the command line.
        folder: its run folder, absolute.
        digest: of the settings (``runs.settings_digest``); ``""``: they cannot be told before it starts.
    """

    number: int
    overrides: tuple[str, ...]
    folder: Path
    digest: str


@dataclass(frozen=True)
class Door:
    """The command that starts a training.

    Args:
        script: the file that Python runs; None: the package's own door, ``python -m strokelab.doors.train``.
        cwd: where it is run.
        python: the interpreter.
        flags: Hydra's own flags and settings, such as ``--config-dir``; they stand before all others.
    """

    script: Path | None
    cwd: Path
    python: str
    flags: tuple[str, ...] = ()

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line of a training with these arguments; no shell is meant to see it."""
        start = ["-m", DOOR_MODULE] if self.script is None else [str(self.script)]
        return [self.python, *start, *self.flags, *arguments]


@dataclass(frozen=True)
class Record:
    """What a sweep says about itself."""

    door: Door
    launcher: str
    members: tuple[SweepMember, ...] = ()


def own_script() -> Path | None:
    """The ``train.py`` of this installation; None: it is no clone, the package's own door serves."""
    script = conf_folder().parent / "train.py"
    return script if script.is_file() else None


def read_record(folder: Path) -> Record | None:
    """The record of a sweep; None where there is none. Nothing in it is believed to be harmless: see ``resuming``.

    Raises:
        RunError: it is damaged, or a member's folder would lie outside the sweep's.
    """
    path = folder / SWEEP
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _refusal(path, f"{path.stat().st_size / 1e6:.0f} MB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(path, (str(error).splitlines() or [""])[0][:160]) from error
    if not isinstance(content, dict) or not isinstance(content.get("members"), list):
        raise _refusal(path, "no list of members")
    if len(content["members"]) > _MOST:
        raise _refusal(path, f"more than {_MOST} members")
    texts = {name: content.get(name) for name in ("script", "cwd", "python", "launcher")}
    wrong = [name for name, value in texts.items() if not isinstance(value, str) or "\0" in value]
    if wrong:
        raise _refusal(path, f"no {wrong[0]}")
    door = Door(
        Path(str(texts["script"])) if texts["script"] else None,
        Path(str(texts["cwd"])),
        str(texts["python"]),
        _texts(path, content.get("flags", [])),
    )
    members = tuple(_member(path, entry) for entry in content["members"])
    if len({member.folder for member in members}) < len(members):
        raise _refusal(path, "two members with one folder")
    return Record(door, str(texts["launcher"]), members)


def recorded_digest(run: Path) -> str:
    """The digest that the sweep around a run folder has of it; ``""``: there is no such sweep, or it has none.

    Raises:
        RunError: as ``read_record``.
    """
    sweep = next((place for place in run.parents[:3] if (place / SWEEP).is_file()), None)
    record = read_record(sweep) if sweep else None
    return next((member.digest for member in (record.members if record else ()) if member.folder == run), "")


def told_record(folder: Path) -> Record:
    """The record of a sweep, or what ``multirun.yaml`` tells where another launcher left none.

    Raises:
        RunError: neither lies there, one is damaged, or the members' folders cannot be told.
    """
    record = read_record(folder)
    if record is not None:
        return record
    asked = read_multirun(folder)
    unknown = asked.reason or ("" if all(job.folder for job in asked.jobs) else "names of folders made as it went")
    if unknown:
        raise RunError(
            folder / MULTIRUN,
            found=unknown,
            expected=f"{SWEEP}, or a {MULTIRUN} that tells the members and their folders",
            remedy="evaluate.py sweep=DIR gathers what lies there; start sweeps with hydra/launcher=processes",
        )
    members = {
        str(job.folder): SweepMember(number, tuple(f"{key}={value}" for key, value in job.overrides.items()), place, "")
        for number, job in enumerate(asked.jobs)
        for place in [folder.resolve() / str(job.folder)]
    }
    door = Door(own_script(), Path.cwd(), sys.executable)
    return Record(door, PROCESSES, tuple(members.values()))


def add_members(folder: Path, members: Sequence[SweepMember], *, door: Door, launcher: str) -> Record:
    """Add members to the record of a sweep, or make one; one with a folder that is known takes its place.

    Args:
        folder: the sweep's.
        members: theirs lie inside it.
        door: how they are started.
        launcher: by whom, in a word.

    Returns:
        The record as it stands now.

    Raises:
        RunError: the record that lies there cannot be read.
    """
    with locked(folder / _LOCK):
        before = read_record(folder)
        known = {member.folder: member for member in (*(before.members if before else ()), *members)}
        record = Record(door, launcher, tuple(sorted(known.values(), key=lambda member: member.number)))
        write_json(folder / SWEEP, _content(folder, record))
    return record


def _content(folder: Path, record: Record) -> dict[str, Any]:
    return {
        "script": "" if record.door.script is None else str(record.door.script),
        "cwd": str(record.door.cwd),
        "python": record.door.python,
        "flags": list(record.door.flags),
        "launcher": record.launcher,
        "members": [
            {
                "number": member.number,
                "folder": member.folder.relative_to(folder.resolve()).as_posix(),
                "overrides": list(member.overrides),
                "digest": member.digest,
            }
            for member in record.members
        ],
    }


def _member(path: Path, entry: Any) -> SweepMember:
    if not isinstance(entry, Mapping):
        raise _refusal(path, "a member that is no mapping")
    number, name, digest = entry.get("number"), entry.get("folder"), entry.get("digest", "")
    if not isinstance(number, int) or isinstance(number, bool) or not isinstance(digest, str):
        raise _refusal(path, "a member without number or digest")
    place = PurePosixPath(name) if isinstance(name, str) else PurePosixPath("/")
    if place.is_absolute() or ".." in place.parts or not place.parts or "\0" in str(name) or "\\" in str(name):
        raise _refusal(path, f"the folder {str(name)[:80]!r}")
    return SweepMember(number, _texts(path, entry.get("overrides")), path.parent.resolve() / place, digest)


def _texts(path: Path, content: Any) -> tuple[str, ...]:
    if not isinstance(content, list) or not all(isinstance(item, str) and "\0" not in item for item in content):
        raise _refusal(path, "overrides that are no list of texts")
    return tuple(content)


def _refusal(path: Path, found: str) -> RunError:
    return RunError(
        path,
        found=found,
        expected="the record that train.py -m writes, with folders inside the sweep's",
        remedy="copy the sweep again, or remove the file: members are then told by multirun.yaml",
    )
