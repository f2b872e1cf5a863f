"""Watching jobs until they have ended. Submits and cancels nothing: who watches may leave and come back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strokelab import runs
from strokelab.command_words import setting, word
from strokelab.sweeps.members import state_of
from strokelab.sweeps.record import SweepMember
from strokelab.sweeps.slurm.queue import Place, places
from strokelab.sweeps.states import SweepMemberState, first_error
from strokelab.sweeps.table import SweepDisplay

# A job counts as gone when it is missing so many times in a row: a requeue takes a moment, a network file system, too.
_MISSED = 2
_GONE = Place("GONE")


def watch(jobs: Mapping[SweepMember, str], display: SweepDisplay, *, folder: Path, poll_seconds: float) -> None:
    """Return when every job has ended; the display then knows how.

    Args:
        jobs: the job of each member.
        display: to show them on.
        folder: of the jobs' logs.
        poll_seconds: between two questions to squeue.

    Raises:
        SystemExit: with status 130, interrupted from the keyboard.
    """
    try:
        _Watch(jobs, display, folder).run(poll_seconds)
    except KeyboardInterrupt:
        arrays = " ".join(sorted({job.partition("_")[0] for job in jobs.values()}))
        display.say(
            "No longer watching; the jobs go on. To watch again, give the command again with the same "
            f"{setting('hydra.sweep.dir', display.folder)}; how they stand: strokelab sweep {word(display.folder)}; "
            f"to end them: scancel {arrays}"
        )
        raise SystemExit(130) from None


class _Watch:
    def __init__(self, jobs: Mapping[SweepMember, str], display: SweepDisplay, folder: Path) -> None:
        self.jobs = dict(jobs)
        self.display, self.folder = display, folder
        self.before: dict[SweepMember, Any] = {member: runs.read_status(member.folder) for member in jobs}
        self.missed = dict.fromkeys(jobs, 0)
        self.said: dict[SweepMember, str] = {}
        self.reasons = {""}  # for which members wait that have not begun; each is said once, not for every member

    def run(self, poll_seconds: float) -> None:
        while self.jobs:
            queue = places()
            if queue is not None:  # a controller that does not answer says nothing about jobs
                for member, job in list(self.jobs.items()):
                    self._look(member, queue.get(job, _GONE))
                self._explain([queue[job].reason for job in self._not_begun() if job in queue])
            until = time.monotonic() + poll_seconds
            while self.jobs and time.monotonic() < until:
                self.display.refresh()
                time.sleep(min(0.5, max(0.0, until - time.monotonic())))

    def _look(self, member: SweepMember, place: Place) -> None:
        state = state_of(member)
        if state.state == "finished":
            self._end(member, state)
        elif place.ended or place is _GONE:
            self.missed[member] += 1
            if self.missed[member] >= _MISSED:
                self._end(member, self._settled(member, place))
        else:
            self.missed[member] = 0
            word = str(place) if place.waits else "running"
            if word == self.said.get(member) or (place.waits and member not in self.said):
                return
            self.said[member] = word
            if place.waits:
                self.display.ended(member, SweepMemberState("waiting", word, epoch=state.epoch, epochs=state.epochs))
            else:
                self.display.started(member)

    def _not_begun(self) -> list[str]:
        return [job for member, job in self.jobs.items() if member not in self.said]

    def _explain(self, reasons: Sequence[str]) -> None:
        for reason in sorted(set(reasons) - self.reasons):
            self.display.say(f"{reasons.count(reason)} member(s) wait in the queue: {reason}")
        self.reasons |= set(reasons)

    def _settled(self, member: SweepMember, place: Place) -> SweepMemberState:
        """Write down why a job ended where its training could not."""
        status = runs.read_status(member.folder)
        if status == self.before[member] or status["state"] in ("unknown", "running", "requeued"):
            state, job = "killed", self.jobs[member]
            why = f"SLURM job {job}: {'left the queue' if place is _GONE else place}"
            if place.state == "FAILED":  # its process ended by itself: its last words are in the log
                why = _last_words(self.folder / f"{job}_0_log.out") or why
                state = "killed" if "Killed" in why else "failed"
            runs.write_status(member.folder, state, error=why)
        return state_of(member)

    def _end(self, member: SweepMember, state: SweepMemberState) -> None:
        del self.jobs[member]
        self.display.ended(member, state)


def _last_words(log: Path) -> str:
    """Why a process ended, by its log; of what srun says afterwards, the line that counts."""
    said = first_error(log)
    if not said.startswith(("srun:", "slurmstepd")):
        return said
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.startswith("srun: error:")), said)
