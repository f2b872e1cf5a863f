"""Overrides in Hydra's grammar, read and applied to the resolved settings of a run. Builds nothing."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from strokelab.configuration.arguments import parameters
from strokelab.configuration.composition import Settings, conf_folder
from strokelab.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def parsed(items: Sequence[str]) -> list[Override]:
    """Overrides as Hydra reads them.

    Raises:
        ConfigError: one is none in Hydra's grammar.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, found = OverridesParser.create(), []
    for item in items:
        try:
            found.append(parser.parse_override(item))
        except HydraException as error:
            raise ConfigError(
                item,
                found=(str(error).splitlines() or ["nothing"])[0],
                expected="key=value, +key=value or ~key in Hydra's grammar",
                remedy="put a value with spaces, brackets or = into quotes: \"name='a=b'\"",
            ) from error
    return found


def typed_settings(items: Sequence[str]) -> list[tuple[str, str]]:
    """(key, override) of every override of a command."""
    return [(item.key_or_group, str(item.input_line)) for item in parsed(items)]


def typed_value(items: Sequence[str], key: str) -> Any:
    """What the last override of a key says; None where there is none."""
    return next((item.value() for item in reversed(parsed(items)) if item.key_or_group == key), None)


def check_choices(overrides: Sequence[str]) -> None:
    """Raise where choices of a command contradict each other: a row of an ablation is a model of its own.

    So do several datasets, which Hydra takes for a list of files to be merged.

    Args:
        overrides: as on the command line, which has the last word over a row.

    Raises:
        ConfigError: the result would bear the row's name and be another model.
    """
    chosen = {item.key_or_group: item.get_value_element_as_str() for item in parsed(overrides)}
    if chosen.get("data", "").startswith("["):
        raise ConfigError(
            f"data={chosen['data']}",
            found="several datasets, whose settings Hydra would merge into those of the last",
            expected="one dataset, or several by name",
            remedy=f"write data=several data.datasets={chosen['data']} and name the channels by data.modalities",
        )
    if chosen.get("ablation", "null") == "null":
        return
    parts = [name for name in ("adversary", "hemispheres", "standardizer") if name in chosen]
    if parts or ("model" in chosen and "name" not in chosen):
        other = [*parts, "model"][0]
        raise ConfigError(
            f"ablation={chosen['ablation']}",
            found=f"{other}={chosen[other]} beside it",
            expected="a row of the ablation, which says what the model is made of and is called after SG-Net",
            remedy=f"leave {other}= out"
            + (
                ""
                if parts
                else "; to take another network apart, name its rows: 'name=net-${hydra:runtime.choices.ablation}'"
            ),
        )


def override(settings: Settings, items: Sequence[str]) -> Settings:
    """A copy of a run's settings with overrides applied, as Hydra applies them to a config.

    ``+`` may be left out where the class of the section takes the key (``trainer.gradient_clip_val=1``), and is no
    error where the key exists: the command that began a run also continues it. Interpolations are resolved; those in
    ``settings`` are for the caller to refuse before.

    Raises:
        ConfigError: an item is no override, chooses a group (a finished config has no groups any more), asks for
            several values, or names a key that does not exist.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    changed = copy.deepcopy(settings)
    for item in parsed(items):
        _apply(changed, item)
    if not any("${" in item for item in items):
        return changed
    try:
        content = OmegaConf.to_container(OmegaConf.create(changed), resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise ConfigError(
            " ".join(item for item in items if "${" in item),
            found=(str(error).splitlines() or ["nothing"])[0],
            expected="interpolations of the run's config.yaml that can be resolved",
            remedy="write the value itself, or correct the key in the braces",
        ) from error
    return cast(Settings, content)


def _apply(settings: Settings, item: Override) -> None:
    key, line = item.key_or_group, str(item.input_line)
    if item.is_sweep_override():
        raise ConfigError(
            line,
            found="several values",
            expected="one value: one run goes on",
            remedy="give one value; a list is written [a,b]",
        )
    adds, value = item.is_add() or item.is_force_add(), item.value()
    *parents, last = key.split(".")
    if "/" in key or item.package is not None or (not parents and _is_group(settings, key, value)):
        raise _group(line)
    node: Any = settings
    for part in parents:
        if isinstance(node, dict) and adds and node.get(part) is None:
            node[part] = {}
        node = _child(node, part)
    if isinstance(node, list) and last.isdecimal() and int(last) < len(node):
        if item.is_delete():
            del node[int(last)]
        else:
            node[int(last)] = value
        return
    if not isinstance(node, dict) or (last not in node and not (adds or _takes(node, last, key))):
        raise _unknown(line, key, node)
    if item.is_delete():
        if last not in node or value not in (None, node[last]):
            raise _unknown(line, key, node)
        del node[last]
    elif isinstance(node.get(last), dict) and isinstance(value, dict):
        _merge(node[last], value)
    elif isinstance(node.get(last), dict) and value is not None:
        raise _group(line)
    else:
        node[last] = value


def _child(node: Any, part: str) -> Any:
    if isinstance(node, list):
        return node[int(part)] if part.isdecimal() and int(part) < len(node) else None
    return node.get(part) if isinstance(node, dict) else None


def _is_group(settings: Settings, key: str, value: Any) -> bool:
    """Whether a key without dots is a whole section, or chose one when the run was composed."""
    return (conf_folder() / key).is_dir() or (isinstance(settings.get(key), dict) and not isinstance(value, dict))


def _takes(node: Mapping[str, Any], name: str, key: str) -> bool:
    return "_target_" in node and name in (parameters(node["_target_"], key) or ())


def _merge(node: dict[str, Any], value: Mapping[str, Any]) -> None:
    for key, inner in value.items():
        if isinstance(node.get(key), dict) and isinstance(inner, dict):
            _merge(node[key], inner)
        else:
            node[key] = inner


def _group(line: str) -> ConfigError:
    return ConfigError(
        line,
        found="the choice of a whole group",
        expected="single values such as trainer.max_epochs=80",
        remedy="start a new run to change a group",
    )


def _unknown(line: str, key: str, node: Any) -> ConfigError:
    known = sorted(node) if isinstance(node, dict) else []
    if isinstance(node, dict) and "_target_" in node:
        known += parameters(node["_target_"], key) or ()
    parent, _, last = key.rpartition(".")
    near = [f"{parent}.{name}".lstrip(".") for name in difflib.get_close_matches(last, known, n=1)]
    return ConfigError(
        line,
        found=f"no {key} in the run",
        expected="a key of the run's config.yaml, or an argument of the class in its section",
        remedy=f"did you mean {near[0]}?" if near else "correct the key; +key=value adds one",
    )
