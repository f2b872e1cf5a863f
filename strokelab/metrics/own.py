"""A user's own metrics: functions of two masks, called beside the twelve. Knows no yaml and no table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import ConfigError
from strokelab.metrics.case import score_row

OwnMetric = Callable[[NDArray[np.uint8], NDArray[np.uint8], tuple[float, float, float]], float]
"""``(prediction (X, Y, Z) 0/1, reference (X, Y, Z) 0/1, spacing in mm) -> number``; NaN leaves a case out of means."""


def check_names(own: Mapping[str, OwnMetric], where: str) -> None:
    """A metric's name becomes a column of the case table.

    Args:
        own: by name.
        where: the setting they come from.

    Raises:
        ConfigError: a name is taken or cannot be a column, or what it names cannot be called.
    """
    nothing = np.zeros((1, 1, 1), np.uint8)
    taken = {*score_row(nothing, nothing, 1.0, "sunet"), "lesion_ml", "mdsc", "mdsc_threshold"}
    taken |= {"lesion_outside", "micro_dice", "cases"}
    for name, function in own.items():
        if not str(name).isidentifier() or name in taken or str(name).startswith("failed"):
            raise ConfigError(
                f"{where}.{name}",
                found="a name that the case table has already" if name in taken else "a name with other characters",
                expected="a new name of letters, digits and _",
                remedy="rename the metric",
            )
        if not callable(function):
            raise ConfigError(
                f"{where}.{name}",
                found=f"{function!r}, a value",
                expected="a function of (prediction, reference, spacing_mm)",
                remedy="name it by _target_, and add _partial_: true, so that it is called for each case",
            )


def score_own(
    own: Mapping[str, OwnMetric],
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
) -> dict[str, float]:
    """The value of every own metric for one case.

    Raises:
        ConfigError: a metric raised an error or returned no number.
    """
    values = {}
    for name, function in own.items():
        try:
            values[name] = float(function(prediction, reference, spacing_mm))
        except Exception as error:  # a user's function may fail in any way
            raise ConfigError(
                f"metrics.{name}",
                found=f"{type(error).__name__}: {error}",
                expected="a number for (prediction, reference, spacing_mm)",
                remedy=f"correct the function, or leave metrics.{name} out",
            ) from error
    return values
