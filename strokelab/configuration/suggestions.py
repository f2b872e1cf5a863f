"""What a misspelt command probably meant. Composes again, after Hydra refused; changes nothing."""

from __future__ import annotations

import difflib
import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from strokelab.command_words import quoted, word
from strokelab.configuration.arguments import parameters
from strokelab.configuration.composition import compose, conf_folder
from strokelab.errors import ConfigError

# What other programs call our settings.
_CALLED = {
    **{"epochs": "max_epochs", "learning_rate": "lr", "wd": "weight_decay", "gpus": "devices", "bs": "batch_size"},
    **{"num_workers": "workers", "dir": "root", "path": "root", "folder": "root", "output_dir": "run_dir"},
}
_SECTIONS = ("model", "data", "trainer", "split", "view", "postprocess", "callbacks", "logger", "planner")
_MOST = 4  # candidates tried for an override: each is composed


def exit_with_suggestions(config_name: str, stop: SystemExit) -> None:
    """Print what the command line probably meant, where a door ended with an error; then end as it did.

    Args:
        config_name: the door's config, ``"train"`` or ``"evaluate"``.
        stop: how the door ended.

    Raises:
        SystemExit: always.
    """
    if stop.code == 1:
        overrides, folder = _split(sys.argv[1:])
        for line in suggestions(config_name, overrides, folder):
            print(line, file=sys.stderr)
    raise stop


