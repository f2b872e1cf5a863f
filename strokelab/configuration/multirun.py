"""Which trainings a sweep asked for, from the ``multirun.yaml`` that Hydra leaves in its folder.

The file may be untrusted: it is read as plain YAML, overrides are parsed and never applied, and only plain
references to other values are followed; no resolver is called. Knows no run folder.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from strokelab.configuration.composition import conf_folder
from strokelab.configuration.foreign_yaml import read_foreign_yaml
from strokelab.errors import RunError

MULTIRUN = "multirun.yaml"

_MOST = 10_000  # jobs; more are a mistake or malice
_MOST_STEPS, _MOST_LETTERS = 1_000, 10_000  # references followed for a file's values, length of one; likewise
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Job:
    """One training a sweep asked for."""

    overrides: Mapping[str, str]  # as on the command line, key or group -> value; in Hydra's order
    folder: str | None  # below the sweep's folder; None: its pattern holds more than plain references

    @property
    def command(self) -> str:
        """The overrides as one line."""
        return " ".join(f"{key}={value}" for key, value in self.overrides.items())


@dataclass(frozen=True)
class Multirun:
    """All trainings of a sweep, and which settings differ among them."""

    jobs: tuple[Job, ...]
    swept: tuple[str, ...]  # keys or groups with several values
    reason: str = ""  # why the jobs are not known; "" = they are


def read_multirun(folder: Path) -> Multirun:
    """The jobs of the sweep whose folder this is.

    Raises:
        RunError: there is no ``multirun.yaml``, or it is none that Hydra wrote.
    """
    content = _content(folder)
    hydra = content["hydra"]
    if not str(hydra["sweeper"].get("_target_", "")).endswith(".BasicSweeper"):
        return Multirun((), (), f"its sweeper {hydra['sweeper'].get('_target_')} chooses as it goes")
    try:
        values = _values(content, hydra)
    except _UnknownError as error:
        return Multirun((), (), str(error))
    swept = tuple(key for key, options in values.items() if len(options) > 1)
    jobs = []
    for number, chosen in enumerate(itertools.product(*values.values())):
        overrides = dict(zip(values, (text for text, _ in chosen), strict=True))
        plain = {key.lstrip("+"): value for key, (_, value) in zip(values, chosen, strict=True)}
        jobs.append(Job(overrides, _folder_of(content, plain, overrides, number)))
    return Multirun(tuple(jobs), swept)


class _UnknownError(Exception):
    """Something that the file alone does not say."""


def _content(folder: Path) -> dict[str, Any]:
    path = folder / MULTIRUN
    if not path.is_file():
        raise RunError(
            folder,
            found=f"no {MULTIRUN}" if folder.is_dir() else "no such folder",
            expected="the folder of a sweep, as train.py -m leaves it",
            remedy="name the folder above the members, or the runs themselves with runs=[...]",
        )
    content = read_foreign_yaml(path, expected="what Hydra writes", remedy="copy the sweep again")
    hydra = content.get("hydra") if isinstance(content, dict) else None
    sections = {name: hydra.get(name) if isinstance(hydra, dict) else None for name in ("sweep", "sweeper")}
    missing = [name for name, section in sections.items() if not isinstance(section, dict)]
    if missing:
        raise RunError(
            path, found=f"no hydra.{missing[0]}", expected="what Hydra writes", remedy="copy the sweep again"
        )
    return dict(content)


def _values(content: Mapping[str, Any], hydra: Mapping[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """Key or group -> its values, each as text and plain; the order is that in which Hydra multiplies them out."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Transformer
    from hydra.errors import HydraException

    given = hydra["sweeper"].get("params") or {}
    task = (hydra.get("overrides") or {}).get("task") or []
    if not isinstance(given, dict) or not isinstance(task, list):
        raise _UnknownError("its settings are none that Hydra writes")
    known = _References([content])
    lines = [f"{key}={known.follow(value, ('hydra', 'sweeper', 'params', str(key)))}" for key, value in given.items()]
    values: dict[str, list[tuple[str, Any]]] = {}
    try:
        for override in OverridesParser.create().parse_overrides([*lines, *map(str, task)]):
            key = override.get_key_element()
            if override.is_sweep_override():
                # One iterator per view of the values: a shuffled range must not be shuffled twice.
                elements = list(itertools.islice(override.sweep_iterator(), _MOST + 1))
                values[key] = [(str(Transformer.str(element)), _plain(element)) for element in elements]
            else:
                values[key] = [(override.get_value_element_as_str(), override.value())]
    except HydraException as error:  # also glob(*), which needs the config folder of that day, and intervals
        raise _UnknownError(f"its settings cannot be read: {(str(error).splitlines() or [''])[0]}") from error
    jobs = 1
    for options in values.values():
        jobs *= len(options)
    if jobs > _MOST:
        raise _UnknownError(f"it asks for more than {_MOST} trainings")
    return values


