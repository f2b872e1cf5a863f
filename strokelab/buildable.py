"""What an untrusted config may build says so where it is defined: ``@buildable``. Imports nothing of ours.

The mark is the object's own: a subclass, a wrapper and another name for the same object do not have it. Who asks for it
is ``configuration.allowlist``.

How large what is built may become:

- section ``model``: its weights are counted on shapes alone and held against the checkpoint, or against the memory, and
  no number in it is larger than a width of a network (``configuration.size_limit``); nothing to say here.
- samples and windows: voxels that go through a network at once, asked of the built objects by their ``sample_shape``
  and ``batch_size`` (``configuration.size_limit.check_voxels``); nothing to say here.
- anything else that takes memory by a number (an epoch that is listed, a box that is read around a patch) names that
  setting and its limits here, ``most`` and ``least``; a class may as well refuse such a number itself, always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Thing = TypeVar("Thing", bound=Callable[..., Any])
_MARK = "_buildable"


@dataclass(frozen=True)
class Leave:
    """That an untrusted config may build an object.

    Args:
        thing: the object itself, so that a copied mark is none.
        sections: of a config that may build it.
        training: sections that may build it to continue a training.
        most: the largest number that each of these settings may hold, at any depth of it.
        least: the smallest one.
    """

    thing: object
    sections: tuple[str, ...]
    training: tuple[str, ...] = ()
    most: Mapping[str, float] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)

    def serves(self, section: str | None, *, training: bool) -> bool:
        """Whether a section may build it; None: whether any may."""
        sections = (*self.sections, *(self.training if training else ()))
        return bool(sections) if section is None else section in sections


def buildable(
    *sections: str,
    training: str | tuple[str, ...] = (),
    most: Mapping[str, float] | None = None,
    least: Mapping[str, float] | None = None,
) -> Callable[[Thing], Thing]:
    """Mark a class or function: an untrusted config may build it; see ``Leave``."""

    def mark(thing: Thing) -> Thing:
        besides = (training,) if isinstance(training, str) else training
        setattr(thing, _MARK, Leave(thing, sections, besides, dict(most or {}), dict(least or {})))
        return thing

    return mark


def leave_of(thing: Any) -> Leave | None:
    """The mark that an object bears itself; None: it has none, or another object's."""
    leave = getattr(thing, "__dict__", {}).get(_MARK)
    return leave if isinstance(leave, Leave) and leave.thing is thing else None
