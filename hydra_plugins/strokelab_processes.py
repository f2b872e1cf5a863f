"""``hydra/launcher=processes``: the shell Hydra finds; the work is in ``strokelab.sweeps.processes``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class ProcessesLauncher(Launcher):  # type: ignore[misc]
    """Trains each member of a sweep in a process of its own.

    Args:
        at_once: members at a time, or ``auto``.
        threads: of each member, ``auto``, or None: as the environment says.
        gpus: of each member, or ``auto``.
    """

    def __init__(
        self, at_once: int | str = "auto", threads: int | str | None = "auto", gpus: int | str = "auto"
    ) -> None:
        self.at_once, self.threads, self.gpus = at_once, threads, gpus

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what Hydra gives every launcher; ``task_function`` is not called in this process."""
        from strokelab.sweeps.launching import Sweep

        self.sweep = Sweep(config, hydra_context, launcher="processes")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train the members that are not finished, and answer for all."""
        from strokelab.sweeps.processes import launch

        return launch(
            self.sweep, job_overrides, initial_job_idx, at_once=self.at_once, threads=self.threads, gpus=self.gpus
        )
