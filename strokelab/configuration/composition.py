"""Yaml files and the command line become one plain tree of settings. Builds nothing and imports no class."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from strokelab.configuration.resolvers import register
from strokelab.configuration.stages import STAGES, normalised
from strokelab.configuration.stages import Settings as Settings
from strokelab.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


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


def door(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], Any]]:
    """``hydra.main`` with our own config tree, wherever the decorated function lies.

    Args:
        config_name: ``"train"`` or ``"evaluate"``.
    """
    import hydra

    return hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)


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
    from yaml import YAMLError

    register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = hydra_compose(config_name, overrides=list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
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
        ConfigError: an interpolation points nowhere, or names an environment variable that is not set; as
            ``stages.normalised``.
    """
    from omegaconf import OmegaConf

    register()
    if cfg.get(STAGES):
        raw = cast(Settings, OmegaConf.to_container(cfg, resolve=False))
        return normalised(raw, lambda stage: _resolved(OmegaConf.create(stage)))
    return _resolved(cfg)


def _resolved(cfg: DictConfig) -> Settings:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

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
    """Raise on unknown keys: a misspelt setting must not be ignored.

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
