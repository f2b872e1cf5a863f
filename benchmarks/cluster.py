"""A sweep on a real SLURM, disturbed, against the same sweep left alone: ``python -m benchmarks cluster``.

Nine members, one per held-out site, two tasks each. In the disturbed sweep one member loses its processes by SIGKILL
and is requeued, another one is preempted by a more important job. Both sweeps are sent with ``strokelab submit`` to a
SLURM that this command starts, and are compared bit for bit: weights, curves, case tables, and the tables gathered.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/system")]  # the SLURM of the tests

from slurm_cluster import SlurmCluster, missing, wait_until  # noqa: E402
from tiny_runs import SHORT_MAIN, tiny_settings  # noqa: E402

FILES = ("metrics.csv", "cases.csv", "probabilities.csv", "split.csv", "sites.json")
GATHERED = ("folder", "split.fold", "state", "epoch", "epochs", "val_dice", "dice")
HOURS = 6 * 3600.0


def main(arguments: Sequence[str]) -> None:
    """Run both sweeps, compare, and say how they differ; status 1 if they do."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cluster", description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep everything here")
    parser.add_argument("--at-once", type=int, default=2, help="members that run at a time (default 2)")
    parser.add_argument("--epochs", type=int, default=2, help="of each member (default 2)")
    options = parser.parse_args(arguments)
    if missing():
        raise SystemExit(missing())
    with tempfile.TemporaryDirectory(prefix="strokelab-cluster-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        places = {"STROKELAB_STORE": str(folder / "store"), "STROKELAB_DATA": str(folder / "data")}
        os.environ.update(places, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo", MASTER_ADDR="127.0.0.1")
        with SlurmCluster(cpus=2 * options.at_once, grace=300) as cluster:
            command = _command(folder, options.epochs)
            began = time.monotonic()
            _start(command, folder / "undisturbed", cluster).check()
            alone = time.monotonic() - began
            events = _disturbed(command, folder / "disturbed", cluster)
        Console().print(f"Nine members, two tasks each, {options.at_once} at a time: {alone / 60:.1f} min undisturbed.")
        if not _same(folder, events):
            raise SystemExit(1)


class _Client:
    """``strokelab submit``, watching."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log

    def check(self) -> None:
        if self.process.wait():
            raise SystemExit(f"{self.log.read_text()}\nstatus {self.process.returncode}")


def _command(folder: Path, epochs: int) -> list[str]:
    from strokelab.phantoms.cohort import write_cohort

    cohort = write_cohort("atlas_v1", folder / "cohort", spacing=8.0, sites=9, cases_per_site=2, progress=False)
    job = ["gpus_per_node=0", "tasks_per_node=2", "partition=low", "time=600", "poll_seconds=5"]
    length = [f"trainer.max_epochs={epochs}", f"callbacks.case_metrics.every_n_epochs={epochs}"]
    cpu = ["trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.deterministic=true"]
    settings = [item for item in tiny_settings(cohort) if not item.startswith(("data.n_sites", "trainer.max_epochs"))]
    settings = [item for item in settings if not item.startswith("callbacks.case_metrics")]
    sweep = ["sweep=leave_one_site_out", "data.n_sites=9", *settings, *length, *cpu, SHORT_MAIN]
    return [*sweep, "callbacks.progress=null", *(f"hydra.launcher.{item}" for item in job)]


def _start(command: Sequence[str], sweep: Path, cluster: SlurmCluster) -> _Client:
    log = sweep.with_suffix(".txt")
    words = [sys.executable, "-m", "strokelab.cli", "submit", *command, f"hydra.sweep.dir='{sweep}'"]
    environment = {**os.environ, **cluster.env, "COLUMNS": "150", "PYTHONPATH": str(ROOT)}
    with log.open("w") as out:
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, text=True)
    return _Client(process, log)


def _disturbed(command: Sequence[str], sweep: Path, cluster: SlurmCluster) -> dict[str, str]:
    """Run the sweep and disturb two of its members; what happened to whom, by the member's name."""
    client = _start(command, sweep, cluster)

    def at_work() -> list[Path]:
        """Members in the middle of their training."""
        assert client.process.poll() is None, client.log.read_text()
        found = [path.parents[1] for path in sweep.glob("*/checkpoints/last.ckpt")]
        return [run for run in found if _state(run) == "running" and not (run / "cases.csv").is_file()]

    wait_until(at_work, "a member to have a checkpoint", seconds=HOURS)
    killed = at_work()[0]
    job = _jobs(sweep)[killed.name]
    cluster.signal_tasks(job, signal.SIGKILL)
    wait_until(lambda: cluster.state(job) == "FAILED", "the killed member's job to end", seconds=HOURS)
    cluster.call("scontrol", "requeue", job)
    cluster.requeue_now(job)
    events = {killed.name: "SIGKILL, requeued"}

    def all_busy() -> bool:
        idle = cluster.call("sinfo", "-h", "-p", "main", "-o", "%C").split("/")[1]
        return idle == "0" and any(run != killed for run in at_work())

    wait_until(all_busy, "another member at work, and no room", seconds=HOURS)
    cluster.call("sbatch", "-p", "urgent", "-n", "2", "-o", "/dev/null", "--wrap", "sleep 20")
    wait_until(lambda: _requeued(sweep), "a member to be preempted", seconds=HOURS)
    while client.process.poll() is None:
        for run in _requeued(sweep):
            if "preempted" not in events.get(run.name, ""):
                events[run.name] = ", ".join(filter(None, [events.get(run.name), "preempted"]))
            job = _jobs(sweep)[run.name]
            if cluster.state(job) == "PENDING":
                cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)
        time.sleep(1)
    client.check()
    return events


def _same(folder: Path, events: dict[str, str]) -> bool:
    """Print how the two sweeps compare; whether they are equal."""
    import torch

    table = Table("member", "disturbed by", "starts", "weights", *FILES, title="Disturbed against undisturbed")
    equal = True
    for alone in sorted(path.parent for path in (folder / "undisturbed").glob("*/status.json")):
        run = folder / "disturbed" / alone.name
        mine, theirs = (
            torch.load(place / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
            for place in (run, alone)
        )
        same = [mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)]
        same += [filecmp.cmp(run / name, alone / name, shallow=False) for name in FILES]
        log = next((folder / "disturbed/slurm").glob(f"{_jobs(folder / 'disturbed')[alone.name]}_0_log.out"))
        starts = log.read_text().count("Starting with JobEnvironment")
        table.add_row(
            run.name, events.get(run.name, ""), str(starts), *("equal" if one else "DIFFERENT" for one in same)
        )
        equal = equal and all(same)
    console = Console(width=160)
    console.print(table)
    tables = [pd.read_csv(folder / name / "sweep.csv")[list(GATHERED)] for name in ("disturbed", "undisturbed")]
    reports = []
    for name in ("disturbed", "undisturbed"):
        words = ["evaluate.py", f"sweep='{folder / name}'", f"out='{folder / name}-evaluation'"]
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        reports.append((folder / f"{name}-evaluation/cases.csv").read_bytes())
    gathered = tables[0].equals(tables[1]) and reports[0] == reports[1]
    members = len(tables[0])
    console.print(tables[0].to_string(index=False))
    console.print(
        f"{members} members, {len(events)} of them disturbed: runs {'equal' if equal else 'DIFFERENT'}, "
        f"gathered tables {'equal' if gathered else 'DIFFERENT'}."
    )
    return equal and gathered and set(tables[0]["state"]) == {"finished"}


def _state(run: Path) -> Any:
    path = run / "status.json"
    return json.loads(path.read_text())["state"] if path.is_file() else ""


def _requeued(sweep: Path) -> list[Path]:
    return [path.parent for path in sweep.glob("*/status.json") if _state(path.parent) == "requeued"]


def _jobs(sweep: Path) -> dict[str, str]:
    from strokelab.sweeps.slurm.queue import JobList

    return JobList(sweep / "slurm").read()
