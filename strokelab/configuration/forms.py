"""What the objects of a config say of themselves, asked before any data are read: built on shapes alone.

A network may say its ``dimensions`` (2 or 3), ``divisors`` (what each axis of a sample must be a multiple of),
``shortest`` (the least length of each axis), ``least_samples`` (of a training batch in each process) and whether it
takes ``non_negative`` images alone; samplers and windows say their ``sample_shape``. What an object does not say is
unknown, and not checked. Axes are those of a sample: (rows, columns) of slices, (x, y, z) of patches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from strokelab.configuration.building import build_form
from strokelab.configuration.late_facts import DEFAULT_FACTS, MISSING, PLANNED, bind, open_facts

AXES: Mapping[int, str] = {2: "yx", 3: "xyz"}
"""Of the axes of a sample, by their number: slices are rows and columns."""
_PROBES = (1009, 1013)  # lengths that no setting has: a side that follows them is the volume's


@dataclass(frozen=True)
class Network:
    """What a network says; None: nothing.

    Args:
        dimensions: 2 or 3.
        divisors: of each axis of a sample.
        planned: whether a plan is still to decide what it divides by; ``divisors`` are then the least.
        non_negative: whether it refuses images below 0.
        shortest: the least length of each axis of a sample.
        least_samples: of a training batch in each process.
    """

    dimensions: int | None = None
    divisors: tuple[int, ...] | None = None
    planned: bool = False
    non_negative: bool = False
    shortest: tuple[int, ...] | None = None
    least_samples: int = 1

    def divisor(self, axis: str) -> int:
        """What a sample's side along x, y or z is divided by; 1 where that is unknown."""
        return _along(axis, self.divisors)

    def least(self, axis: str) -> int:
        """The least length of a sample along x, y or z; 1 where that is unknown."""
        return _along(axis, self.shortest)


@dataclass(frozen=True)
class Samples:
    """What a sampler gives to a network, or windows do.

    Args:
        setting: that says how long the sides are.
        sides: voxels along x, y, z; None: not known yet, or the case's.
        spans: the axes along which a sample is as long as the prepared volume.
    """

    setting: str
    sides: Mapping[str, int | None]
    spans: frozenset[str]

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.sides)

    @property
    def are_slices(self) -> bool:
        """Whether they are whole slices."""
        return self.dimensions == 2 and self.spans == set(self.sides)


def network_of(node: Mapping[str, Any] | None) -> Network:
    """What the network of a node ``model.network`` says; late facts may be open.

    Raises:
        StrokelabError: what the network itself says about its settings.
    """
    if not node or "_target_" not in node:
        return Network()
    facts, planned = dict(DEFAULT_FACTS), open_facts(node, "model.network") & set(PLANNED)
    if planned:
        from strokelab.planning.stages import stand_ins  # here: who only asks how a sweep stands loads no NumPy

        facts |= stand_ins({name: value for name, value in node.items() if name in PLANNED and value != MISSING})
    bound = bind(dict(node), facts, at="model.network", partly=True)
    return _network(json.dumps(bound, sort_keys=True, default=str), planned=bool(planned))


@lru_cache(maxsize=64)
def _network(node: str, *, planned: bool) -> Network:
    network = build_form(json.loads(node))
    dimensions: Any = getattr(network, "dimensions", None)
    return Network(
        dimensions if isinstance(dimensions, int) and dimensions in AXES else None,
        _lengths(getattr(network, "divisors", None)),
        planned,
        getattr(network, "non_negative", False) is True,
        _lengths(getattr(network, "shortest", None)),
        int(getattr(network, "least_samples", 1)),
    )


def _lengths(said: Any) -> tuple[int, ...] | None:
    """One number for each axis, as a network says it; None: nothing that can be used."""
    known = isinstance(said, (list, tuple)) and len(said) in AXES
    return tuple(int(length) for length in said) if known else None


def _along(axis: str, lengths: tuple[int, ...] | None) -> int:
    axes = AXES.get(len(lengths or ()), "")
    return lengths[axes.index(axis)] if lengths and axis in axes else 1


def view_of(node: Mapping[str, Any]) -> Any:
    """The view of a node, with stand-ins for what a plan will give; None where it cannot be built.

    Raises:
        StrokelabError: what the view itself says about its settings.
    """
    if "_target_" not in node:
        return None
    view = build_form(bind({**node, "augment": None}, DEFAULT_FACTS, at="view", partly=True))
    return view if all(hasattr(view, name) for name in ("preparation", "sampler", "windows")) else None


def augmentation_of(node: Mapping[str, Any]) -> Any:
    """The augmentation of a node ``view.augment``; None where there is none, or it cannot be built."""
    return build_form(bind(dict(node), DEFAULT_FACTS, at="view.augment", partly=True)) if "_target_" in node else None


def samples_of(view: Any, node: Mapping[str, Any], part: str) -> Samples | None:
    """What the sampler or the windows of a view give to a network; None: not known.

    Args:
        view: as ``view_of`` gives it.
        node: of the view, whose open facts are not known.
        part: ``sampler`` or ``windows``.
    """
    asked: Any = getattr(view, part, None)
    if not hasattr(asked, "sample_shape"):
        return None
    crop = view.preparation.crop or (None,) * 3
    known = [asked.sample_shape(tuple(side or probe for side in crop)) for probe in _PROBES]
    spanning = [asked.sample_shape((probe,) * 3) for probe in _PROBES]
    if None in known + spanning or len(known[0]) not in AXES:
        return None
    axes = AXES[len(known[0])]
    of_plan = bool(open_facts(node.get(part), f"view.{part}") & set(PLANNED))
    sides = {axis: one if one == other and not of_plan else None for axis, one, other in zip(axes, *known, strict=True)}
    spans = frozenset(axis for axis, one, other in zip(axes, *spanning, strict=True) if one != other)
    own = next((f".{name}" for name, value in vars(asked).items() if value == tuple(known[0])), "")
    setting = "view.preparation.crop" if spans else f"view.{part}{own}"
    return Samples(setting, dict(sorted(sides.items())), spans)
