"""Nothing of the allocation around a command reaches the jobs, members and stages that it starts."""

import os
import subprocess
import sys

import pytest
from rich.console import Console

from strokelab.processes import fresh_environment, outside_allocation
from strokelab.self_training.stages import run_sweep
from strokelab.sweeps.processes import train_members
from strokelab.sweeps.record import Door, SweepMember
from strokelab.sweeps.sharing import Shares
from strokelab.sweeps.slurm.job import run_member
from strokelab.sweeps.slurm.settings import SlurmSettings
from strokelab.sweeps.slurm.submission import Work, submit

OF_THE_PARENT = {
    **{"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "3", "SLURM_NTASKS": "4"},
    **{"SLURM_PROCID": "1", "SLURM_STEP_ID": "0", "SLURM_MEM_PER_NODE": "100", "SLURM_CPUS_PER_TASK": "2"},
    **{"SBATCH_PARTITION": "parent", "SRUN_CPUS_PER_TASK": "2", "PMI_RANK": "1", "PMIX_RANK": "1"},
    **{"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_PORT": "29500", "WANDB_RUN_ID": "parent"},
}
KEPT = {"SLURM_CONF": "/etc/slurm/mine.conf", "WANDB_PROJECT": "strokes", "OMP_NUM_THREADS": "1"}
# Writes down what it was started with.
WITNESS = "import os\nopen(os.environ['WITNESS'], 'a').write('\\n'.join(map('='.join, os.environ.items())))"


@pytest.fixture
def witness(monkeypatch, tmp_path):
    """Inside an allocation; returns what the started process had of it."""
    for name, value in {**OF_THE_PARENT, **KEPT, "WITNESS": str(tmp_path / "seen.txt")}.items():
        monkeypatch.setenv(name, value)

    def seen():
        found = dict(line.partition("=")[::2] for line in (tmp_path / "seen.txt").read_text().splitlines())
        assert {name: found.get(name) for name in KEPT} == KEPT
        return {name for name in OF_THE_PARENT if name in found}

    return seen


def test_sbatch_inherits_nothing_of_the_allocation(monkeypatch, tmp_path, witness):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun", "squeue"):
        (programs / name).write_text(f"#!{sys.executable}\n{WITNESS}\nprint('Submitted batch job 12')\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    sent = submit(SlurmSettings(), tmp_path / "jobs", [Work("", str(tmp_path), ("seed=1",))] * 2)
    assert sent == ["12_0", "12_1"]
    assert witness() == set()
    assert {name: os.environ[name] for name in OF_THE_PARENT} == OF_THE_PARENT, "this process stays where it is"


# A member works in the same job: its id and its resources are true of it, ranks and steps are not.
TRUE_OF_MEMBERS = {
    *("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_MEM_PER_NODE", "SLURM_CPUS_PER_TASK"),
    *("SBATCH_PARTITION", "SRUN_CPUS_PER_TASK"),
}


def test_a_member_is_no_rank_of_the_step_around_its_sweep(tmp_path, witness):
    script = tmp_path / "train.py"
    script.write_text(WITNESS)
    member = SweepMember(0, ("seed=1",), tmp_path / "sweep" / "one", "")
    door = Door(script, tmp_path, sys.executable)
    train_members([member], door, Shares(1, None, ()), folder=tmp_path / "sweep", console=Console(quiet=True))
    assert witness() == TRUE_OF_MEMBERS


def test_a_stage_of_self_training_is_no_rank_either(monkeypatch, tmp_path, witness):
    (tmp_path / "train.py").write_text(WITNESS)
    monkeypatch.chdir(tmp_path)
    run_sweep(["seed=1"], tmp_path / "stage")
    assert witness() == TRUE_OF_MEMBERS


def test_outside_an_allocation_the_user_s_own_defaults_for_sbatch_stay(monkeypatch):
    for name in OF_THE_PARENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SBATCH_ACCOUNT", "stroke")
    assert fresh_environment(other_job=True)["SBATCH_ACCOUNT"] == "stroke"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with outside_allocation():
        assert "SBATCH_ACCOUNT" not in os.environ
    assert os.environ["SBATCH_ACCOUNT"] == "stroke"


def test_a_job_without_train_py_runs_the_package_s_own_door(tmp_path):
    code = f"from strokelab.sweeps.slurm.job import run_member; run_member('', {str(tmp_path)!r}, ['--cfg', 'job'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "seed: 0" in done.stdout
    assert run_member.__module__ == "strokelab.sweeps.slurm.job", "submitit pickles it by this name"
