"""What a training was asked for, as one digest: equal digests ask for equal numbers.

Knows which settings say only where and how a training runs. Reads no data; imports no torch unless a training starts
from another run's weights, which count by their content.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, cast

from strokelab.configuration import Settings
from strokelab.files import digest
from strokelab.runs.checkpoints import relocate
from strokelab.runs.init_weights import with_init_weights

# Settings that name a place; a run remembers them in full, so that it can be resumed from anywhere.
PLACES = (("data", "root"), ("data", "store"), ("data.pseudo", "root"), ("split", "path"))
# Settings that change where a training runs and what it tells, and no number of its result.
_IMMATERIAL = (
    "resume",
    "run_dir",
    "allow",
    "logger",
    "allocator",
    "protocol",  # the name of settings that are all there
    "data.store",
    "data.val_fraction",  # the split has it
    "data.curves",
    "data.workers",
    "data.prepare_workers",
    "callbacks.progress",
    "callbacks.resume_point",
)
_MIRROR_OFF = {"_target_": "strokelab.preparation.mirror.Mirror", "enabled": False, "reference": None, "dof": 12}
# Settings that older runs lack; at this value they change nothing.
_ADDED: Mapping[str, Any] = {
    "data.mixing": None,
    "data.options.values": None,
    "data.sources": {"synthetic": None},
    "init_weights": None,
    "model.network.mirrored": True,
    "stages": {},
    "split.contiguous": False,
    "split.stratify": "none",
    "view.preparation.mirror": _MIRROR_OFF,
    "view.preparation.register": None,
    "view.preparation.skull": "auto",
}
_SELECTING = "held_out_selects"  # contract.HELD_OUT_SELECTS; its module brings NumPy
_HERE = "<run folder>"
# Settings whose defaults changed, with what they were before: trainings begun then go on as they were (``as_before``).
_FORMER = (("split.val_fraction", 0.1), ("trainer.precision", "auto"))
# What says one of them in other words, on the command line.
_SAYS = {"data.val_fraction": "split.val_fraction"}


def with_full_places(settings: Settings) -> Settings:
    """A copy whose places (``PLACES``, and all roots in ``data.sources``) are absolute paths."""
    settings = copy.deepcopy(settings)
    data = settings.get("data")
    sources = (data.get("sources") if isinstance(data, dict) else None) or {}
    below = [f"data.sources.{name}{node}" for name in sources for node in ("", ".tissues", ".lesions")]
    for section, key in (*PLACES, *((place, "root") for place in below)):
        node: Any = settings
        for part in section.split("."):
            node = (node.get(part) or {}) if isinstance(node, dict) else {}
        if isinstance(node, dict) and isinstance(node.get(key), str) and node[key] != "???":
            node[key] = str(Path(node[key]).expanduser().resolve())
    return settings


def settings_digest(settings: Settings) -> str:
    """The digest of what a training is asked for; the same wherever its run folder lies.

    Args:
        settings: resolved, as the command gives them: late facts still ``???``.

    Returns:
        32 hexadecimal digits.
    """
    return digest(_material(settings))


@dataclass(frozen=True)
class Before:
    """What a command meant to an earlier version.

    Args:
        settings: as that version composed them.
        taken_back: settings whose defaults are others today, with what they were.
        changed: the same in words.
    """

    settings: Settings
    taken_back: tuple[tuple[str, Any], ...]
    changed: tuple[str, ...]

    def __str__(self) -> str:
        return f"Begun before defaults changed, and kept as it was begun: {', '.join(self.changed)}"


def as_before(settings: Settings, begun: str, overrides: Sequence[str]) -> Before | None:
    """The same command as an earlier version understood it, known by the digest that was left then.

    Only defaults are taken back: a setting that the command names was named then, too, or it is another training.

    Args:
        settings: resolved, as for ``settings_digest``.
        begun: the digest that a run folder or the record of a sweep holds.
        overrides: of the command.

    Returns:
        None: the digest is of today's settings, or of another training.
    """
    for count in range(1, len(_FORMER) + 1):
        for former in combinations(_FORMER, count):
            before = taken_back(settings, former, overrides)
            if len(before.taken_back) == count and settings_digest(before.settings) == begun:
                return before
    return None


def taken_back(settings: Settings, former: Iterable[tuple[str, Any]], overrides: Sequence[str]) -> Before:
    """Settings with these values, where the command does not name them and they are settings of it."""
    typed = {item.lstrip("+~").partition("=")[0] for item in overrides}
    typed |= {_SAYS[name] for name in typed & set(_SAYS)}
    today = dict(_leaves(settings))
    taken = tuple((key, was) for key, was in former if key not in typed and today.get(key, was) != was)
    older = copy.deepcopy(settings)
    for key, was in taken:
        section, _, name = key.partition(".")
        older[section][name] = was
    return Before(older, taken, tuple(f"{key}={was} (now {today[key]})" for key, was in taken))


def differences(asked: Settings, recorded: Settings) -> list[str]:
    """Which settings of a command are others in a run's ``config.yaml``, as ``key=value, there value``.

    Args:
        asked: resolved, as for ``settings_digest``; what is ``???`` or ``auto`` here was filled in there.
        recorded: of the run.
    """
    there = dict(_leaves(_material(recorded)))
    here = dict(_leaves(_material(asked)))
    late = {key for key, value in here.items() if value in ("???", "auto")}
    changed = [key for key in here if key not in late and here[key] != there.get(key)]
    return [f"{key}={here[key]}, there {there.get(key, 'nothing')}" for key in changed]


def _material(settings: Settings) -> Settings:
    folder = str(Path(str(settings["run_dir"])).expanduser().resolve())
    # The command may name the run folder by another path than its resolved one.
    found = relocate(relocate(settings, str(settings["run_dir"]), folder), folder, _HERE)
    kept = with_full_places(cast(Settings, found))
    curves = (kept.get("data") or {}).get("curves")
    for name in (*_IMMATERIAL, *_ADDED):
        *parents, last = name.split(".")
        node: Any = kept
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict) and (name not in _ADDED or node.get(last) == _ADDED[name]):
            node.pop(last, None)
    if curves == _SELECTING:  # the other words change curves alone
        kept["data"]["curves"] = curves
    found = with_init_weights(kept).get("init_weights")
    if isinstance(found, dict):  # not where they lie: what they are
        kept["init_weights"] = found.get("weights")
    return kept


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node
