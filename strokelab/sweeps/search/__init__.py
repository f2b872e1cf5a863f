"""``sweep=search``: Optuna chooses settings, the sweep's launcher trains them, a study on disk remembers.

A search is a function of its settings, seed and results: one that was stopped goes on as if it had not been. Trials
that were at work then are trained on in their own folders; those that failed are not counted, others take their place.
Knows trials and overrides; what a training is, and where it runs, the launcher knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from strokelab.errors import RunError, StrokelabError
from strokelab.files import locked, make_folder
from strokelab.seeding import seed_of
from strokelab.sweeps.launching import said_and_ended
from strokelab.sweeps.members import door_of, sweep_folder
from strokelab.sweeps.search.settings import SearchSettings, batch_of, check_search
from strokelab.sweeps.search.space import Space, space_of
from strokelab.sweeps.search.study import finished, open_study, outcome

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext
    from omegaconf import DictConfig
    from optuna.study import Study

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

    console = Console()
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
            flags = door_of(config).flags
            objective = str(config.objective)
            text = outcome(study, space, folder, settings=settings, objective=objective, flags=flags)
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
        """First what was interrupted, then new trials until as many as asked for have a result, or failed now."""
        interrupted = [trial for trial in self.study.trials if trial.state.name == "RUNNING"]
        self._launch({trial.number: trial.user_attrs.get("overrides") for trial in interrupted})
        missing = self.settings.n_trials - len(finished(self.study))
        while missing > 0:
            count = min(missing, self.batch)
            self._launch(self._chosen(count))
            missing -= count

    def _chosen(self, count: int) -> dict[int, list[str]]:
        """New trials and their overrides: a function of the seed, how many there were, and what came of them."""
        from hydra.utils import instantiate

        node = dict(self.settings.sampler)
        if node.get("seed") is not None:
            # Anew for every batch: a sampler that went on after a stop would draw the first numbers once more.
            node["seed"] = seed_of(int(node["seed"]), "search", len(self.study.trials)) % 2**32
        self.study.sampler = instantiate(node)
        chosen = {}
        for _ in range(count):
            trial = self.study.ask()
            overrides = [*self.space.fixed, *(one.suggest(trial) for one in self.space.dimensions)]
            trial.set_user_attr("overrides", overrides)  # last: a trial that has them can be trained
            chosen[trial.number] = overrides
        return chosen

    def _launch(self, chosen: Mapping[int, list[str] | None]) -> None:
        """Train trials and tell the study; those without overrides were stopped while they were chosen."""
        for number in [number for number, overrides in chosen.items() if overrides is None]:
            self._tell(number, None)
        ready = {number: overrides for number, overrides in chosen.items() if overrides is not None}
        if not ready:
            return
        returns = self.launcher.launch(list(ready.values()), initial_job_idx=min(ready))
        failures = []
        for number, result in zip(ready, returns, strict=True):
            value = _value(result)
            self._tell(number, value if isinstance(value, float) else None)
            if isinstance(value, str):
                failures.append(f"trial {number}: {value}")
        for line in failures:
            self.console.print(f"Without a result: {line}", markup=False, highlight=False, soft_wrap=True)
        if len(failures) / len(ready) > self.settings.max_failure_rate:
            raise RunError(
                self.settings.storage,
                found=f"{len(failures)} of {len(ready)} trials of a batch without a result ({failures[0]})",
                expected=f"at most {self.settings.max_failure_rate:g} of a batch (hydra.sweeper.max_failure_rate)",
                remedy="see the logs of these trials; start the search again in its folder to go on",
            )

    def _tell(self, number: int, value: float | None) -> None:
        from optuna.trial import TrialState

        if value is None:
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, value)


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
