"""Sweeps on a real SLURM: preempted, killed, requeued, left alone and watched again, they end with the same numbers."""

import json
import re
import shlex
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from slurm_cluster import SlurmCluster, missing, wait_until
from tiny_runs import SHORT_MAIN

from strokelab.sweeps.slurm.queue import JobList
from strokelab.sweeps.slurm.settings import SlurmSettings
from strokelab.sweeps.slurm.submission import Work, submit

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "SLURM is here")]

TWO_TASKS = ["hydra.launcher.gpus_per_node=0", "hydra.launcher.tasks_per_node=2"]
ON_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def cluster():
    """Room for two members of two tasks."""
    with SlurmCluster(cpus=4, grace=120) as slurm:
        slurm.env |= ON_LOOPBACK
        yield slurm


@pytest.fixture(scope="module")
def settings(tiny):
    """32 steps, checkpoints after each fourth."""
    on_cpu = ["trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.deterministic=true"]
    length = ["trainer.max_epochs=8", "trainer.check_val_every_n_epoch=4", "callbacks.case_metrics.every_n_epochs=8"]
    same = [item for item in tiny if not item.startswith("data.prepare_workers")]
    return [*same, *on_cpu, *length, "callbacks.progress=null", SHORT_MAIN]


@pytest.fixture(scope="module")
def command(settings):
    """Two members that differ in what no number depends on, for the partition whose jobs may be pushed aside."""
    job = ["hydra.launcher.partition=low", "hydra.launcher.time=10", "hydra.launcher.poll_seconds=0.2"]
    place = ["hydra.sweep.dir=sweep", "hydra.sweep.subdir=member${data.prepare_workers}"]
    return ["submit", *settings, "data.prepare_workers=1,2", *place, *job, *TWO_TASKS]


@pytest.fixture(scope="module")
def undisturbed(cluster, settings, tmp_path_factory) -> Path:
    """The same, from a batch script of one's own: two tasks that srun starts."""
    here = tmp_path_factory.mktemp("undisturbed")
    line = [sys.executable, str(ROOT / "train.py"), "trainer=slurm", *settings, "run_dir=run", "resume=auto"]
    script = here / "job.sh"
    script.write_text(f"#!/bin/bash\nsrun --kill-on-bad-exit=1 {shlex.join(line)}\n")
    # What an earlier training of the submitting process has left in its environment must not count.
    left = "--export=ALL,STROKELAB_FIRST_PROCESS=1"
    cluster.call("sbatch", "--wait", left, "--chdir", str(here), "--ntasks-per-node=2", "-o", "log.txt", str(script))
    log = (here / "log.txt").read_text()
    assert state(here / "run") == "finished", log
    assert "command is available on your system but is not used" not in log
    return here / "run"


def client(doors, cluster, command, here):
    return doors.start("strokelab", *command, cwd=here, env=cluster.env)


def state(run):
    path = run / "status.json"
    return json.loads(path.read_text())["state"] if path.is_file() else ""


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)["state_dict"]


def begun(run):
    assert state(run) != "failed", (run / "status.json").read_text()
    return (run / "checkpoints/last.ckpt").is_file()


@pytest.fixture(scope="module")
def disturbed(cluster, doors, command, tmp_path_factory) -> Path:
    """A sweep of which one member is preempted, the other killed, and nobody watches all the time."""
    here = tmp_path_factory.mktemp("disturbed")
    sweep = here / "sweep"
    members = [sweep / "member1", sweep / "member2"]
    first = client(doors, cluster, command, here)
    wait_until(lambda: all(begun(run) for run in members), "the first epochs")
    jobs = JobList(sweep / "slurm").read()
    for job in jobs.values():
        cluster.signal_tasks(job, signal.SIGSTOP)  # until all is prepared

    # Somebody more important needs two of the four CPUs: one member is told, saves and goes back to the queue.
    urgent = cluster.call("sbatch", "--parsable", "-p", "urgent", "-n", "2", "-o", "/dev/null", "--wrap", "sleep 600")
    wait_until(lambda: "requeued" in map(state, members), "a member to be preempted")
    preempted = next(run for run in members if state(run) == "requeued")
    other = next(run for run in members if run != preempted)
    assert state(other) == "running"
    # The other one's processes die without notice, as when memory runs out; whoever watches sees it.
    cluster.signal_tasks(jobs[other.name], signal.SIGKILL)
    wait_until(lambda: state(other) == "killed", "the other to be known as killed")
    wait_until(lambda: cluster.state(urgent) == "RUNNING", "the urgent job")
    wait_until(lambda: cluster.state(jobs[preempted.name]) == "PENDING", "the preempted member in the queue")
    first.kill(signal.SIGINT)
    left = first.wait()
    assert left.status == 130, left.output
    assert "No longer watching; the jobs go on" in left.output
    assert re.search(r"killed, srun: error: localhost: tasks? [01].*Killed", left.output), left.output

    # Watched again: the waiting member is not submitted twice, the dead one is, and goes on where it was.
    second = client(doors, cluster, command, here)
    wait_until(lambda: JobList(sweep / "slurm").read()[other.name] != jobs[other.name], "the second submission")
    cluster.call("scancel", urgent)
    cluster.requeue_now(jobs[preempted.name])
    done = second.wait().check()
    assert "1 member(s) are in the queue or at work already" in done.output
    assert f"{other.name}: waiting, submitted again" in done.output
    assert "2 of 2 members finished" in done.output
    log = (sweep / "slurm" / f"{jobs[preempted.name]}_0_log.out").read_text()
    assert "SLURM starts this job again" in log, "kept over the requeue"
    return sweep


