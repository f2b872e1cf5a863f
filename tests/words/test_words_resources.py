"""Cores and memory as the machine, its cgroups of both versions and SLURM leave them."""

import os

import pytest

from strokelab import resources
from strokelab.resources import Memory

GIB = 2**30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of sixteen cores and 64 GiB; files are added to it."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "SLURM_MEM_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr(resources, "PROC", tmp_path / "proc")
    monkeypatch.setattr(resources, "CGROUPS", tmp_path / "cgroup")

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    write(proc__meminfo="MemTotal:       67108864 kB\nMemFree: 1 kB\nMemAvailable:   33554432 kB\n")
    return write


def test_a_bare_machine(machine):
    assert resources.cores() == 16
    assert resources.cores(processes=3) == 5
    assert resources.cores(processes=99) == 1
    assert resources.memory() == Memory(32 * GIB, 64 * GIB)
    assert str(resources.memory()) == "32.0 of 64.0 GiB free"


def test_cgroups_of_version_2_bind_with_all_their_ancestors(machine):
    machine(
        proc__self__cgroup="0::/job/step\n",
        cgroup__job__memory_dot_max=f"{8 * GIB}",
        cgroup__job__memory_dot_current=f"{6 * GIB}",
        cgroup__job__memory_dot_stat=f"anon 1\ninactive_file {GIB}\n",
        cgroup__job__step__memory_dot_max="max",
        cgroup__job__step__memory_dot_current="77",
        cgroup__job__step__cpu_dot_max="max 100000",
        cgroup__job__cpu_dot_max="250000 100000",
        cgroup__job__step__memory_dot_events="low 0\noom 3\noom_kill 2\n",
    )
    assert resources.memory() == Memory(3 * GIB, 8 * GIB)  # file pages that can go do not count
    assert resources.cores() == 2
    assert resources.memory_kills() == 2


def test_cgroups_of_version_1(machine):
    machine(
        proc__self__cgroup="4:memory:/box\n2:cpu,cpuacct:/box\n0::/\n",
        cgroup__memory__box__memory_dot_limit_in_bytes=f"{4 * GIB}",
        cgroup__memory__box__memory_dot_usage_in_bytes=f"{GIB}",
        cgroup__memory__memory_dot_limit_in_bytes="9223372036854771712",
        cgroup__memory__memory_dot_usage_in_bytes=f"{50 * GIB}",
        **{"cgroup__cpu,cpuacct__box__cpu_dot_cfs_quota_us": "400000"},
        **{"cgroup__cpu,cpuacct__box__cpu_dot_cfs_period_us": "100000"},
        cgroup__memory__box__memory_dot_oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    )
    assert resources.memory() == Memory(3 * GIB, 4 * GIB)
    assert resources.cores() == 4
    assert resources.memory_kills() == 1
    machine(**{"cgroup__cpu,cpuacct__box__cpu_dot_cfs_quota_us": "-1"})
    assert resources.cores() == 16


def test_slurm_gives_each_task_its_share(machine, monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "8")
    assert resources.cores(processes=4) == 2
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert resources.cores(processes=4) == 3  # a task's own share is not divided
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "10240")
    assert resources.memory() == Memory(10 * GIB, 10 * GIB)


def test_what_is_not_there_is_unknown(tmp_path, monkeypatch, machine):
    monkeypatch.setattr(resources, "PROC", tmp_path / "nowhere")
    monkeypatch.setattr(resources, "SHARED_MEMORY", tmp_path / "nowhere")
    assert resources.memory() == resources.shared_memory() == Memory(None, None)
    assert str(resources.memory()) == "memory unknown"
    assert resources.own_memory() is None
    assert resources.memory_kills() == 0


def test_this_machine_answers():
    assert resources.cores() >= 1
    assert (resources.memory().free or 1) > 0
    assert (resources.own_memory() or 1) > 0
