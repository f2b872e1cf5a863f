"""The members of a sweep: those that finished, and what became of the others. Loads no model and no image.

Members are told by ``sweep.json``, else by ``multirun.yaml`` (what was asked for), and by the run folders that lie
there now (what came of it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from strokelab import runs
from strokelab.configuration.multirun import MULTIRUN, Job, Multirun, read_multirun
from strokelab.errors import ConfigError, RunError
from strokelab.files import natural_key
from strokelab.report.material import ListedMember
from strokelab.sweeps.record import SWEEP, read_record

STATES = ("finished", "failed", "killed", "running", "requeued")


@dataclass(frozen=True)
class Finished:
    """A member of a sweep that can be evaluated."""

    folder: Path
    name: str
    overrides: Mapping[str, str]  # those that differ among the members


@dataclass(frozen=True)
class Sweep:
    """What lies in the folder of a sweep, and what should."""

    finished: tuple[Finished, ...]
    members: tuple[ListedMember, ...]  # all of them
    notes: tuple[str, ...] = ()


def is_sweep(folder: Path) -> bool:
    """Whether this is the folder of a sweep."""
    return (folder / SWEEP).is_file() or (folder / MULTIRUN).is_file()


def gather(folder: Path, prefix: str = "") -> Sweep:
    """All members of a sweep; it may lie elsewhere than it was made, and may still be running.

    Args:
        folder: the sweep's.
        prefix: put before the names of its members, where there are several sweeps.

    Raises:
        RunError: this is no folder of a sweep.
    """
    asked = _asked(folder)
    found = {path.parent.relative_to(folder).as_posix(): path.parent for path in folder.rglob(runs.STATUS)}
    places = _places(asked, folder, found)
    extra = sorted(found.keys() - set(places), key=natural_key)
    finished, members = [], []
    for place, job in [*zip(places, asked.jobs, strict=True), *((name, None) for name in extra)]:
        overrides = _telling(asked, job, found.get(place))
        told = " ".join(f"{key}={value}" for key, value in overrides.items())
        name = prefix + (place or told or "the only member")
        state, error = _state(folder / place if place else None)
        members.append(ListedMember(name, state, told, error))
        if state == "finished":
            finished.append(Finished(folder / place, name, overrides))
    return Sweep(tuple(finished), tuple(members), tuple(_notes(folder, asked, extra)))


def gather_all(folders: Sequence[str]) -> Sweep:
    """Several sweeps as one.

    Raises:
        RunError: one is no sweep or is named twice, or none has a finished member.
    """
    paths = [Path(folder).expanduser().resolve() for folder in folders]
    twice = [path for index, path in enumerate(paths) if path in paths[:index]]
    if twice:
        raise RunError(twice[0], found="the same sweep twice", expected="each once", remedy="leave one out")
    sweeps = [gather(path, prefix) for path, prefix in zip(paths, _prefixes(paths), strict=True)]
    members = tuple(member for sweep in sweeps for member in sweep.members)
    if folders and not any(sweep.finished for sweep in sweeps):
        raise RunError(
            ", ".join(map(str, paths)),
            found="no finished member" + "".join(f"\n            {line}" for line in unfinished(members)),
            expected="a sweep with at least one finished training",
            remedy="wait for it, continue a killed member with train.py resume=FOLDER, or start the sweep again",
        )
    finished = tuple(one for sweep in sweeps for one in sweep.finished)
    return Sweep(finished, members, tuple(note for sweep in sweeps for note in sweep.notes))


def unfinished(members: Sequence[ListedMember]) -> list[str]:
    """Members that are not in the tables, in words."""
    return [
        f"{member.name}: {member.state}" + (f" ({member.error})" if member.error else "")
        for member in members
        if member.state != "finished"
    ]


def _asked(folder: Path) -> Multirun:
    """What was asked for: as our launchers recorded it, and what Hydra's file asks for besides."""
    record = read_record(folder)
    if record is None:
        return read_multirun(folder)
    here = folder.resolve()
    jobs = [Job(_pairs(member.overrides), member.folder.relative_to(here).as_posix()) for member in record.members]
    known = {job.folder for job in jobs}
    if (folder / MULTIRUN).is_file():
        jobs += [job for job in read_multirun(folder).jobs if job.folder not in known]
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    return Multirun(tuple(jobs), tuple(key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1))


