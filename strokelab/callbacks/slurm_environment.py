"""The processes of a training as SLURM started them. Asks only for its variables; submits and requeues nothing."""

from __future__ import annotations

import os

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from strokelab.buildable import buildable
from strokelab.errors import ConfigError


@buildable(training=("trainer", "callbacks"))
class SlurmEnvironment(SLURMEnvironment):
    """Lightning's environment, without its requeueing: ``ResumePoint`` saves at a step's end, this training's way.

    Raises:
        ConfigError: the process was not started by srun, and would wait for others that never come.
    """

    def __init__(self) -> None:
        if "SLURM_NTASKS" not in os.environ or "SLURM_STEP_ID" not in os.environ:
            raise ConfigError(
                "trainer=slurm",
                found="a process that srun did not start",
                expected="one process per device, started by srun",
                remedy="write `srun python train.py trainer=slurm ...` in your batch script, submit with `strokelab "
                "submit ...`, or use trainer=gpu or trainer=ddp here (a run to resume: trainer.plugins=null)",
            )
        super().__init__(auto_requeue=False)

    @staticmethod
    def detect() -> bool:
        """Whether srun started this process."""
        return "SLURM_NTASKS" in os.environ and "SLURM_STEP_ID" in os.environ
