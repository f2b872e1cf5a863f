"""``hydra/sweeper=search``: the shell Hydra finds; the work is in ``strokelab.sweeps.search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class SearchSweeper(Sweeper):  # type: ignore[misc]
    """Lets Optuna choose the settings of the next members.

    Args:
        **settings: of ``strokelab.sweeps.search.SearchSettings``.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher that trains the members."""
        from hydra.core.plugins import Plugins

        self.config, self.context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that are missing."""
        from strokelab.sweeps.search import SearchSettings, search

        search(arguments, SearchSettings(**self.settings), self.launcher, config=self.config, context=self.context)
