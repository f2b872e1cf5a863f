"""``sweep=search``: Optuna chooses settings, the sweep's launcher trains them, a study on disk remembers.

A search is a function of its settings, seed and results: one that was stopped goes on as if it had not been. Members
that were at work then, and those that failed, are started again in their own folders, as in every sweep.
Knows trials and overrides; what a training is, and where it runs, the launcher knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from strokelab import terminal
from strokelab.errors import RunError, StrokelabError
from strokelab.files import locked, make_folder
from strokelab.seeding import seed_of
from strokelab.sweeps.launching import said_and_ended
from strokelab.sweeps.members import door_of, sweep_folder
from strokelab.sweeps.search.settings import SearchSettings, batch_of, check_search
from strokelab.sweeps.search.space import Space, space_of
from strokelab.sweeps.search.study import MEMBER, OVERRIDES, open_study, outcome, record, tried, unfinished

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext
    from omegaconf import DictConfig
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["SearchSettings", "search"]

_LOCK = ".search.lock"


def search(
    arguments: Sequence[str], settings: SearchSettings, launcher: Launcher, *, config: DictConfig, context: HydraContext
) -> None:
    """Run the trials that are missing, and say which settings were best.

    Args:
        arguments: of the command line, without Hydra's own.
        settings: of the search.
        launcher: trains the members.
        config: as Hydra gives it to a sweeper.
        context: likewise.

    Raises:
        SystemExit: with status 1 after a message: Optuna is missing, the settings do not serve a search, another
            search is at work in the folder, or too many trials failed.
    """
    from omegaconf import OmegaConf

    console = terminal.console()
    folder = sweep_folder(config)
    with said_and_ended(console):
        check_search(config, settings)
        space = space_of(settings.params, arguments, context.config_loader)
        make_folder(folder)
        with locked(folder / _LOCK, timeout_seconds=0) as free:
            if not free:
                raise RunError(
                    folder,
                    found="another search that is at work here at this moment",
                    expected="one search in a folder",
                    remedy="wait for it, stop it, or choose another hydra.sweep.dir",
                )
            OmegaConf.save(config, folder / "multirun.yaml")  # as Hydra's own sweeper does: what makes it a sweep
            study = open_study(settings, space)
            _Search(study, space, settings, launcher, console, batch_of(config, settings)).run()
            text = outcome(study, space, folder, objective=str(config.objective), flags=door_of(config).flags)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass
class _Search:
    """A study at work."""

    study: Study
    space: Space
    settings: SearchSettings
    launcher: Launcher
    console: Console
    batch: int

    def run(self) -> None:
        """First what was stopped or has failed, then new settings until as many as asked for were tried."""
        for trial in self.study.trials:
            if trial.state.name == "RUNNING" and OVERRIDES not in trial.user_attrs:
                record(self.study, trial, None)  # stopped while it was chosen
        self._train(unfinished(self.study))
        while (missing := self.settings.n_trials - tried(self.study)) > 0:
            self._train(self._chosen(min(missing, self.batch)))

    def _chosen(self, count: int) -> list[FrozenTrial]:
        """New trials: a function of the seed, of how many settings were tried, and of what came of them."""
        from hydra.utils import instantiate

        first = tried(self.study)
        node = dict(self.settings.sampler)
        if node.get("seed") is not None:
            # Anew for every batch: a sampler that went on after a stop would draw the first numbers once more.
            node["seed"] = seed_of(int(node["seed"]), "search", first) % 2**32
        self.study.sampler = instantiate(node)
        numbers = []
        for member in range(first, first + count):
            trial = self.study.ask()
            overrides = [*self.space.fixed, *(one.suggest(trial) for one in self.space.dimensions)]
            trial.set_user_attr(MEMBER, member)
            trial.set_user_attr(OVERRIDES, overrides)  # last: a trial that has them can be trained
            numbers.append(trial.number)
        return [self.study.trials[number] for number in numbers]

    def _train(self, trials: Sequence[FrozenTrial]) -> None:
        """Train the members of trials, or what is left of them, and keep what they return."""
        if not trials:
            return
        jobs = [trial.user_attrs[OVERRIDES] for trial in trials]
        returns = self.launcher.launch(jobs, initial_job_idx=min(trial.user_attrs[MEMBER] for trial in trials))
        failures = []
        for trial, result in zip(trials, returns, strict=True):
            value = _value(result)
            record(self.study, trial, value if isinstance(value, float) else None)
            if isinstance(value, str):
                failures.append(f"member {trial.user_attrs[MEMBER]}: {value}")
        for line in failures:
            self.console.print(f"Without a result: {line}", markup=False, highlight=False, soft_wrap=True)
        if len(failures) / len(trials) > self.settings.max_failure_rate:
            raise RunError(
                self.settings.storage,
                found=f"{len(failures)} of {len(trials)} members of a batch without a result ({failures[0]})",
                expected=f"at most a share of {self.settings.max_failure_rate:g} (hydra.sweeper.max_failure_rate)",
                remedy="see their logs; started again in its folder, the search tries them once more and goes on",
            )


def _value(result: JobReturn) -> float | str:
    """What a member returned, or why it returned nothing that can be compared."""
    try:
        value = result.return_value
    except StrokelabError as error:
        return error.found
    except Exception as error:  # whatever ended the member
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return f"its objective is {value}: metrics.csv has no such number"
