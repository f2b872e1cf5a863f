"""What a job asks for, where squeue says it stands, and what becomes of members however their jobs end."""

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from strokelab import runs
from strokelab.callbacks.slurm_environment import SlurmEnvironment
from strokelab.errors import ConfigError
from strokelab.sweeps.record import SweepMember
from strokelab.sweeps.slurm import watch as watching
from strokelab.sweeps.slurm.queue import JobList, Place, places
from strokelab.sweeps.slurm.settings import SlurmSettings
from strokelab.sweeps.slurm.submission import Work, sbatch_text, submit
from strokelab.sweeps.table import SweepDisplay

ROOT = Path(__file__).resolve().parents[2]


def lines(settings: SlurmSettings, jobs: int = 3) -> dict[str, str]:
    """The sbatch options, and the last line."""
    text = sbatch_text(settings, Path("/shared/sweep/slurm"), jobs)
    options = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    return {**dict(line.partition("=")[::2] for line in options), "command": text.strip().splitlines()[-1]}


def test_the_script_says_what_the_yaml_says():
    settings = SlurmSettings(
        nodes=2,
        gpus_per_node=4,
        cpus_per_task=8,
        mem_gb=60.5,
        time=90,
        partition="gpu",
        account="stroke",
        qos="long",
        constraint="a100",
        exclude="gpu[07-08]",
        at_once=2,
        signal_seconds=300,
        setup=["module load cuda"],
        python="apptainer exec --nv /images/strokelab.sif python",
        extra={"mail_type": "END", "gres": "gpu:a100:4"},
    )
    said = lines(settings)
    expected = {
        "nodes": "2",
        "gpus-per-node": "4",
        "ntasks-per-node": "4",
        "cpus-per-task": "8",
        "mem": "61952MB",
        "time": "90",
        "partition": "gpu",
        "account": "stroke",
        "qos": "long",
        "constraint": "a100",
        "exclude": "'gpu[07-08]'",
        "array": "0-2%2",
        "signal": "USR1@300",
        "requeue": "",
        "open-mode": "append",
        "mail-type": "END",
        "gres": "gpu:a100:4",
    }
    assert {name: said[name] for name in expected} == expected
    assert "wckey" not in said
    assert "apptainer exec --nv /images/strokelab.sif python -u -m submitit" in said["command"]
    assert "--cpus-per-task=8" in said["command"], "srun does not take it over from sbatch"
    assert "--kill-on-bad-exit=1" in said["command"], "nobody waits for a process that died"
    assert "module load cuda" in sbatch_text(settings, Path("/shared"), 1)


def test_what_is_left_out_is_left_to_the_cluster():
    said = lines(SlurmSettings(gpus_per_node=0), jobs=1)
    assert said["ntasks-per-node"] == "1"
    for name in ("gpus-per-node", "mem", "partition", "account", "qos", "cpus-per-task", "array", "constraint"):
        assert name not in said


def test_trainer_and_job_agree_on_nodes_and_processes():
    settings = SlurmSettings(nodes=2, gpus_per_node=4)
    assert settings.trainer_overrides(["seed=1"]) == ["trainer.num_nodes=2", "trainer.devices=4"]
    assert SlurmSettings(gpus_per_node=0, tasks_per_node=3).trainer_overrides([])[1] == "trainer.devices=3"
    with pytest.raises(ConfigError, match="devices=8"):
        settings.trainer_overrides(["trainer.devices=8"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"nodes": 0}, "hydra.launcher.nodes"),
        ({"time": "1-00:00:00"}, "hydra.launcher.time"),
        ({"gpus_per_node": True}, "gpus_per_node"),
        ({"time": 2, "signal_seconds": 120}, "signal_seconds"),
        ({"extra": {"signal": "USR2@90"}}, "signal"),
        ({"extra": {"--open_mode": "truncate"}}, "open-mode"),
    ],
)
def test_wrong_settings_are_named(wrong, words):
    with pytest.raises(ConfigError, match=words):
        SlurmSettings(**wrong)


