"""Sweeps on a real SLURM: preempted, killed, requeued, left alone and watched again, they end with the same numbers."""

import json
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from slurm_cluster import SlurmCluster, missing, wait_until
from tiny_runs import SHORT_MAIN

from strokelab.sweeps.slurm.queue import JobList

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "SLURM is here")]

ON_CPU = ["trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.deterministic=true"]
TWO_TASKS = ["hydra.launcher.gpus_per_node=0", "hydra.launcher.tasks_per_node=2"]


@pytest.fixture(scope="module")
def cluster():
    """Room for two members of two tasks."""
    with SlurmCluster(cpus=4, grace=60) as slurm, pytest.MonkeyPatch.context() as patch:
        for name, value in {**slurm.env, "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}.items():
            patch.setenv(name, value)
        yield slurm


@pytest.fixture(scope="module")
def command(tiny):
    """Two seeds, each long enough to be disturbed."""
    job = ["hydra.launcher.partition=low", "hydra.launcher.time=10", "hydra.launcher.poll_seconds=0.2"]
    length = ["trainer.max_epochs=15", "trainer.check_val_every_n_epoch=5", "callbacks.case_metrics.every_n_epochs=15"]
    return ["submit", "seed=0,1", *job, *TWO_TASKS, *tiny, *ON_CPU, *length, SHORT_MAIN]


@pytest.fixture(scope="module")
def undisturbed(cluster, doors, command, tmp_path_factory) -> Path:
    here = tmp_path_factory.mktemp("undisturbed")
    client(doors, command, here, cluster).wait().check()
    return here / "sweep"


def client(doors, command, here, cluster, *more):
    environment = {**cluster.env, "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    return doors.start("strokelab", *command, "hydra.sweep.dir=sweep", *more, cwd=here, env=environment)


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)["state_dict"]


def state(run):
    path = run / "status.json"
    return json.loads(path.read_text())["state"] if path.is_file() else ""


def begun(run):
    assert state(run) != "failed", (run / "status.json").read_text()
    return (run / "checkpoints/last.ckpt").is_file()


def kill_tasks(job):
    """SIGKILL to the processes that train, and to nobody else of the job."""
    array, _, task = job.partition("_")
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            place = [process.environ().get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK")]
            if place == [array, task] and "submitit.core._submit" in process.cmdline() and process.name() != "srun":
                process.kill()


def test_preempted_and_killed_members_end_like_undisturbed_ones(cluster, doors, command, undisturbed, tmp_path):
    sweep = tmp_path / "sweep"
    members = [sweep / f"{seed}-sgnet-seed{seed}" for seed in (0, 1)]
    first = client(doors, command, tmp_path, cluster)
    wait_until(lambda: all(begun(run) for run in members), "the first epochs")
    jobs = JobList(sweep / "slurm").read()
    assert len({job.partition("_")[0] for job in jobs.values()}) == 1, "one array"

    # Somebody more important needs two of the four CPUs: one member is told, saves and goes back to the queue.
    urgent = cluster.call("sbatch", "--parsable", "-p", "urgent", "-n", "2", "-o", "/dev/null", "--wrap", "sleep 300")
    wait_until(lambda: "requeued" in map(state, members), "a member to be preempted")
    preempted = next(run for run in members if state(run) == "requeued")
    other = next(run for run in members if run != preempted)
    # The other one's processes die without notice, as when memory runs out; whoever watches sees it.
    assert state(other) == "running"
    kill_tasks(jobs[other.name])
    wait_until(lambda: state(other) == "killed", "the other to be known as dead")
    wait_until(lambda: cluster.state(urgent) == "RUNNING", "the urgent job")
    wait_until(lambda: cluster.state(jobs[preempted.name]) == "PENDING", "the preempted member in the queue")
    first.kill(signal.SIGINT)
    left = first.wait()
    assert left.status == 130, left.output
    assert "No longer watching; the jobs go on" in left.output
    assert re.search(r"killed, srun: error: localhost: tasks? [01].*Killed", left.output), left.output

    # Watched again: the waiting member is not submitted twice, the dead one is, and goes on where it was.
    second = client(doors, command, tmp_path, cluster)
    wait_until(lambda: JobList(sweep / "slurm").read()[other.name] != jobs[other.name], "the second submission")
    cluster.call("scancel", urgent)
    cluster.requeue_now(jobs[preempted.name])
    done = second.wait().check()
    assert "1 member(s) are in the queue or at work already" in done.output
    assert "2 of 2 members finished" in done.output

    for run in members:
        twin = undisturbed / run.name
        mine, theirs = weights(run), weights(twin)
        assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
        for table in ("metrics.csv", "cases.csv", "split.csv"):
            assert (run / table).read_text() == (twin / table).read_text(), table
        assert json.loads((run / "environment.json").read_text())["digest"]
    columns = [
        [row.split(",")[:7] for row in (place / "sweep.csv").read_text().splitlines()] for place in (sweep, undisturbed)
    ]
    assert columns[0] == columns[1]
    log = (sweep / "slurm" / f"{jobs[preempted.name]}_0_log.out").read_text()
    assert "SLURM starts this job again" in log
    assert "srun` command is available" not in log


def test_the_dry_run_prints_what_is_submitted_and_leaves_nothing(undisturbed, doors, command, cluster, tmp_path):
    text = client(doors, [*command, "--dry-run"], tmp_path, cluster).wait().check().output
    assert list(tmp_path.iterdir()) == []
    (script,) = (undisturbed / "slurm").glob("*_submission.sh")
    sent = script.read_text().replace(str(undisturbed), str(tmp_path / "sweep"))
    assert sent.strip() in text
    assert "seed=1" in text
    # Over a finished sweep: nobody is left, and its files are as they were.
    before = {path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()}
    text = client(doors, [*command, "--dry-run"], undisturbed.parent, cluster).wait().check().output
    assert text.count("not submitted (finished)") == 2
    assert before == {path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()}


def test_sbatch_that_refuses_is_quoted_and_nothing_is_left(cluster, doors, command, tmp_path):
    done = client(doors, command, tmp_path, cluster, "hydra.launcher.partition=nowhere").wait()
    assert done.status == 1
    assert "sbatch refused" in done.output
    assert "invalid partition specified: nowhere" in done.output
    assert "Traceback" not in done.output
    assert not list((tmp_path / "sweep/slurm").glob("*.pkl"))


def test_train_py_in_a_batch_script_of_ones_own(cluster, tiny, undisturbed, tmp_path):
    """One run, started by srun; without srun it says so at once, and does not wait for processes that never come."""
    line = [sys.executable, str(ROOT / "train.py"), "trainer=slurm", *ON_CPU, *tiny, SHORT_MAIN, "seed=1"]
    command = " ".join(f"'{word}'" for word in line)
    script = f"{command} run_dir=without || echo status $?\nsrun {command} run_dir=within trainer.max_epochs=1"
    cluster.call("sbatch", "--wait", "--chdir", str(tmp_path), "--ntasks-per-node=1", "-o", "log.txt", "--wrap", script)
    log = (tmp_path / "log.txt").read_text()
    assert "a process that srun did not start" in log
    assert "status 1" in log
    assert not (tmp_path / "without").exists()
    assert state(tmp_path / "within") == "finished"


NOTICED = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from strokelab.callbacks.preemption import requeue
def leave(number, frame):
    name = signal.Signals(number).name
    print(name, requeue(name), flush=True)
    sys.exit(143)
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, leave)
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_a_job_preempted_by_sigterm_alone_comes_back_and_a_cancelled_one_does_not(tmp_path):
    """Where a cluster sends no signal of the user's, a job that leaves in time would count as failed."""
    script, log = tmp_path / "noticed.py", tmp_path / "log.txt"
    script.write_text(NOTICED)
    with SlurmCluster(cpus=1, grace=60, notice=False) as slurm:
        options = ["--parsable", "--requeue", "--open-mode=append", "-o", str(log), "--signal=USR1@60"]
        line = f"srun {sys.executable} {script} {ROOT}"
        job = slurm.call("sbatch", *options, "-p", "low", "--chdir", str(tmp_path), "--wrap", line)
        wait_until(lambda: log.is_file() and "ready" in log.read_text(), "the job to listen")
        urgent = slurm.call("sbatch", "--parsable", "-p", "urgent", "-o", "/dev/null", "--wrap", "sleep 300")
        wait_until(lambda: slurm.state(urgent) == "RUNNING", "the urgent job")
        wait_until(lambda: slurm.state(job) == "PENDING", "the preempted job to be back in the queue")
        assert "SIGTERM requeued" in log.read_text()
        slurm.call("scancel", urgent)
        slurm.requeue_now(job)
        wait_until(lambda: log.read_text().count("ready") == 2, "the job to listen again")
        slurm.call("scancel", "--signal=TERM", job)
        wait_until(lambda: slurm.state(job) == "FAILED", "the job to end")
        assert "requeued" not in log.read_text().split("ready")[-1]
