"""What a job asks of SLURM, as ``conf/hydra/launcher/slurm.yaml`` says it. Knows no sweep and starts nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from strokelab.errors import ConfigError

# What ``extra`` may not set: the rest of this launcher relies on it.
OWN_PARAMETERS = ("array", "error", "open-mode", "output", "requeue", "signal", "ntasks", "ntasks-per-node", "nodes")


@dataclass(frozen=True)
class SlurmSettings:
    """Resources and habits of one member's job.

    Args:
        nodes: of each job; the trainer's ``num_nodes``.
        gpus_per_node: 0 or None: no GPU is asked for.
        tasks_per_node: processes per node, the trainer's ``devices``; None: one per GPU, or one.
        cpus_per_task: None: the cluster's default.
        mem_gb: GB per node; None: the cluster's default.
        time: minutes until SLURM ends a job; it is requeued and goes on.
        partition: None, as for the following four: the cluster's default.
        account: that is charged.
        qos: quality of service.
        constraint: features of the nodes, e.g. ``a100``.
        exclude: nodes never to use, e.g. ``gpu[07-08]``.
        at_once: most jobs that run at the same time; None: all.
        signal_seconds: before the end of the time limit at which a training is told to save.
        setup: shell lines before the start, e.g. ``module load cuda``.
        srun: further arguments of srun.
        python: the command that starts Python, e.g. within a container; None: the one running now.
        extra: further sbatch options, e.g. ``{gres: "gpu:a100:4"}``.
        job_name: what squeue shows.
        wait: watch the jobs until they end; False: leave after submitting.
        poll_seconds: between two questions to squeue.
        dry_run: print what would be submitted, submit nothing.

    Raises:
        ConfigError: a number is too small, or ``extra`` sets what the launcher sets itself.
    """

    nodes: int = 1
    gpus_per_node: int | None = 1
    tasks_per_node: int | None = None
    cpus_per_task: int | None = None
    mem_gb: float | None = None
    time: int = 1440
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    at_once: int | None = None
    signal_seconds: int = 120
    setup: Sequence[str] = ()
    srun: Sequence[str] = ()
    python: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    job_name: str = "strokelab"
    wait: bool = True
    poll_seconds: float = 30.0
    dry_run: bool = False

    def __post_init__(self) -> None:
        least = {"nodes": 1, "tasks_per_node": 1, "cpus_per_task": 1, "time": 1, "at_once": 1, "gpus_per_node": 0}
        for name, lowest in {**least, "signal_seconds": 1, "poll_seconds": 0.1, "mem_gb": 0.1}.items():
            value = getattr(self, name)
            whole = name not in ("poll_seconds", "mem_gb")
            wrong = isinstance(value, bool) or not isinstance(value, int if whole else (int, float))
            if value is not None and (wrong or value < lowest):
                _refuse(name, f"{value!r}", f"a {'whole ' if whole else ''}number, at least {lowest}", "correct it")
        if self.signal_seconds >= self.time * 60:
            expected = f"fewer seconds than the whole time of the job ({self.time} min)"
            _refuse("signal_seconds", f"{self.signal_seconds}", expected, "ask for more time, or a later signal")
        own = sorted({key.lstrip("-").replace("_", "-") for key in self.extra} & set(OWN_PARAMETERS))
        if own:
            _refuse("extra", f"{own}", "options that this launcher does not set itself", "see conf/hydra/launcher")

    @property
    def tasks(self) -> int:
        """Processes per node."""
        return self.tasks_per_node or self.gpus_per_node or 1

    def trainer_overrides(self, asked: Sequence[str]) -> list[str]:
        """What a member's command says besides, so that trainer and job agree on nodes and processes.

        Args:
            asked: the member's overrides.

        Raises:
            ConfigError: they ask for other numbers than the job.
        """
        wanted = {"trainer.num_nodes": self.nodes, "trainer.devices": self.tasks}
        for item in asked:
            key, _, value = item.lstrip("+").partition("=")
            if key in wanted and value != str(wanted[key]):
                name = {"trainer.num_nodes": "nodes", "trainer.devices": "tasks_per_node"}[key]
                _refuse(name, item, f"{key}={wanted[key]}, as the job has them", f"leave {key} out; set {name} alone")
        return [f"{key}={value}" for key, value in wanted.items()]

    def sbatch_parameters(self) -> dict[str, Any]:
        """What submitit's SLURM executor is told; what is None is left to the cluster."""
        # One process that dies ends the others, which would wait for it. Since 22.05 srun no longer takes
        # cpus-per-task over from sbatch.
        cpus = [f"--cpus-per-task={self.cpus_per_task}"] if self.cpus_per_task else []
        srun = ["--kill-on-bad-exit=1", *cpus, *self.srun]
        asked = {
            "job_name": self.job_name,
            "nodes": self.nodes,
            "ntasks_per_node": self.tasks,
            "gpus_per_node": self.gpus_per_node or None,
            "cpus_per_task": self.cpus_per_task,
            "mem": None if self.mem_gb is None else f"{round(self.mem_gb * 1024)}MB",
            "time": self.time,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "exclude": self.exclude,
            "setup": list(self.setup) or None,
            "srun_args": srun,
            "stderr_to_stdout": True,
            "array_parallelism": self.at_once,
        }
        # SIGUSR1 to every task, in place of submitit's own signal, upon which nothing would be saved.
        own = {"signal": f"USR1@{self.signal_seconds}", "requeue": True}
        extra = {key.lstrip("-").replace("_", "-"): value for key, value in self.extra.items()}
        return {
            **{key: value for key, value in asked.items() if value is not None},
            "wckey": None,  # submitit's default is an accounting label no cluster knows
            "additional_parameters": {**own, **extra},
        }


def _refuse(name: str, found: str, expected: str, remedy: str) -> None:
    raise ConfigError(f"hydra.launcher.{name}", found=found, expected=expected, remedy=remedy)