def test_the_yaml_offers_every_setting_and_no_other():
    import dataclasses

    import yaml

    given = yaml.safe_load((ROOT / "conf/hydra/launcher/slurm.yaml").read_text())
    given.pop("_target_")
    assert set(given) == {field.name for field in dataclasses.fields(SlurmSettings)}
    assert SlurmSettings(**given) == SlurmSettings(**{**given, "setup": [], "srun": []})


def test_without_submitit_or_sbatch_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "#SBATCH" in sbatch_text(SlurmSettings(), tmp_path, 2), "a dry run needs no SLURM"
    with pytest.raises(ConfigError, match="no sbatch, srun, squeue on the PATH"):
        submit(SlurmSettings(), tmp_path / "jobs", [Work("train.py", str(tmp_path), ())])
    assert not (tmp_path / "jobs").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"strokelab\[slurm\]"):
        sbatch_text(SlurmSettings(), tmp_path, 2)


def test_the_shell_that_hydra_imports_costs_nothing():
    code = (
        "import sys, hydra_plugins.strokelab_slurm;"
        "heavy = {'torch', 'lightning', 'submitit', 'strokelab'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_squeue_is_read_and_its_silence_is_no_answer(monkeypatch, tmp_path):
    squeue = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    squeue.write_text(
        "#!/bin/sh\nprintf '7_0|RUNNING|None|gpu07\\n7_1|PENDING|Priority|\\n8|OUT_OF_MEMORY|OutOfMemory|n1\\n'"
    )
    squeue.chmod(0o755)
    found = places()
    assert found == {
        "7_0": Place("RUNNING", "", "gpu07"),
        "7_1": Place("PENDING", "Priority"),
        "8": Place("OUT_OF_MEMORY", "OutOfMemory", "n1"),
    }
    assert [place.ended for place in found.values()] == [False, False, True]
    assert str(found["7_1"]) == "in the queue (Priority)"
    assert str(found["8"]) == "out of memory on n1"
    squeue.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert places() is None


def test_the_latest_job_of_each_member_is_remembered(tmp_path):
    jobs = JobList(tmp_path)
    assert jobs.read() == {}
    jobs.add({"a, b": "7_0", "c": "7_1"})
    jobs.add({"c": "9"})
    assert jobs.read() == {"a, b": "7_0", "c": "9"}
    (tmp_path / "jobs.csv").write_bytes(b"\xff\xfe nonsense")
    assert jobs.read() == {}


@pytest.fixture
def member(tmp_path):
    return SweepMember(0, ("seed=0",), tmp_path / "sweep" / "seed0", "")


def watched(monkeypatch, tmp_path, member, *answers, then=None):
    """How a member stands after squeue gave these answers one after the other; ``then[i]`` happens before the i-th."""
    given = iter(enumerate(answers))

    def answer():
        number, place = next(given)
        (then or {}).get(number, lambda: None)()
        return None if place is None else {"7_0": place} if place else {}

    monkeypatch.setattr(watching, "places", answer)
    console = Console(record=True, width=300, force_terminal=False)
    with SweepDisplay([member], tmp_path / "sweep", console, at_once=1) as display:
        watching.watch({member: "7_0"}, display, folder=tmp_path / "logs", poll_seconds=0.01)
    assert next(given, None) is None, "asked until it was over, and no longer"
    return display.states()[member], console.export_text()


RUNNING, WAITING = Place("RUNNING", "", "n1"), Place("PENDING", "BeginTime")


@pytest.mark.parametrize("state", ["NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED"])
def test_a_member_whose_job_slurm_ended_is_killed_and_says_how(monkeypatch, tmp_path, member, state):
    ended, _ = watched(monkeypatch, tmp_path, member, RUNNING, Place(state), Place(state))
    assert ended.state == "killed"
    assert ended.error == f"SLURM job 7_0: {state.lower().replace('_', ' ')}"
    assert runs.read_status(member.folder)["state"] == "killed"


def test_a_job_that_vanished_is_no_finished_member(monkeypatch, tmp_path, member):
    ended, _ = watched(monkeypatch, tmp_path, member, RUNNING, {}, {})
    assert (ended.state, ended.error) == ("killed", "SLURM job 7_0: left the queue")


LAST_WORDS = {
    "ModuleNotFoundError: No module named 'strokelab'\nsrun: error: n1: task 0: Exited with exit code 1\n": (
        "failed",
        "ModuleNotFoundError: No module named 'strokelab'",
    ),
    "Epoch 3/50\nsrun: error: n1: task 1: Killed\nsrun: Force Terminated StepId=7.0\n": (
        "killed",
        "srun: error: n1: task 1: Killed",
    ),
    "": ("failed", "SLURM job 7_0: failed on n1"),
}


@pytest.mark.parametrize(("log", "told"), LAST_WORDS.items())
def test_a_job_that_failed_by_itself_gives_its_last_words(monkeypatch, tmp_path, member, log, told):
    path = tmp_path / "logs" / "7_0_0_log.out"
    path.parent.mkdir()
    path.write_text(log)
    failed = Place("FAILED", "NonZeroExitCode", "n1")
    ended, _ = watched(monkeypatch, tmp_path, member, failed, failed)
    assert (ended.state, ended.error) == told


def test_requeued_missed_once_or_unanswered_is_not_over(monkeypatch, tmp_path, member):
    def finish():
        runs.write_status(member.folder, "finished")

    answers = [WAITING, RUNNING, Place("PREEMPTED"), WAITING, {}, None, None, None, RUNNING, RUNNING]
    ended, text = watched(monkeypatch, tmp_path, member, *answers, then={9: finish})
    assert ended.state == "finished"
    assert text.count("1 member(s) wait in the queue: BeginTime") == 1
    assert text.count("seed0: waiting, in the queue (BeginTime)") == 1, "told of a member that had begun"


def test_what_the_run_folder_says_counts_more_than_the_queue(monkeypatch, tmp_path, member):
    runs.write_status(member.folder, "failed", error="an earlier start")

    def fail():
        runs.write_status(member.folder, "failed", error="ValueError: loss is NaN")

    ended, _ = watched(monkeypatch, tmp_path, member, RUNNING, {}, {}, then={1: fail})
    assert (ended.state, ended.error) == ("failed", "ValueError: loss is NaN")


def test_a_process_that_srun_did_not_start_does_not_wait_for_others(monkeypatch):
    for name in ("SLURM_STEP_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="srun did not start"):
        SlurmEnvironment()
    monkeypatch.setenv("SLURM_NTASKS", "2")  # a batch script without srun
    with pytest.raises(ConfigError, match="srun did not start"):
        SlurmEnvironment()
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert not SlurmEnvironment().auto_requeue, "Lightning's own would save in the middle of a step"


def test_the_command_is_train_py_with_the_launcher(doors, tmp_path):
    """A yaml of the user's own for the cluster, and --dry-run on a machine without SLURM: nothing is written."""
    mine = tmp_path / "my_conf/hydra/launcher"
    mine.mkdir(parents=True)
    (mine / "my_cluster.yaml").write_text("defaults: [slurm]\ngpus_per_node: 4\npartition: gpu\nat_once: 1\n")
    nowhere = {"PATH": str(tmp_path)}
    sweep = ["experiment=sgnet_small", "seed=0,1", "hydra.sweep.dir=sweep"]
    own = ["--config-dir", "my_conf", "hydra/launcher=my_cluster", "hydra.launcher.srun=['--gpu-bind=none']"]
    before = sorted(tmp_path.rglob("*"))
    shown = doors.strokelab("submit", *own, *sweep, "--dry-run", cwd=tmp_path, env=nowhere).check().output
    for words in ("--partition=gpu", "--array=0-1%1", "--ntasks-per-node=4", "--gpu-bind=none", "trainer.devices=4"):
        assert words in shown, words
    assert shown.count(f"--config-dir {tmp_path / 'my_conf'}") == 2, "members compose with it, too"
    done = doors.strokelab("submit", *own, *sweep, cwd=tmp_path, env=nowhere)
    assert done.status == 1
    assert "no sbatch, srun, squeue on the PATH" in done.output
    done = doors.strokelab("submit", *sweep, "trainer.devices=3", "--dry-run", cwd=tmp_path, env=nowhere)
    assert done.status == 1
    assert "leave trainer.devices out" in done.output
    assert sorted(tmp_path.rglob("*")) == before
