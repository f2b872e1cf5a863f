"""Settings become objects here and nowhere else: compose, check, bind late facts, build from an allow-list.

The only caller of ``hydra.utils.instantiate``. Knows no run folders and no training.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from strokelab.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from strokelab.models.segmenter import Segmenter

MISSING = "???"
Settings = dict[str, Any]

# What a run folder's config may build: our own rooms without side effects, and these names of PyTorch.
# Never a prefix of torch: `torch.load` and `torch.hub` run code.
BUILDABLE_ROOMS = (
    "strokelab.networks.",
    "strokelab.losses.",
    "strokelab.models.",
    "strokelab.sampling.",
    "strokelab.inference.",
    "strokelab.view.View",
    "strokelab.preparation.recipe.Preparation",
)
BUILDABLE_NAMES = frozenset(
    [f"torch.optim.{name}" for name in ("SGD", "Adam", "AdamW", "Adadelta", "RMSprop", "NAdam", "RAdam")]
    + [
        f"torch.optim.lr_scheduler.{name}"
        for name in (
            "ConstantLR",
            "CosineAnnealingLR",
            "CosineAnnealingWarmRestarts",
            "ExponentialLR",
            "LinearLR",
            "MultiStepLR",
            "PolynomialLR",
            "StepLR",
        )
    ]
)
# What continuing a run (resume=RUN) may build besides.
TRAINING_ROOMS = ("strokelab.data.datamodule.", "strokelab.data.splits.", "strokelab.callbacks.", "strokelab.augment.")
TRAINING_NAMES = frozenset(
    [
        "lightning.pytorch.Trainer",
        "lightning.pytorch.loggers.TensorBoardLogger",
        "lightning.pytorch.loggers.WandbLogger",
    ]
    + [
        f"lightning.pytorch.callbacks.{name}"
        for name in (
            "DeviceStatsMonitor",
            "EMAWeightAveraging",
            "EarlyStopping",
            "GradientAccumulationScheduler",
            "LearningRateMonitor",
            "ModelCheckpoint",
            "RichModelSummary",
            "RichProgressBar",
            "StochasticWeightAveraging",
            "ThroughputMonitor",
            "Timer",
        )
    ]
)
# Parts of a saved config that rebuilding a trained model needs; the rest is read as plain data.
REBUILT = ("model", "view", "postprocess")
# Facts of the default cohort (data=phantom) for models built by hand.
DEFAULT_FACTS: Mapping[str, Any] = {"in_channels": 1, "n_sites": 8, "plane": (224, 192)}


def conf_folder() -> Path:
    """The config tree: inside the package once installed, beside it in a checkout.

    Raises:
        ConfigError: neither exists.
    """
    package = Path(__file__).resolve().parent
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

    try:
        content = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise ConfigError(
            "config",
            found=str(error).strip(),
            expected="interpolations that can be resolved",
            remedy="correct the key, or set the environment variable it names",
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


def bind(settings: Settings, facts: Mapping[str, Any]) -> Settings:
    """A copy in which every ``???`` is replaced by the fact of its key's name (``in_channels``, ``n_sites``, ...).

    Raises:
        ConfigError: a ``???`` is left for which the data have no fact, or whose fact is None.
    """

    def fill(node: Any, path: str) -> Any:
        if isinstance(node, Mapping):
            return {key: fill(value, f"{path}.{key}" if path else str(key)) for key, value in node.items()}
        if isinstance(node, list):
            return [fill(value, f"{path}[{index}]") for index, value in enumerate(node)]
        if node == MISSING:
            fact = facts.get(path.rpartition(".")[2])
            if fact is None:
                raise ConfigError(
                    path,
                    found="no value",
                    expected="a value on the command line, or one that the data give",
                    remedy=f"add {path}=... to the command; facts known from the data: {sorted(facts)}",
                )
            return list(fact) if isinstance(fact, tuple) else fact
        return node

    return cast(Settings, fill(settings, ""))


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


def build(node: Mapping[str, Any], **arguments: Any) -> Any:
    """Instantiate a config node (``_target_``) of the user's own command; arguments are added to its keys.

    Raises:
        ConfigError: the target does not exist or refuses its arguments; the message names both.
    """
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    from strokelab.errors import StrokelabError

    try:
        if not arguments:
            return instantiate(dict(node), _convert_="all")
        # Objects do not pass through OmegaConf (it takes dataclasses for schemas): they join at the call.
        return instantiate({**node, "_partial_": True}, _convert_="all")(**arguments)
    except (HydraException, TypeError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, StrokelabError):
            raise cause from error
        raise ConfigError(
            str(node.get("_target_", "config")),
            found=str(error).strip().splitlines()[0] + (f" ({cause})" if str(cause) not in str(error) else ""),
            expected="arguments that its signature knows",
            remedy="correct the setting; the file conf/<group>/<option>.yaml shows the defaults",
        ) from error


def build_untrusted(node: Mapping[str, Any], *, allow: Sequence[str] = (), where: str | Path = "config") -> Any:
    """Instantiate a node of somebody's run folder, after the whole tree was held against the allow-list.

    Args:
        node: plain data as ``yaml.safe_load`` gives it.
        allow: further dotted prefixes the caller vouches for, e.g. ``("my_package.networks.",)``.
        where: the file the node came from, for messages.

    Raises:
        ConfigError: a target, interpolation or Hydra keyword outside the allow-list; nothing was built then.
    """
    check_buildable(node, allow=allow, where=where)
    return build(node)


def check_buildable(
    node: Any, *, allow: Sequence[str] = (), where: str | Path = "config", training: bool = False
) -> None:
    """Hold a whole config tree against the allow-list without building anything.

    Args:
        node: plain data as ``yaml.safe_load`` gives it.
        allow: further dotted prefixes the caller vouches for.
        where: the file the node came from, for messages.
        training: also allow what continuing a training needs: data, callbacks, loggers, the trainer.

    Raises:
        ConfigError: as ``build_untrusted``.
    """
    for path, key, value in _walk(node):
        if isinstance(value, str) and "${" in value:
            _refuse(where, path, f"an interpolation {value!r}", "plain values only")
        if isinstance(key, str) and key.startswith("_") and key not in ("_target_", "_partial_"):
            _refuse(where, path, f"the keyword {key!r}", "_target_ and _partial_ only")
        if key == "_target_" and not _is_buildable(value, allow, training):
            _refuse(where, path, f"the target {value!r}", "a class or function on the allow-list")


def _is_buildable(target: Any, allow: Sequence[str], training: bool) -> bool:
    if not isinstance(target, str):
        return False
    names = BUILDABLE_NAMES | TRAINING_NAMES if training else BUILDABLE_NAMES
    if target in names or any(target.startswith(prefix) for prefix in allow):
        return True
    rooms = BUILDABLE_ROOMS + TRAINING_ROOMS if training else BUILDABLE_ROOMS
    if not any(target.startswith(room) for room in rooms):
        return False
    # The name must be where it is defined: `strokelab.networks.unet.torch.load` starts with a room, too.
    import importlib
    import inspect

    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    defined_here = getattr(found, "__module__", None) == module and not name.startswith("_")
    return defined_here and (inspect.isclass(found) or inspect.isfunction(found))


def _refuse(where: str | Path, path: str, found: str, expected: str) -> None:
    raise ConfigError(
        where,
        found=f"{found} at {path}",
        expected=expected,
        remedy="do not run this folder unless you trust its author; own classes are allowed with allow=[package.]",
    )


def _walk(node: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{path}.{key}", key, value
            yield from _walk(value, f"{path}.{key}")
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield f"{path}[{index}]", None, value
            yield from _walk(value, f"{path}[{index}]")


def check_fit(settings: Settings) -> None:
    """Model, view and data must agree; found out before any data are read.

    Raises:
        ConfigError: the slice size does not divide through the network's poolings or cannot be halved, or a part
            is switched on that the others cannot serve.
    """
    model, view = settings["model"], settings["view"]
    preparation = view.get("preparation") or {}
    crop = preparation.get("crop")
    network = model.get("network") or {}
    depth = network.get("depth")
    if crop is None or depth is None:
        return
    is_slices = str((view.get("sampler") or {}).get("_target_", "")).startswith("strokelab.sampling.slices.")
    factor = 2 ** (int(depth) - 1)
    halves = 2 if model.get("hemispheres") else 1
    lengths = {"x": crop[0], "y": crop[1]} if is_slices else dict(zip("xyz", crop, strict=False))
    for axis, length in lengths.items():
        needed = factor * (halves if axis == "x" else 1)
        if length is not None and length % needed:
            raise ConfigError(
                f"view.preparation.crop along {axis}",
                found=f"{length} voxels",
                expected=f"a multiple of {needed} (depth {depth}{', two hemispheres' if halves == 2 else ''})",
                remedy=f"use {-(-length // needed) * needed}, or a smaller model.network.depth",
            )
    if is_slices and network.get("dimensions", 2) != 2:
        raise ConfigError(
            "model.network.dimensions",
            found=f"{network['dimensions']} with a view of slices",
            expected="2",
            remedy="choose a view of patches, or dimensions=2",
        )
    if model.get("adversary") and not (settings.get("data") or {}).get("has_sites", True):
        raise ConfigError(
            "adversary",
            found="a site adversary on a dataset without sites",
            expected="at least two training sites",
            remedy="switch it off with adversary=none",
        )


def build_model(name: str, **overrides: Any) -> Segmenter:
    """See ``strokelab.build_model``."""
    options = sorted(path.stem for path in (conf_folder() / "model").glob("*.yaml"))
    if name not in options:
        near = difflib.get_close_matches(name, options, n=1)
        raise ConfigError(
            f"model {name!r}",
            found="no such file in conf/model",
            expected=f"one of {options}",
            remedy=f"did you mean {near[0]!r}?" if near else "choose one of them",
        )
    facts = {**DEFAULT_FACTS, **{key: value for key, value in overrides.items() if key in DEFAULT_FACTS}}
    settings = [
        f"model.{key.replace('__', '.')}={value}" for key, value in overrides.items() if key not in DEFAULT_FACTS
    ]
    composed = plain(compose("train", [f"model={name}", *settings]))
    return cast("Segmenter", build(bind(composed["model"], facts)))
