"""A real SLURM of one machine in a temporary folder: munged, slurmctld and slurmd of our own, on free loopback ports.

Needs no systemd, no cgroups, no database and no root; the node claims more CPUs and GPUs than the machine has, so that
several jobs of several tasks overlap. Debian and Ubuntu: ``apt-get install slurmctld slurmd slurm-client munge``.
"""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
PACKAGES = "slurmctld slurmd slurm-client munge"

# Partitions: main; low, whose jobs a job in urgent may push aside: they get the signal they asked for, GraceTime
# seconds later SIGTERM and SIGKILL, and are requeued.
SLURM_CONF = """
ClusterName=strokelab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
{notice}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
FirstJobId={first_job}
KillWait=5
MinJobAge=3600
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PlugStackConfig={folder}/plugstack.conf
MailProg=/bin/true
GresTypes=gpu
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cpus} RealMemory={memory} {gres}
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=localhost MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=urgent Nodes=localhost MaxTime=INFINITE PriorityTier=20 PreemptMode=OFF
"""


def missing() -> str:
    """Why no SLURM can be started here; empty when one can."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    return f"no {', '.join(absent)} here: apt-get install {PACKAGES}" if absent else ""


class SlurmCluster:
    """A SLURM to use in a ``with`` block; every job is cancelled and every daemon ended when it is left.

    Args:
        cpus: that the node claims.
        gpus: that the node claims; the scheduler counts them and sets ``CUDA_VISIBLE_DEVICES``, there are none.
        grace: seconds from a preemption's signal to its SIGTERM.
        notice: a preemption begins with the signal that the job asked for; False: with SIGTERM, as on many clusters.
    """

    def __init__(self, *, cpus: int = 16, gpus: int = 4, grace: int = 30, notice: bool = True) -> None:
        self.cpus, self.gpus, self.grace, self.notice = cpus, gpus, grace, notice
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "SlurmCluster":
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has at most 107 characters
        self.folder.chmod(0o755)
        self.env = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        try:
            self._write_settings()
            socket_path, key = self.folder / "munge.socket", self.folder / "munge.key"
            self._start(
                "munged",
                "--foreground",
                f"--key-file={key}",
                f"--socket={socket_path}",
                f"--pid-file={self.folder / 'munged.pid'}",
                f"--log-file={self.folder / 'munged.log'}",
                f"--seed-file={self.folder / 'munge.seed'}",
            )
            wait_until(socket_path.exists, "munged to listen")
            self._start("slurmctld", "-D", "-c", "-f", self.env["SLURM_CONF"])
            self._start("slurmd", "-D", "-N", "localhost", "-f", self.env["SLURM_CONF"])
            wait_until(self._takes_jobs, "the node to take jobs")
        except BaseException:
            logs = [path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.[lo][ou][gt]")]
            self.__exit__()
            print(*logs, sep="\n")  # what pytest shows beside the error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if len(self._daemons) > 1:
            self.call("scancel", "-u", getpass.getuser(), check=False)
            wait_until(lambda: not self.call("squeue", "-h", check=False), "the jobs to end", seconds=60, check=False)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *command: str, check: bool = True) -> str:
        """What a client of this SLURM prints."""
        done = subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0 or not check, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """PENDING, RUNNING, COMPLETED, ...; empty for a job nobody knows."""
        lines = self.call("squeue", "-h", "--states=all", "--array", "-j", job, "-o", "%T", check=False).splitlines()
        return lines[0] if lines else ""

    def jobs(self) -> dict[str, str]:
        """State by id of every job so far; the tasks of an array one by one, as ``12_0``."""
        lines = self.call("squeue", "-h", "--states=all", "--array", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def requeue_now(self, job: str) -> None:
        """Start a requeued job at once: SLURM holds it back for two minutes."""
        wait_until(lambda: self.state(job) == "PENDING", f"job {job} to be requeued")
        self.call("scontrol", "update", f"JobId={job}", "StartTime=now")

    def signal_tasks(self, job: str, number: int) -> None:
        """To the processes that train, and to nobody else of an array's job, such as srun."""
        array, _, task = job.partition("_")
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.name() != "srun" and "submitit.core._submit" in process.cmdline():
                    place = [process.environ().get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK")]
                    if place == [array, task]:
                        process.send_signal(number)

    def _start(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.out").open("wb") as out:
            command = [str(_program(program)), *arguments]
            daemon = subprocess.Popen(command, env={**os.environ, **self.env}, stdout=out, stderr=out)
        self._daemons.append(daemon)

    def _takes_jobs(self) -> bool:
        assert all(daemon.poll() is None for daemon in self._daemons), "a daemon ended"
        return bool(self.call("sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N", check=False))

    def _write_settings(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        controller_port, node_port = _free_ports(2)
        text = SLURM_CONF.format(
            folder=self.folder,
            host=socket.gethostname().split(".")[0],
            user=getpass.getuser(),
            controller_port=controller_port,
            node_port=node_port,
            first_job=1000 + secrets.randbelow(8000),  # Lightning makes its port from the id: two SLURMs, two ranges
            cpus=self.cpus,
            gpus=self.gpus,
            gres=f"Gres=gpu:{self.gpus}",
            memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
            grace=self.grace,
            notice="SlurmctldParameters=preempt_send_user_signal" if self.notice else "",
        )
        (self.folder / "slurm.conf").write_text(text)
        for number in range(self.gpus):  # a GPU has to be a character device
            (self.folder / f"gpu{number}").symlink_to("/dev/null")
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-{self.gpus - 1}]\n")
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        (self.folder / "plugstack.conf").touch()


def wait_until(condition: Callable[[], object], what: str, *, seconds: float = 300.0, check: bool = True) -> None:
    """Return as soon as a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            assert not check, f"waited {seconds:.0f} s for {what}"
            return
        time.sleep(0.05)


def _program(name: str) -> str | None:
    """Daemons lie where an ordinary user's PATH does not look."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
