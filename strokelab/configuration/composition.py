"""Yaml files and the command line become one plain tree of settings. Builds nothing and imports no class."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from strokelab.configuration.resolvers import register
from strokelab.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

Settings = dict[str, Any]


def conf_folder() -> Path:
    """The config tree: inside the package once installed, beside it in a checkout.

    Raises:
        ConfigError: neither exists.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(
        package, found="no conf folder", expected="conf/train.yaml", remedy="reinstall strokelab (pip install .)"
    )


def compose(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The config of a door as Hydra would compose it, without the Hydra app.

    Raises:
        ConfigError: an override names a group, option or key that does not exist.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import open_dict
    from omegaconf.errors import OmegaConfBaseException

    register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = hydra_compose(config_name, overrides=list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(
            f"{config_name} {' '.join(overrides)}".strip(),
            found=str(error).strip(),
            expected="options of the files in conf/",
            remedy="see `python train.py --help` for groups and options",
        ) from error
    HydraConfig.instance().set_config(cfg)  # names are made from the choices: ${hydra:runtime.choices.model}
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def plain(cfg: DictConfig) -> Settings:
    """The config as plain dicts and lists with every interpolation resolved; late facts stay ``???``.

    Raises:
        ConfigError: an interpolation points nowhere, or names an environment variable that is not set.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    register()
    try:
        content = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        missing = re.search(r"Missing mandatory value: (\S+)", str(error))
        remedy = "correct the key, or set the environment variable it names"
        raise ConfigError(
            missing[1] if missing else "config",
            found="no value, and others refer to it" if missing else str(error).strip(),
            expected="a value" if missing else "interpolations that can be resolved",
            remedy=f"add {missing[1]}=... to the command" if missing else remedy,
        ) from error
    return cast(Settings, content)


def check_keys(settings: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """Refuse keys nobody reads: a misspelt setting must not be ignored.

    Raises:
        ConfigError: naming the key and the nearest known one.
    """
    known = sorted(allowed)
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                where,
                found=f"unknown key {key!r}",
                expected=f"one of {known}",
                remedy=f"did you mean {near[0]!r}?" if near else "remove it",
            )


def check_choices(overrides: Sequence[str]) -> None:
    """Refuse a command whose choices contradict each other: a row of an ablation is a model of its own.

    Args:
        overrides: as on the command line, which has the last word over a row.

    Raises:
        ConfigError: the result would bear the row's name and be another model.
    """
    chosen = dict(item.partition("=")[::2] for item in overrides)
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
    """A copy of resolved settings with ``key.path=value`` items applied, as on the command line.

    Raises:
        ConfigError: an item chooses a group (a finished config has no groups any more) or names no existing key.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    cfg = OmegaConf.create(settings)
    OmegaConf.set_struct(cfg, True)
    for item in items:
        key, _, value = item.lstrip("+").partition("=")
        try:
            if isinstance(OmegaConf.select(cfg, key), Mapping) or "/" in key:
                raise ConfigError(
                    item,
                    found="the choice of a whole group",
                    expected="single values such as trainer.max_epochs=80",
                    remedy="start a new run to change a group",
                )
            OmegaConf.update(cfg, key, OmegaConf.select(OmegaConf.create(f"value: {value}"), "value"), merge=False)
        except OmegaConfBaseException as error:
            raise ConfigError(
                item, found=str(error).strip(), expected="a key of the run's config.yaml", remedy="correct the key"
            ) from error
    return cast(Settings, OmegaConf.to_container(cfg, throw_on_missing=False))
