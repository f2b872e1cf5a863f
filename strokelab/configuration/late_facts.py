"""Late facts: settings that are ``???`` until data or a plan give them, and the places that each of them may fill.

A fact is addressed by the full path of a setting, never by the name of its last key: the argument ``patch`` of an own
network is not the patch of the plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from strokelab.configuration.composition import Settings
from strokelab.errors import ConfigError

MISSING = "???"
LENGTHS = ("total_iters", "total_steps", "T_max", "steps_per_epoch")
PLACES: Mapping[str, tuple[str, ...]] = {
    # Of the data.
    "in_channels": ("model.**",),
    "n_sites": ("model.**",),
    "plane": ("model.**",),
    # Of the plan (`strokelab.planning`).
    "patch": ("view.sampler", "view.windows.**"),
    "spacing": ("view.preparation",),
    "batch_size": ("data",),
    "normalize": ("view.preparation", "view.augment.**"),
    "widths": ("model.network.**",),
    "kernels": ("model.network.**",),
    "strides": ("model.network.**",),
    # Of the length of the training (`training.length`).
    **dict.fromkeys(LENGTHS, ("model.scheduler.**",)),
}
"""Fact -> the nodes whose key of that name it fills. ``model.network.**`` is the node and all that is inside it, so
that a network inside a wrapper (``model.network.trunk.in_channels``) is given its facts as well."""
PLANNED = ("patch", "spacing", "batch_size", "normalize", "widths", "kernels", "strides")
"""What the planner decides from a cohort's geometry; the others are known once the cohort is read."""
# Facts of the default cohort (data=phantom, the grid of ATLAS) for models built by hand.
DEFAULT_FACTS: Mapping[str, Any] = {
    **{"in_channels": 1, "n_sites": 8, "plane": (224, 192)},
    **{"patch": (128, 128, 128), "spacing": (1.0, 1.0, 1.0), "batch_size": 2, "normalize": "zscore_volume"},
    "widths": (32, 64, 128, 256, 320, 320),
    "kernels": ((3, 3, 3),) * 6,
    "strides": ((1, 1, 1), *((2, 2, 2),) * 5),
    **dict.fromkeys(LENGTHS, 1000),  # any number: a model built by hand has no training
}
_STAGE = re.compile(r"^stages\.[^.]+\.")  # what stands below a stage's name counts as what stands behind it


def fact_of(path: str) -> str | None:
    """The fact that a ``???`` at this place stands for, e.g. ``patch`` of ``view.sampler.patch``; None: of none.

    Args:
        path: in full, from the top of the settings; below ``stages.<name>.`` the path after it.
    """
    node, _, name = _STAGE.sub("", path).rpartition(".")
    return name if any(_covers(place, node) for place in PLACES.get(name, ())) else None


def bind(settings: Settings, facts: Mapping[str, Any], *, at: str = "", partly: bool = False) -> Settings:
    """A copy in which every ``???`` is replaced by the fact of its place (``PLACES``).

    Args:
        settings: plain data.
        facts: by name.
        at: where in a whole config the settings stand, e.g. ``model``; empty: they are one.
        partly: leave open what has no fact yet.

    Raises:
        ConfigError: a ``???`` is left for which there is no fact, or whose fact is None.
    """
    missing: list[str] = []

    def fill(node: Any, path: str) -> Any:
        if isinstance(node, Mapping):
            return {key: fill(value, f"{path}.{key}" if path else str(key)) for key, value in node.items()}
        if isinstance(node, list):
            return [fill(value, f"{path}[{index}]") for index, value in enumerate(node)]
        if node == MISSING:
            fact = facts.get(fact_of(path) or "")
            if fact is None:
                missing.append(path)
                return node
            return _plain(fact)
        return node

    filled = cast(Settings, fill(settings, at))
    if missing and not partly:
        raise _without_value(missing, facts)
    return filled


def _without_value(missing: Sequence[str], facts: Mapping[str, Any]) -> ConfigError:
    """Settings that neither the command nor the data give; all of them at once."""
    plannable = any(fact_of(path) in PLANNED for path in missing)
    planned = ", or let the cohort's geometry decide: '++planner={_target_:strokelab.planning.Planner}'"
    files = sorted({file for path in missing if (file := _file_of(path))})
    explained = f"; what each takes: {', '.join(files)}, with an example in docs/own_parts.md" if files else ""
    return ConfigError(
        ", ".join(missing),
        found="no value",
        expected="a value on the command line, or one that the data give",
        remedy=f"add {' '.join(f'{path}=...' for path in missing)} to the command{planned if plannable else ''}"
        f"{explained}; facts known from the data: {', '.join(sorted(facts)) or 'none'}",
    )


def _file_of(path: str) -> str:
    """The file of strokelab's that the section of a setting is from, e.g. conf/view/nnunet.yaml; "": not known."""
    from hydra.core.hydra_config import HydraConfig

    from strokelab.configuration.composition import conf_folder

    section = _STAGE.sub("", path).partition(".")[0]
    option = HydraConfig.get().runtime.choices.get(section) if HydraConfig.initialized() else None
    file = f"{section}/{option}.yaml"
    return f"conf/{file}" if option and (conf_folder() / file).is_file() else ""


def open_facts(settings: Any, at: str) -> set[str]:
    """The facts that are still ``???`` in settings which stand at a place of a config."""
    if isinstance(settings, Mapping):
        return {fact for key, value in settings.items() for fact in open_facts(value, f"{at}.{key}")}
    if isinstance(settings, list):
        return {fact for index, value in enumerate(settings) for fact in open_facts(value, f"{at}[{index}]")}
    fact = fact_of(at) if settings == MISSING else None
    return set() if fact is None else {fact}


def given_facts(settings: Settings) -> dict[str, Any]:
    """The planned facts that have a value already, by name: of the first of their places where one stands."""
    found: dict[str, Any] = {}
    for name in PLANNED:
        for place in PLACES[name]:
            node: Any = settings
            for key in place.removesuffix(".**").split("."):
                node = node.get(key) if isinstance(node, Mapping) else None
            if isinstance(node, Mapping) and node.get(name, MISSING) != MISSING:
                found.setdefault(name, node[name])
    return found


def _covers(place: str, node: str) -> bool:
    inside = place.removesuffix(".**")
    return node == inside or (place != inside and node.startswith((f"{inside}.", f"{inside}[")))


def _plain(fact: Any) -> Any:
    """A fact as a yaml file holds it: lists for tuples."""
    return [_plain(item) for item in fact] if isinstance(fact, tuple) else fact
