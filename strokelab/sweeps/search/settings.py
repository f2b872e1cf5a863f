"""The settings of a search, and whether they make an honest one. Knows Hydra's config; knows no Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strokelab import runs
from strokelab.errors import ConfigError
from strokelab.sweeps.sharing import AUTO, shares_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

_UNLIMITED = 4  # trials of a batch where the launcher trains all at once


@dataclass(frozen=True)
class SearchSettings:
    """The node ``hydra.sweeper``.

    Args:
        n_trials: how many with a result.
        direction: maximize or minimize.
        storage: SQLAlchemy's URL of the study.
        study_name: in the storage.
        sampler: node of a sampler of Optuna; its seed is the search's.
        params: setting -> values.
        batch: trials chosen at a time; auto: as many as the launcher trains at once.
        max_failure_rate: of a batch, above which the search ends.
    """

    n_trials: int
    direction: str
    storage: str
    study_name: str
    sampler: Mapping[str, Any]
    params: Mapping[str, Any]
    batch: int | str = AUTO
    max_failure_rate: float = 1.0


def check_search(config: DictConfig, settings: SearchSettings) -> None:
    """Whether the settings make an honest search, as far as can be said before anything is trained.

    Raises:
        ConfigError: members would be compared on test cases, nobody validates, or a number is out of range.
    """
    objective = str(config.get("objective"))
    if not objective.startswith("val/"):
        raise ConfigError(
            "objective",
            found=objective,
            expected="a number of the validation part: settings chosen on test cases say nothing about new ones",
            remedy="leave it at val/pooled_dice, or name another column of metrics.csv that begins with val/",
        )
    split = config.get("split") or {}
    if str(split.get("_target_", "")).endswith(".All") or split.get("val_fraction", 1) == 0:
        raise ConfigError(
            "split",
            found="no validation part to compare trials by",
            expected="a split with a validation part",
            remedy=runs.validation_remedy({"split": split}),
        )
    wrong = {
        "n_trials": not isinstance(settings.n_trials, int) or settings.n_trials < 1,
        "batch": settings.batch != AUTO and (not isinstance(settings.batch, int) or settings.batch < 1),
        "direction": settings.direction not in ("maximize", "minimize"),
        "max_failure_rate": not 0 <= settings.max_failure_rate <= 1,
    }
    for name in [name for name, is_wrong in wrong.items() if is_wrong]:
        raise ConfigError(
            f"hydra.sweeper.{name}",
            found=repr(getattr(settings, name)),
            expected={"direction": "maximize or minimize", "max_failure_rate": "0 to 1"}.get(name, "at least 1"),
            remedy="correct it; conf/hydra/sweeper/search.yaml shows the defaults",
        )


def batch_of(config: DictConfig, settings: SearchSettings) -> int:
    """How many trials are chosen at a time: as many as the launcher trains at once, so that none waits for a result."""
    from omegaconf import OmegaConf

    if settings.batch != AUTO:
        return int(settings.batch)
    launcher: Any = config.hydra.launcher
    if "at_once" not in launcher:
        return 1  # Hydra's basic launcher: one after the other
    if launcher.at_once is None:
        return _UNLIMITED
    trainer: Any = OmegaConf.to_container(config.trainer, resolve=False)
    return shares_of(trainer, at_once=launcher.at_once, gpus=launcher.get("gpus", AUTO)).at_once
