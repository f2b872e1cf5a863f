"""Where jobs stand, by squeue, and which member each of them trains. Reads and remembers; submits nothing."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from strokelab.files import write_text

# In these a job has ended for good; in any other it is in the queue, runs, or is about to come back.
ENDED = frozenset(
    [
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
        *("REVOKED", "TIMEOUT"),
    ]
)
WAITING = frozenset(["PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"])


@dataclass(frozen=True)
class Place:
    """Where a job stands.

    Args:
        state: in SLURM's word, e.g. ``PENDING``.
        reason: why it waits or ended, e.g. ``Priority``; "" when SLURM says nothing.
        nodes: it runs on.
    """

    state: str
    reason: str = ""
    nodes: str = ""

    @property
    def ended(self) -> bool:
        """Whether it will never run again."""
        return self.state in ENDED

    @property
    def waits(self) -> bool:
        """Whether it will run, now or again."""
        return self.state in WAITING

    def __str__(self) -> str:
        if self.waits:
            return f"in the queue{f' ({self.reason})' if self.reason else ''}"
        return f"{self.state.lower().replace('_', ' ')}{f' on {self.nodes}' if self.nodes else ''}"


def places() -> dict[str, Place] | None:
    """Every job of this user that SLURM still remembers, by id; None: the controller does not answer now."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%N"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = {}
    for line in done.stdout.splitlines():
        job, state, reason, nodes = (line.strip().split("|") + [""] * 4)[:4]
        found[job] = Place(state, "" if reason == "None" else reason, nodes)
    return found


class JobList:
    """``jobs.csv`` in the folder of a sweep's jobs: which member each job trains.

    Args:
        folder: of scripts and logs, inside the sweep's.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jobs.csv"

    def read(self) -> dict[str, str]:
        """The latest job of each member, by the member's folder; empty when there is no such list."""
        try:
            rows = list(csv.DictReader(io.StringIO(self.path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, csv.Error):
            return {}
        return {row["member"]: row["job"] for row in rows if row.get("member") and row.get("job")}

    def add(self, jobs: Mapping[str, str]) -> None:
        """Remember the jobs just submitted, by the member's folder."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("member", "job"))
        writer.writerows({**self.read(), **jobs}.items())
        write_text(self.path, out.getvalue())
