"""The study of a search: opened where it was left, and what it found. Knows Optuna; starts nothing."""

from __future__ import annotations

import logging
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from strokelab.errors import ConfigError, RunError
from strokelab.files import write_text
from strokelab.sweeps.search.settings import SearchSettings
from strokelab.sweeps.search.space import Space

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

RESULTS = "optimization_results.yaml"  # Hydra's own sweepers call it so
# What the settings that were found are trained anew without: an ordinary run returns and scores the test part.
_OF_THE_SEARCH = ("sweep", "objective", "score_test")


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


def finished(study: Study) -> list[FrozenTrial]:
    """The trials with a result."""
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def outcome(
    study: Study, space: Space, folder: Path, *, settings: SearchSettings, objective: str, flags: Sequence[str] = ()
) -> str:
    """What was found, in words, and the command that trains it anew; written into the folder as well.

    Args:
        study: that ended.
        space: of the search.
        folder: of the sweep.
        settings: of the search.
        objective: what was compared.
        flags: Hydra's own for the command, such as ``--config-dir``.

    Raises:
        RunError: no trial has a result.
    """
    done, total = finished(study), len(study.trials)
    if not done:
        raise RunError(
            folder,
            found=f"no result of {total} trials",
            expected=f"trials that finish and have {objective} in their metrics.csv",
            remedy="see the lines above and the logs of the trials, mend it, and start the search again in its folder",
        )
    best = study.best_trial
    overrides: list[str] = best.user_attrs["overrides"]
    kept = [item for item in overrides if item.lstrip("+~").partition("=")[0] not in _OF_THE_SEARCH]
    chosen = overrides[len(space.fixed) :]
    command = shlex.join(["python", "train.py", *flags, *kept])
    content = {"name": "optuna", "best_value": best.value, "best_params": best.params, "trial": best.number}
    text = yaml.safe_dump({**content, "objective": objective, "command": command}, sort_keys=False, allow_unicode=True)
    write_text(folder / RESULTS, text)
    short = "" if len(done) >= settings.n_trials else f" ({settings.n_trials - len(done)} are missing: start it again)"
    lines = [
        f"Best of {len(done)} trials with a result{short}: trial {best.number}, {objective} {best.value:.4f}",
        *(f"    {item}" for item in chosen),
        "Train it anew and score the test part, which no trial has seen:",
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