@pytest.mark.parametrize("name", ["member1", "member2"])
def test_preempted_and_killed_members_end_like_a_run_left_alone(name, disturbed, undisturbed):
    run = disturbed / name
    mine, theirs = weights(run), weights(undisturbed)
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []
    for table in ("metrics.csv", "cases.csv", "split.csv", "sites.json"):
        assert (run / table).read_text() == (undisturbed / table).read_text(), table


def test_the_table_of_the_sweep_is_that_of_its_members(disturbed, undisturbed):
    table = pd.read_csv(disturbed / "sweep.csv")
    assert list(table["folder"]) == ["member1", "member2"]
    assert set(table["state"]) == {"finished"}
    assert list(table["dice"]) == pytest.approx([pd.read_csv(undisturbed / "cases.csv")["dice"].mean()] * 2)


def test_the_dry_run_prints_what_is_submitted_and_leaves_nothing(disturbed, doors, command, cluster, tmp_path):
    shown = client(doors, cluster, [*command, "--dry-run"], tmp_path).wait().check().output
    assert list(tmp_path.iterdir()) == []
    sent = [path.read_text().strip() for path in (disturbed / "slurm").glob("*_submission.sh")]
    assert len(sent) == 2, "an array of two, and one of the two once more"
    (array,) = [text for text in sent if "--array=0-1" in text]
    assert array.replace(str(disturbed), str(tmp_path / "sweep")) in shown
    assert "data.prepare_workers=2" in shown
    # Over a finished sweep: nobody is left, and its files are as they were.
    before = {path: path.read_bytes() for path in disturbed.rglob("*") if path.is_file()}
    shown = client(doors, cluster, [*command, "--dry-run"], disturbed.parent).wait().check().output
    assert shown.count("not submitted (finished)") == 2
    assert before == {path: path.read_bytes() for path in disturbed.rglob("*") if path.is_file()}


def test_sbatch_that_refuses_is_quoted_and_nothing_is_left(cluster, doors, command, tmp_path):
    done = client(doors, cluster, [*command, "hydra.launcher.partition=nowhere"], tmp_path).wait()
    assert done.status == 1
    assert "sbatch refused" in done.output
    assert "invalid partition specified: nowhere" in done.output
    assert "Traceback" not in done.output
    assert not list((tmp_path / "sweep/slurm").glob("*.pkl"))


ENDING = """
import os, signal, sys, time
from pathlib import Path
rank, how = os.environ["SLURM_PROCID"], sys.argv[1]
print("here", rank, flush=True)
while len(list(Path(sys.argv[2]).glob("*_log.out"))) < 4 and how == "killed":
    time.sleep(0.05)
if rank == "1" and how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if rank == "0":
    time.sleep(2 if how == "failed" else 600)
    print("recorded", flush=True)
sys.exit(3)
"""


def test_processes_of_a_job_end_together_and_the_first_one_records(cluster, tmp_path, monkeypatch):
    """A further process that fails lets the first one finish; one that is killed leaves nobody waiting for it."""
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    script, logs = tmp_path / "ending.py", tmp_path / "logs"
    script.write_text(ENDING)
    settings = SlurmSettings(gpus_per_node=0, tasks_per_node=2, time=10)
    work = [Work(str(script), str(tmp_path), (how, str(logs))) for how in ("failed", "killed")]
    failed, killed = submit(settings, logs, work)
    wait_until(lambda: [cluster.state(job) for job in (failed, killed)] == ["FAILED", "FAILED"], "both to end")
    assert "recorded" in (logs / f"{failed}_0_log.out").read_text()
    log = (logs / f"{killed}_0_log.out").read_text()
    assert "here 0" in log
    assert "recorded" not in log
    assert "task 1: Killed" in log


NOTICED = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from strokelab.callbacks.preemption import requeue
def leave(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a requeue ends the job's step, and srun with its output first
    name = signal.Signals(number).name
    with open(sys.argv[2], "a") as told:
        told.write(f"{name} {requeue(name)}\\n")
    sys.exit(143)
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, leave)
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_a_job_preempted_by_sigterm_alone_comes_back_and_a_cancelled_one_does_not(tmp_path):
    """Where a cluster sends no signal of the user's, a job that leaves in time would count as failed."""
    script, log, told = tmp_path / "noticed.py", tmp_path / "log.txt", tmp_path / "told.txt"
    script.write_text(NOTICED)
    told.write_text("")
    with SlurmCluster(cpus=1, grace=60, notice=False) as slurm:
        options = ["--parsable", "--requeue", "--open-mode=append", "-o", str(log), "--signal=USR1@60"]
        line = f"srun {sys.executable} {script} {ROOT} {told}"
        job = slurm.call("sbatch", *options, "-p", "low", "--chdir", str(tmp_path), "--wrap", line)
        wait_until(lambda: log.is_file() and "ready" in log.read_text(), "the job to listen")
        urgent = slurm.call("sbatch", "--parsable", "-p", "urgent", "-o", "/dev/null", "--wrap", "sleep 300")
        wait_until(lambda: slurm.state(urgent) == "RUNNING", "the urgent job")
        wait_until(lambda: slurm.state(job) == "PENDING", "the preempted job to be back in the queue")
        wait_until(lambda: told.read_text() == "SIGTERM requeued\n", "the job to say that it was requeued")
        slurm.call("scancel", urgent)
        slurm.requeue_now(job)
        wait_until(lambda: log.read_text().count("ready") == 2, "the job to listen again")
        slurm.call("scancel", "--signal=TERM", job)
        wait_until(lambda: slurm.state(job) == "FAILED", "the job to end")
        last = told.read_text().splitlines()[-1]
        assert last.startswith("SIGTERM")
        assert "requeued" not in last