def _plain(element: Any) -> Any:
    return getattr(element, "text", element)  # the parser keeps quoted strings apart


def _folder_of(
    content: Mapping[str, Any], plain: Mapping[str, Any], overrides: Mapping[str, str], number: int
) -> str | None:
    """The folder of a job below the sweep's, by the pattern ``hydra.sweep.subdir``."""
    hydra = content["hydra"]
    choices = (hydra.get("runtime") or {}).get("choices") or {}
    groups = {key: value for key, value in plain.items() if key in choices or (conf_folder() / key).is_dir()}
    own = {
        "job": {"num": number, "override_dirname": ",".join(sorted(f"{k}={v}" for k, v in overrides.items()))},
        "runtime": {"choices": groups},
    }
    layers = [content, *_option_files({**choices, **groups}), _nested(plain, groups), {"hydra": own}]
    try:
        text = str(_References(layers).follow(hydra["sweep"].get("subdir"), ("hydra", "sweep", "subdir")))
    except _UnknownError:
        return None
    path = PurePosixPath(text)
    return None if path.is_absolute() or ".." in path.parts or text in ("", ".", "None") else str(path)


def _option_files(choices: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Our own option files that set values outside their group (an ablation's ``name``), later ones win."""
    for group, choice in reversed(list(choices.items())):  # Hydra lists the last of the defaults first
        if _NAME.fullmatch(str(group)) and _NAME.fullmatch(str(choice)):
            path = conf_folder() / str(group) / f"{choice}.yaml"
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            if text.lstrip().startswith("# @package _global_"):
                yield {
                    key: value
                    for key, value in (yaml.safe_load(text) or {}).items()
                    if key not in ("defaults", "hydra")
                }


def _nested(plain: Mapping[str, Any], groups: Mapping[str, Any]) -> dict[str, Any]:
    """``{"split.fold": 3}`` as ``{"split": {"fold": 3}}``; groups are no values."""
    tree: dict[str, Any] = {}
    for key, value in plain.items():
        *parents, last = key.split(".")
        node: Any = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                break
        else:
            if key not in groups:
                node[last] = value
    return tree


class _References:
    """Follows ``${a.b}``, ``${.sibling}`` and ``${hydra:a.b}`` through layers of plain data; calls nothing."""

    def __init__(self, layers: Sequence[Mapping[str, Any]]) -> None:
        self.layers = layers
        self._steps = 0

    def follow(self, value: Any, place: tuple[str, ...], depth: int = 0) -> Any:
        """A value with its references replaced; ``place`` is where it stands.

        Raises:
            _UnknownError: a reference leads nowhere, in a circle, or calls a resolver.
        """
        if not isinstance(value, str) or "${" not in value:
            return value
        self._steps += 1
        if depth > 10 or self._steps > _MOST_STEPS or len(value) > _MOST_LETTERS:
            raise _UnknownError(f"{value[:80]!r} refers to itself, or to too much")
        whole = _REFERENCE.fullmatch(value)
        if whole:
            return self._at(whole[1].strip(), place, depth)
        text = _REFERENCE.sub(lambda match: str(self._at(match[1].strip(), place, depth))[:_MOST_LETTERS], value)
        return text if text == value else self.follow(text, place, depth + 1)

    def _at(self, reference: str, place: tuple[str, ...], depth: int) -> Any:
        resolver, colon, rest = reference.partition(":")
        if colon and resolver != "hydra":
            raise _UnknownError(f"${{{reference}}} is not a plain reference")
        dots = len(reference) - len(reference.lstrip("."))
        path = tuple((f"hydra.{rest}" if colon else reference[dots:]).split("."))
        path = (*place[: len(place) - dots], *path) if dots else path
        for layer in reversed(self.layers):
            node: Any = layer
            for part in path:
                node = node.get(part, _NOTHING) if isinstance(node, Mapping) else _NOTHING
            if node is not _NOTHING and node != "???":
                return self.follow(node, path, depth + 1)
        raise _UnknownError(f"${{{reference}}} has no value")


_NOTHING = object()
