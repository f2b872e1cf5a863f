"""What a training was asked for, as one digest: equal digests ask for equal numbers.

Knows which settings say only where and how a training runs. Reads no data and imports no torch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from strokelab.configuration import Settings
from strokelab.files import digest
from strokelab.runs.checkpoints import relocate

# Settings that name a place; a run remembers them in full, so that it can be resumed from anywhere.
PLACES = (("data", "root"), ("data", "store"), ("data.pseudo", "root"), ("split", "path"))
# Settings that change where a training runs and what it tells, and no number of its result.
_IMMATERIAL = (
    "resume",
    "run_dir",
    "allow",
    "logger",
    "allocator",
    "data.store",
    "data.workers",
    "data.prepare_workers",
    "callbacks.progress",
    "callbacks.resume_point",
)
_HERE = "<run folder>"


def with_full_places(settings: Settings) -> Settings:
    """A copy whose places (``PLACES``) are absolute paths."""
    settings = copy.deepcopy(settings)
    for section, key in PLACES:
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
    for name in _IMMATERIAL:
        *parents, last = name.split(".")
        node: Any = kept
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return kept


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node
