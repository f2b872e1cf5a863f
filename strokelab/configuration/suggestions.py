"""What a misspelt command probably meant. Composes again, after Hydra refused; changes nothing."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from strokelab.configuration.composition import compose, conf_folder
from strokelab.errors import ConfigError


def exit_with_suggestions(config_name: str, stop: SystemExit) -> None:
    """Print what the command line probably meant, where a door ended with an error; then end as it did.

    Args:
        config_name: the door's config, ``"train"`` or ``"evaluate"``.
        stop: how the door ended.

    Raises:
        SystemExit: always.
    """
    if stop.code == 1:
        for line in suggestions(config_name, [item for item in sys.argv[1:] if not item.startswith("-")]):
            print(line, file=sys.stderr)
    raise stop


def suggestions(config_name: str, overrides: Sequence[str]) -> list[str]:
    """One line per override whose key or option does not exist but resembles one that does."""
    groups = {
        str(folder.relative_to(conf_folder())): sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in conf_folder().rglob("*")
        if folder.is_dir()
    }
    pairs = [(item, *item.lstrip("+~").partition("=")[::2]) for item in overrides]
    choices = [item for item, key, value in pairs if key in groups and value in groups[key]]
    known = {*groups, *_keys(_composed(config_name, choices))}
    lines = []
    for item, key, value in pairs:
        if key in groups:
            near = [_near(option, groups[key]) for option in value.split(",") if option not in groups[key]]
            lines += [f"{item}: did you mean {key}={option}?" for option in near if option]
        elif key not in known and not key.startswith("hydra.") and (name := _near(key, known)):
            lines.append(f"{item}: did you mean {name}={value}?")
    return lines


def _composed(config_name: str, choices: Sequence[str]) -> Mapping[str, Any]:
    from omegaconf import OmegaConf

    for attempt in (choices, ()):
        try:
            return cast(Mapping[str, Any], OmegaConf.to_container(compose(config_name, attempt), resolve=False))
        except ConfigError:
            continue
    return {}


def _near(word: str, known: Sequence[str] | set[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.75)), None)


def _keys(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            name = f"{path}.{key}" if path else str(key)
            yield name
            yield from _keys(value, name)
