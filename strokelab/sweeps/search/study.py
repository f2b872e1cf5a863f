"""The study of a search: opened where it was left, and what it found. Knows Optuna; starts nothing."""

from __future__ import annotations

import logging
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from strokelab import terminal
from strokelab.errors import ConfigError, RunError
from strokelab.files import write_text
from strokelab.sweeps.search.settings import SearchSettings
from strokelab.sweeps.search.space import Space

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

MEMBER, OVERRIDES = (
    "member",
    "overrides",
)  # what a trial remembers: its number in the sweep, and what it is trained with
RESULTS = "optimization_results.yaml"  # Hydra's own sweepers call it so
# What the settings that were found are trained anew without: an ordinary run returns and scores the test part.
_OF_THE_SEARCH = ("sweep", "objective", "score_test", "resume")


def open_study(settings: SearchSettings, space: Space) -> Study:
    """The study on disk, new or as it was left.

    Raises:
        ConfigError: Optuna is missing, or its storage cannot be opened.
        RunError: the study that lies there was of other settings.
    """
    optuna = _optuna()
    try:
        study = optuna.create_study(
            study_name=settings.study_name,
            storage=settings.storage,
            direction=settings.direction,
            load_if_exists=True,
        )
    except Exception as error:  # of SQLAlchemy, alembic or Optuna: their classes differ from version to version
        raise ConfigError(
            "hydra.sweeper.storage",
            found=f"{settings.storage}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            expected="a database that Optuna can open",
            remedy="pip install strokelab[search], whose versions work together; or correct the path",
        ) from error
    asked = {"fixed": list(space.fixed), "space": [str(one) for one in space.dimensions], "order": settings.direction}
    recorded = study.user_attrs.get("asked")
    if recorded is None:
        study.set_user_attr("asked", asked)
    elif recorded != asked:
        before = {item for value in recorded.values() for item in ([value] if isinstance(value, str) else value)}
        changed = [item for value in asked.values() for item in ([value] if isinstance(value, str) else value)]
        changed = [item for item in changed if item not in before]
        raise RunError(
            settings.storage,
            found=f"a search with other settings; new: {'; '.join(changed) or 'some were left out'}",
            expected="the settings that it was started with: its results are of them",
            remedy="give them again, or choose another hydra.sweep.dir",
        )
    return cast("Study", study)


def tried(study: Study) -> int:
    """How many settings were chosen so far, whatever became of them: also the number of the next member."""
    return len({trial.user_attrs[MEMBER] for trial in study.trials if OVERRIDES in trial.user_attrs})


def finished(study: Study) -> list[FrozenTrial]:
    """The trials with a result."""
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def unfinished(study: Study) -> list[FrozenTrial]:
    """One trial of each member without a result, in the order of members; a running one was stopped."""
    done = {trial.user_attrs[MEMBER] for trial in finished(study)}
    trained = [trial for trial in study.trials if OVERRIDES in trial.user_attrs]  # others were stopped while chosen
    left = {trial.user_attrs[MEMBER]: trial for trial in trained if trial.user_attrs[MEMBER] not in done}
    return [left[member] for member in sorted(left)]


def record(study: Study, trial: FrozenTrial, value: float | None) -> None:
    """Keep what a trial came to; None: it failed.

    Optuna never takes a failure back: a result of a later start is kept as another trial of the same member.
    """
    from optuna.trial import TrialState, create_trial

    if trial.state == TrialState.RUNNING:
        study.tell(trial.number, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)
    elif value is not None:
        again = create_trial(
            value=value, params=trial.params, distributions=trial.distributions, user_attrs=trial.user_attrs
        )
        study.add_trial(again)


def outcome(study: Study, space: Space, folder: Path, *, objective: str, flags: Sequence[str] = ()) -> str:
    """What was found, in words, and the command that trains it anew; written into the folder as well.

    Args:
        study: that ended.
        space: of the search.
        folder: of the sweep.
        objective: what was compared.
        flags: Hydra's own for the command, such as ``--config-dir``.

    Raises:
        RunError: no trial has a result.
    """
    done, total = finished(study), tried(study)
    if not done:
        raise RunError(
            folder,
            found=f"no result of {total} members",
            expected=f"members that finish and have {objective} in their metrics.csv",
            remedy="see the lines above and the logs of the members, mend it, and start the search again in its folder",
        )
    best = study.best_trial
    overrides: list[str] = best.user_attrs[OVERRIDES]
    kept = [item for item in overrides if item.lstrip("+~").partition("=")[0] not in _OF_THE_SEARCH]
    chosen = overrides[len(space.fixed) :]
    command = shlex.join([*terminal.door_command("train").split(), *flags, *kept])
    values = {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in chosen)}
    content = {"name": "optuna", "best_value": best.value, "best_params": values, "member": best.user_attrs[MEMBER]}
    text = yaml.safe_dump({**content, "objective": objective, "command": command}, sort_keys=False, allow_unicode=True)
    write_text(folder / RESULTS, text)
    again = "started again, the search tries them once more"
    failed = f" ({total - len(done)} of {total} members failed; {again})" if len(done) < total else ""
    lines = [
        f"Best of {len(done)} results{failed}: member {best.user_attrs[MEMBER]}, {objective} {best.value:.4f}",
        *(f"    {item}" for item in chosen),
        "Train it anew and score the test part, which no choice has seen:",
        f"    {command}",
    ]
    return "\n".join(lines)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "sweep=search",
            found=f"Optuna is not installed ({error})",
            expected="the extra `search`",
            remedy="pip install strokelab[search]",
        ) from error
    optuna.logging.set_verbosity(logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna
