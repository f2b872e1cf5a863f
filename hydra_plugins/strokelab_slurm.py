"""``hydra/launcher=slurm``: the shell Hydra finds; the work is in ``strokelab.sweeps.slurm``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class SlurmLauncher(Launcher):  # type: ignore[misc]
    """Trains each member of a sweep as a job of a SLURM cluster.

    Args:
        settings: those of ``conf/hydra/launcher/slurm.yaml``.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what Hydra gives every launcher; ``task_function`` is not called in this process."""
        from strokelab.sweeps.slurm.launch import SlurmSweep

        self.sweep = SlurmSweep(config, hydra_context, self.settings)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the members that are not finished, watch them, and answer for all."""
        return self.sweep.launch(job_overrides, initial_job_idx)