def _split(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
    """Settings and sweeps, and the folder of the user's own yaml files."""
    overrides: list[str] = []
    folder = None
    words = iter(arguments)
    for item in words:
        flag, _, value = item.partition("=")
        if flag in ("--config-dir", "-cd"):
            folder = Path(value or next(words, "."))
        elif not item.startswith("-"):
            overrides.append(item)
    return overrides, folder


def suggestions(config_name: str, overrides: Sequence[str], folder: Path | None = None) -> list[str]:
    """One line per override whose key or option does not exist but resembles one that does; each of them composes.

    Of a run that goes on there are none: its settings are not those of ``conf/``.

    Args:
        config_name: of the door.
        overrides: of the command line.
        folder: of the user's own yaml files (``--config-dir``); None: there is none.
    """
    if any(item.startswith("resume=") and item != "resume=auto" for item in overrides):
        return []
    if folder is not None and not folder.is_dir():  # Hydra has said so
        return []
    groups = _groups(conf_folder())
    own: list[str] = []
    if folder is not None:
        own = [f"hydra.searchpath=[{quoted(f'file://{folder.resolve()}')}]"]
        groups |= {name: [*groups.get(name, ()), *options] for name, options in _groups(folder).items()}
    parts = {item: _parts(item) for item in overrides}
    choices = own + [item for item, (_, key, value) in parts.items() if value[1:] in groups.get(key, ())]
    tree = _composed(config_name, choices, own)
    lines = []
    for item in overrides:
        sign, key, value = parts[item]
        if key.startswith("hydra") or not value:
            continue
        if not sign and "_target_" in value and (whole := _replaced(config_name, choices, key, value)):
            lines.append(f"{item}: to replace the whole section: {whole}")
            continue
        if key in groups:
            good = all(option in groups[key] for option in value[1:].strip("[]").split(","))
            found = iter(()) if good else _options(key, value[1:], groups)
        elif (sign == "" and key in _keys(tree)) or (sign and _composes(config_name, [*choices, item])):
            continue
        else:
            near_groups = difflib.get_close_matches(key, groups, n=_MOST, cutoff=0.6)
            choices_meant = (f"{group}{value}" for group in near_groups if value[1:] in groups[group])
            found = itertools.chain(choices_meant, _paths(sign, key, value, tree))
        near = next((each for each in itertools.islice(found, _MOST) if _composes(config_name, [*choices, each])), None)
        if near:
            lines.append(f"{item}: did you mean {word(near)}?")
        elif key in groups and not good and not own and re.fullmatch(r"=[\w.-]+", value):
            lines.append(f"{item}: a file of your own is found with --config-dir DIR, as DIR/{key}/{value[1:]}.yaml")
    return lines


def _groups(root: Path) -> dict[str, list[str]]:
    """The options of each folder below a tree of yaml files."""
    folders = [place for place in root.rglob("*") if place.is_dir()]
    return {str(place.relative_to(root)): sorted(path.stem for path in place.glob("*.yaml")) for place in folders}


def _replaced(config_name: str, choices: Sequence[str], key: str, value: str) -> str:
    """The words that put a class in the place of another, whose settings it does not have; "": not needed, or wrong."""
    words = [f"~{key}", f"+{key}{value}"]
    if _composes(config_name, [*choices, f"{key}{value}"]) or not _composes(config_name, [*choices, *words]):
        return ""
    return " ".join(map(word, words))


def _parts(item: str) -> tuple[str, str, str]:
    """Sign, key, and ``=`` with the value."""
    body = item.lstrip("+~")
    key, equals, value = body.partition("=")
    return item[: len(item) - len(body)], key, equals + value


def _options(group: str, value: str, groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The choices that may have been meant: alike options of the group, or its namesake in another."""
    yield from (f"{other}={value}" for other, options in groups.items() if value in options and "/" not in other)
    for option in difflib.get_close_matches(value, groups[group], n=_MOST, cutoff=0.6):
        yield f"{group}={option}"


def _paths(sign: str, key: str, value: str, tree: Mapping[str, Any]) -> Iterator[str]:
    """The settings that may have been meant: the same end below a section, another name of it, an alike key."""
    whole = value[1:2] in ("{", "")  # of a section
    known = sorted(_keys(tree, sections=whole), key=_rank)
    parent, _, last = key.rpartition(".")
    if sign and key in known:
        yield f"{key}{value}"
    called = f"{parent}.{_CALLED[last]}".lstrip(".") if last in _CALLED else ""
    for ending in filter(None, (key, called)):
        yield from (f"{path}{value}" for path in known if path == ending or path.endswith(f".{ending}"))
    if not sign and _is_argument(tree, key):
        yield f"+{key}{value}"
    yield from (f"{path}{value}" for path in difflib.get_close_matches(key, known, n=2, cutoff=0.75))
    alike = difflib.get_close_matches(last, {path.rpartition(".")[2] for path in known}, n=1, cutoff=0.75)
    yield from (f"{path}{value}" for path in known if path.rpartition(".")[2] in alike and path.startswith(parent))


def _rank(path: str) -> tuple[int, int]:
    section = path.partition(".")[0]
    return path.count("."), _SECTIONS.index(section) if section in _SECTIONS else -1


def _is_argument(tree: Mapping[str, Any], key: str) -> bool:
    """Whether a key, or what it lies in, is what the class of a section takes and the section does not name."""
    node: Any = tree
    parts = key.split(".")
    for i, part in enumerate(parts):
        node = node.get(part) if isinstance(node, Mapping) else None
        if node is None:  # not there, or nothing stands there
            return part in _arguments(tree, ".".join(parts[:i]))
    return False


def _arguments(tree: Mapping[str, Any], path: str) -> set[str]:
    """What the class of a section takes."""
    node: Any = tree
    for part in filter(None, path.split(".")):
        node = node.get(part) if isinstance(node, Mapping) else None
    try:
        return (
            parameters(node["_target_"], path) or set() if isinstance(node, Mapping) and "_target_" in node else set()
        )
    except ConfigError:
        return set()


def _composed(config_name: str, *attempts: Sequence[str]) -> Mapping[str, Any]:
    from omegaconf import OmegaConf

    for attempt in attempts:
        try:
            return cast(Mapping[str, Any], OmegaConf.to_container(compose(config_name, attempt), resolve=False))
        except ConfigError:
            continue
    return {}


def _composes(config_name: str, overrides: Sequence[str]) -> bool:
    try:
        compose(config_name, overrides)
    except ConfigError:
        return False
    return True


def _keys(node: Any, path: str = "", *, sections: bool = True) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            name = f"{path}.{key}" if path else str(key)
            if sections or not isinstance(value, Mapping):
                yield name
            yield from _keys(value, name, sections=sections)
