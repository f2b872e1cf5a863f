"""Rows: a test that makes the situation of a remedy, does what the remedy says, and sees the situation gone.

A row is a test function with ``@executes("strokelab/file.py:function")`` above it. ``Settings`` composes a command;
``said`` gives the error; ``told`` takes the words out of its remedy.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import cache

import pytest
from printed import OPTION, words
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.configuration import compose, plain
from strokelab.errors import StrokelabError


def executes(*places: str) -> Callable:
    """The remedies of these functions (``file:function``) are executed by the test underneath."""
    assert places
    return lambda test: test


def said(check: Callable, *arguments, **named) -> StrokelabError:
    """The error of a call that must fail."""
    with pytest.raises(StrokelabError) as caught:
        check(*arguments, **named)
    return caught.value


def warned(check: Callable, *arguments, **named) -> str:
    """The one warning of a call."""
    with pytest.warns(UserWarning, match=".") as caught:
        check(*arguments, **named)
    return str(caught[0].message)


def quiet(check: Callable, *arguments, **named):
    """A call without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return check(*arguments, **named)


def told(remedy: str) -> list[str]:
    """The settings of a remedy, as a shell hands them over."""
    return words(remedy)


def options(remedy: str) -> list[str]:
    """The options of a remedy."""
    return OPTION.findall(remedy)


def settings(*overrides: str, door: str = "train") -> dict:
    """A command's settings."""
    return copy.deepcopy(_composed(door, *overrides))


@cache
def _composed(door: str, *overrides: str) -> dict:
    return plain(compose(door, [*overrides, *(["run_dir=run"] if door == "train" else [])]))


def mended(check: Callable[[dict], object], base: Sequence[str], *chosen: str, door: str = "train") -> list[str]:
    """A check refuses a command, and takes it with what its remedy says.

    Args:
        check: of settings.
        base: the command.
        chosen: which of the remedy's settings are followed, where it leaves a choice; none: all.
    """
    remedy = said(check, settings(*base, door=door)).remedy
    found = told(remedy)
    assert set(chosen) <= set(found), remedy
    assert found, remedy
    check(settings(*base, *(chosen or found), door=door))
    return found


def strokelab(*typed: object, status: int = 0) -> str:
    """What a command prints; an error that it would print is raised."""
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, [str(word) for word in typed])
    if isinstance(done.exception, StrokelabError):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.output
