"""What a search may choose: settings with Hydra's ``interval``, ``range`` and ``choice``, as questions to a trial.

Knows Hydra's grammar and the three questions that every version of Optuna answers; imports neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strokelab.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override
    from optuna.trial import Trial

_DIGITS = 6  # of a number that was drawn: a command that can be read, and typed


@dataclass(frozen=True)
class Dimension:
    """One setting that a search chooses.

    Args:
        key: of the setting, or a group.
        choices: its values as on the command line; empty: a number.
        low: the smallest number.
        high: the largest.
        step: between numbers; None: any number between them.
        whole: integers only.
        log: drawn evenly over magnitudes.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    whole: bool = False
    log: bool = False

    def suggest(self, trial: Trial) -> str:
        """Let a trial choose; the override that says so."""
        if self.choices:
            value: object = trial.suggest_categorical(self.key, self.choices)
        elif self.whole:
            value = trial.suggest_int(self.key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        else:
            drawn = trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log)
            value = f"{drawn:.{_DIGITS}g}"
        return f"{self.key}={value}"


@dataclass(frozen=True)
class Space:
    """What is fixed and what is chosen, in the order of the command line after that of the yaml."""

    fixed: tuple[str, ...]
    dimensions: tuple[Dimension, ...]


def space_of(params: Mapping[str, Any], arguments: Sequence[str], loader: ConfigLoader | None = None) -> Space:
    """The space of a search.

    Args:
        params: setting -> values, from yaml.
        arguments: of the command line; they replace what yaml says of the same setting.
        loader: finds the options of a group for ``glob``.

    Raises:
        ConfigError: values that cannot be read, or nothing to choose.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parser = OverridesParser.create(config_loader=loader)
        parsed = parser.parse_overrides([*(f"{key}={value}" for key, value in params.items()), *arguments])
        chosen: dict[str, Dimension | str] = {}
        for override in parsed:
            key = override.get_key_element()
            chosen.pop(key, None)
            chosen[key] = _dimension(override) if override.is_sweep_override() else str(override.input_line)
    except (HydraException, ValueError) as error:
        raise ConfigError(
            "hydra.sweeper.params",
            found=" ".join(str(error).split()),
            expected="interval(0.1,0.9), tag(log,interval(0.0001,0.1)), int(interval(4,64)), range(3,6), choice(8,16)",
            remedy="correct them in conf/sweep/search.yaml or on the command line",
        ) from error
    dimensions = tuple(one for one in chosen.values() if isinstance(one, Dimension))
    if not dimensions:
        raise ConfigError(
            "hydra.sweeper.params",
            found="nothing to choose: every setting has one value",
            expected="at least one setting with an interval, a range or a choice",
            remedy="leave out what fixes model.optimizer.lr, or name another: 'data.batch_size=choice(8,16,32)'",
        )
    return Space(tuple(one for one in chosen.values() if isinstance(one, str)), dimensions)


def _dimension(override: Override) -> Dimension:
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep

    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        if value.start is None or value.end is None or not value.start < value.end:
            raise ValueError(f"{override.input_line}: an interval goes from a smaller to a larger number")
        log = "log" in value.tags
        if log and value.start <= 0:
            raise ValueError(f"{override.input_line}: a logarithm needs numbers above 0")
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        return Dimension(key, low=value.start, high=value.end, whole=whole, log=log)
    if isinstance(value, RangeSweep) and not value.shuffle:
        numbers = [float(number) for number in value.range()]
        if not numbers:
            raise ValueError(f"{override.input_line}: an empty range")
        whole = all(number.is_integer() for number in (*numbers, float(value.step)))
        return Dimension(key, low=min(numbers), high=max(numbers), step=abs(value.step), whole=whole)
    options = tuple(override.sweep_string_iterator())
    if not options:
        raise ValueError(f"{override.input_line}: no options")
    return Dimension(key, choices=options)
