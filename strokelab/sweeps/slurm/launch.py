"""A batch of members, sent to SLURM and answered for: what ``hydra/launcher=slurm`` does."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn

from strokelab import terminal
from strokelab.command_words import word
from strokelab.configuration.multirun import MULTIRUN
from strokelab.errors import ConfigError
from strokelab.files import locked, write_text
from strokelab.runs.folder import remove_empty
from strokelab.sweeps.launching import Sweep, said_and_ended
from strokelab.sweeps.members import door_of, member_arguments, plan_members, state_of
from strokelab.sweeps.record import Door, SweepMember
from strokelab.sweeps.slurm.queue import JobList, places
from strokelab.sweeps.slurm.settings import SlurmSettings
from strokelab.sweeps.slurm.submission import Work, check_here, sbatch_text, submit
from strokelab.sweeps.slurm.watch import watch
from strokelab.sweeps.states import SweepMemberState
from strokelab.sweeps.table import SweepDisplay

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig

JOBS = "slurm"
"""Folder inside a sweep's: sbatch scripts, logs of every task, and which job trains which member."""


class SlurmSweep:
    """A sweep whose members are jobs.

    Args:
        config: as Hydra gives it to a launcher.
        context: likewise.
        settings: of the launcher.

    Raises:
        SystemExit: with status 1, a setting is wrong or SLURM is not here; the message is printed.
    """

    def __init__(self, config: DictConfig, context: HydraContext, settings: Mapping[str, Any]) -> None:
        self.console = terminal.console()
        with said_and_ended(self.console):
            self.settings = _settings(settings)
            check_here(dry_run=self.settings.dry_run)  # before the sweeper writes anything
            self.sweep = Sweep(config, context, launcher="slurm")
            if not (self.settings.wait or self.settings.dry_run or self.sweep.tolerant):
                raise ConfigError(
                    "hydra.launcher.wait",
                    found="false, with a sweeper that chooses members by the results of others",
                    expected="true",
                    remedy="leave wait out, and keep the search running in tmux or in a small job of its own",
                )
        self.jobs = self.sweep.folder / JOBS
        self._before = _Before(self.sweep.folder)

    def launch(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Train a batch of members that a sweeper asks for.

        Args:
            job_overrides: of each member.
            first: number of the first of them.

        Raises:
            SystemExit: with status 0, a dry run, or nobody is to wait; with 1, a mistake in the settings; with 130,
                interrupted while watching. The jobs go on.
        """
        if self.settings.dry_run:
            try:
                with said_and_ended(self.console):
                    self._show(self._asked(job_overrides), first)
            finally:
                self._before.restore()
            raise SystemExit(0)
        with said_and_ended(self.console):
            asked = self._asked(job_overrides)
            members = self.sweep.plan(asked, first)
            batch = list(dict.fromkeys(members))
            at_once = self.settings.at_once or len(batch)
            with SweepDisplay(batch, self.sweep.folder, self.console, at_once=at_once) as display:
                jobs = self._sent(batch, display)
                if self.settings.wait:
                    watch(jobs, display, folder=self.jobs, poll_seconds=self.settings.poll_seconds)
            if not self.settings.wait:
                line = f"Submitted. How it stands: strokelab sweep {word(self.sweep.folder)}"
                self.console.print(line, markup=False, soft_wrap=True)
                raise SystemExit(0)
        return self.sweep.returns(members, display.states())

    def _asked(self, job_overrides: Sequence[Sequence[str]]) -> list[list[str]]:
        return [[*overrides, *self.settings.trainer_overrides(overrides)] for overrides in job_overrides]

    def _sent(self, batch: Sequence[SweepMember], display: SweepDisplay) -> dict[SweepMember, str]:
        """Submit whoever is neither finished nor in the queue; the jobs to watch, by member."""
        with locked(self.jobs / ".lock"):
            known, queue = JobList(self.jobs).read(), places()
            if queue is None and known:
                raise ConfigError(
                    "squeue",
                    found="no answer",
                    expected="SLURM's controller, which knows whether members are in the queue already",
                    remedy="try again when `squeue --me` answers",
                )
            jobs, new = {}, []
            for member in batch:
                state, job = state_of(member).state, known.get(self._name(member), "")
                place = (queue or {}).get(job)
                if state in ("finished", "other settings"):
                    continue
                if place is not None and not place.ended:
                    jobs[member] = job
                else:
                    new.append(member)
            if jobs:
                display.say(f"{len(jobs)} member(s) are in the queue or at work already: watched, not submitted again.")
            if new:
                work = [_work(self.sweep.door, member) for member in new]
                sent = dict(zip(new, submit(self.settings, self.jobs, work), strict=True))
                JobList(self.jobs).add({self._name(member): job for member, job in sent.items()})
                display.say(f"Submitted {len(new)} job(s): {', '.join(_arrays(sent))}. Logs: {self.jobs}")
                for member in new:
                    if state_of(member).state != "waiting":
                        display.ended(member, SweepMemberState("waiting", "submitted again"))
                jobs |= sent
        return jobs

    def _show(self, asked: Sequence[Sequence[str]], first: int) -> None:
        """Print what would be submitted."""
        config = self.sweep.config
        door = door_of(config)
        members = list(dict.fromkeys(plan_members(config, self.sweep.context, asked, first=first)))
        states = {member: state_of(member).state for member in members}
        new = [member for member in members if states[member] not in ("finished", "other settings")]
        if new:
            self._print(sbatch_text(self.settings, self.jobs, len(new)).strip(), "")
        for index, member in enumerate(new):
            number = f"job {index} of the array" if len(new) > 1 else "the job"
            self._print(f"{number}: {member.folder}", f"    {_work(door, member)}")
        for member in members:
            if member not in new:
                self._print(f"not submitted ({states[member]}): {member.folder}")
        more = "" if self.sweep.tolerant else " The sweeper chooses further members as results come in."
        self._print("", f"Dry run: {len(new)} job(s), none submitted, nothing written.{more}")

    def _print(self, *lines: str) -> None:
        self.console.print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)

    def _name(self, member: SweepMember) -> str:
        return member.folder.relative_to(self.sweep.folder).as_posix()


def _arrays(jobs: Mapping[SweepMember, str]) -> list[str]:
    return list(dict.fromkeys(job.partition("_")[0] for job in jobs.values()))


def _work(door: Door, member: SweepMember) -> Work:
    script = "" if door.script is None else str(door.script)
    return Work(script, str(door.cwd), (*door.flags, *member_arguments(member)))


def _settings(given: Mapping[str, Any]) -> SlurmSettings:
    """The launcher's settings, none of them misspelt."""
    from omegaconf import OmegaConf

    known = [field.name for field in dataclasses.fields(SlurmSettings)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"hydra.launcher.{name}",
                found="a setting that the SLURM launcher does not have",
                expected=f"one of {', '.join(known)}",
                remedy=f"did you mean {near[0]!r}?" if near else "other options of sbatch go into extra",
            )
    plain: dict[str, Any] = {
        name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for name, value in given.items()
    }
    return SlurmSettings(**plain)


class _Before:
    """A sweep's folder as it was before Hydra's sweeper wrote into it, for a dry run."""

    def __init__(self, folder: Path) -> None:
        self.multirun = folder / MULTIRUN
        self.text = self.multirun.read_text(encoding="utf-8") if self.multirun.is_file() else None
        self.absent = [place for place in (folder, *folder.parents) if not place.exists()]

    def restore(self) -> None:
        """Take back what the sweeper wrote."""
        if self.text is not None:
            write_text(self.multirun, self.text)
        else:
            self.multirun.unlink(missing_ok=True)
        remove_empty(*self.absent)