def _pairs(overrides: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (item.partition("=") for item in overrides)}


def _prefixes(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart; nothing where there is one path."""
    ends = [""] * len(paths)
    length = 0
    while len(set(ends)) < len(paths):
        length += 1
        ends = ["/".join(path.parts[-length:]) + "/" for path in paths]
    return ends


def _places(asked: Multirun, folder: Path, found: Mapping[str, Path]) -> list[str]:
    """The place of each job below the sweep's folder: by its name, else by what the run says about itself; or ""."""
    # A job that failed before it wrote anything has a place, too: the one it would have had. Of several jobs with one
    # place, the last one's files lie there.
    names = [job.folder or "" for job in asked.jobs]
    by_name = ["" if name in names[index + 1 :] else name for index, name in enumerate(names)]
    free = {name: tuple(_recorded(path)) for name, path in found.items() if name not in by_name}
    for index, job in enumerate(asked.jobs):
        if by_name[index] not in found:
            words = tuple(f"{key}={value}" for key, value in job.overrides.items())
            same = [name for name, recorded in free.items() if recorded == words]
            if len(same) == 1:
                by_name[index] = same[0]
                del free[same[0]]
    return by_name


def _recorded(folder: Path) -> list[str]:
    """The overrides a run remembers; none in run folders of earlier versions."""
    words = runs.read_environment(folder).get("overrides")
    return [str(word) for word in words] if isinstance(words, list) else []


def _telling(asked: Multirun, job: Job | None, folder: Path | None) -> dict[str, str]:
    """What tells a member from the others."""
    given = dict(job.overrides) if job else {}
    if job is None and folder is not None:
        given = _pairs(_recorded(folder))
    return {key: value for key, value in given.items() if key in asked.swept}


def _state(folder: Path | None) -> tuple[str, str]:
    if folder is None or not folder.is_dir():
        return "missing", "no folder of its own: not started yet, or refused at its start"
    status = runs.read_status(folder)
    state = str(status["state"])
    if state not in STATES:
        return "unknown", f"no {runs.STATUS} that can be read"
    error = (str(status.get("error") or "").splitlines() or [""])[0]
    if state == "running" and not runs.is_claimed(folder):
        error = "no process of this machine is at it: killed, or at work elsewhere"
    return state, error


def _notes(folder: Path, asked: Multirun, extra: Sequence[str]) -> list[str]:
    if asked.reason:
        return [
            f"{MULTIRUN} of {folder.name} does not tell which trainings were asked for ({asked.reason}); the "
            f"{len(extra)} that left a folder are listed, others are not known."
        ]
    if extra:
        names = ", ".join(extra[:5]) + (" and others" if len(extra) > 5 else "")
        return [
            f"{len(extra)} run(s) in {folder.name} are not among those its "
            f"{SWEEP if (folder / SWEEP).is_file() else MULTIRUN} asks for and are taken all the same: {names}."
        ]
    return []


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
    return [folder for place in leading for folder in members(place)], inputs


def _is_run(place: Path) -> bool:
    return (place / runs.CONFIG).is_file() or is_sweep(place) or runs.is_packed(place)


def members(place: Path) -> list[Path]:
    """The run folders that a place stands for: a run, the members of a sweep, or what a packed model holds.

    Raises:
        RunError: a sweep has members that are not finished, or as ``runs.open_packed``.
    """
    if runs.is_packed(place):
        return runs.run_folders([place])
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
