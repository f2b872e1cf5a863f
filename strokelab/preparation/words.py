"""Settings of a preparation as yaml brings them: names, three values, and the error where they are none."""

from __future__ import annotations

from typing import Any

from strokelab.errors import ConfigError


def names_of(given: Any) -> tuple[str, ...]:
    """Several names; yaml brings lists, and brackets are forgotten."""
    return (given,) if isinstance(given, str) else tuple(str(name) for name in given or ())


def three_of(name: str, values: Any, kind: type[int] | type[float]) -> tuple[Any, ...] | None:
    """Three values, for X, Y and Z; None where none are given.

    Raises:
        ConfigError: they are not three.
    """
    if values is None:
        return None
    try:
        numbers = tuple(None if value is None else kind(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3:
        raise wrong_setting(name, values, "three values, for X, Y and Z")
    return numbers


def wrong_setting(name: str, found: Any, expected: str) -> ConfigError:
    """The error of a setting of a preparation."""
    return ConfigError(f"preparation.{name}", found=repr(found), expected=expected, remedy="change it in the view")
