"""Where a training begins: new settings or a run to continue, and everything that can be wrong with them.

Reads run folders; builds nothing and trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig

from strokelab import runs
from strokelab.configuration import (
    REBUILT,
    Settings,
    bind,
    check_arguments,
    check_buildable,
    check_fit,
    check_keys,
    override,
    plain,
)
from strokelab.data.datamodule import CohortDataModule
from strokelab.errors import ConfigError, RunError
from strokelab.runs.checkpoints import relocate, relocate_checkpoint

# The sections of conf/train.yaml; anything else is a typing mistake.
SECTIONS = ("data", "model", "view", "split", "trainer", "callbacks", "logger", "postprocess")
PLAIN_KEYS = ("name", "seed", "run_dir", "resume", "checkpoint", "score_test", "cohort")
# Settings that name a place; a run remembers them in full, so that it can be resumed from anywhere.
PLACES = (("data", "root"), ("data", "store"), ("split", "path"))


@dataclass(frozen=True)
class Start:
    """Settings, folder, and the checkpoint to go on from; None: fresh weights."""

    settings: Settings
    folder: Path
    checkpoint: Path | None = None


def first_process() -> bool:
    """Whether this is the only process of a training, or its first: the one that writes."""
    return not getattr(rank_zero_only, "rank", 0)


def typed_overrides() -> list[str]:
    """What the command line, or a sweep in its place, asked for; nothing where Hydra did not start the process."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def start_of(cfg: DictConfig) -> Start:
    """What the command asks for: a new run, or with ``resume=RUN`` one that goes on.

    Raises:
        StrokelabError: the run folder cannot serve, or its config is not to be trusted.
    """
    return _resumed(cfg) if cfg.get("resume") else _fresh(cfg)


def _fresh(cfg: DictConfig) -> Start:
    """A new run's settings, with the places they name in full."""
    from omegaconf import OmegaConf

    settings = plain(cfg)
    folder = Path(str(settings["run_dir"])).expanduser().resolve()
    if first_process():
        runs.refuse_to_replace(folder)
    cfg = cast(DictConfig, OmegaConf.merge(cfg, {"run_dir": str(folder)}))  # others refer to it
    settings = plain(cfg)
    for section, key in PLACES:
        node = settings.get(section) or {}
        if isinstance(node.get(key), str) and node[key] != "???":
            node[key] = str(Path(node[key]).expanduser().resolve())
    return Start(settings, folder)


def _resumed(cfg: DictConfig) -> Start:
    """A run to continue, where it lies now, with the command line's own values on top.

    A run that was killed before its first checkpoint starts again, with the settings it was started with.
    """
    folder = Path(str(cfg.resume)).expanduser().resolve()
    settings = runs.read_settings(folder)
    check_buildable(settings, where=folder / runs.CONFIG, training=True)
    check_keys(settings, (*SECTIONS, *PLAIN_KEYS), str(folder / runs.CONFIG))
    typed = [item for item in typed_overrides() if not item.startswith("resume=")]
    if any(item.lstrip("+").startswith(("run_dir=", "seed=")) for item in typed):
        raise ConfigError(
            "resume",
            found=f"{typed}",
            expected="the run's own folder and seed",
            remedy="leave run_dir and seed out, or start a new run",
        )
    former = str(settings.get("run_dir", folder))
    settings = cast(Settings, relocate(override(settings, typed), former, str(folder)))
    if runs.read_status(folder)["state"] != "finished" and not (folder / runs.CHECKPOINTS / "last.ckpt").is_file():
        return Start(settings, folder)
    checkpoint = runs.find_checkpoint(folder, "last")
    runs.read_checkpoint(checkpoint)
    if former != str(folder) and first_process():
        relocate_checkpoint(checkpoint, former, str(folder))
    return Start(settings, folder, checkpoint)


def check_settings(settings: Settings) -> None:
    """Everything that can be said before data are read.

    Raises:
        ConfigError: a setting is unknown, missing, or contradicts another.
    """
    check_keys(settings, (*SECTIONS, *PLAIN_KEYS), "config")
    bind({name: settings[name] for name in ("data", "view", "split")}, {})  # what they need, no data can tell
    check_arguments({name: settings[name] for name in SECTIONS})
    check_fit(settings)
    # What could be trained but never loaded again should not be trained.
    view = {**settings["view"], "augment": None}  # not needed again
    check_buildable({name: settings[name] for name in REBUILT} | {"view": view}, allow=("",))
    written = {"last"} | {str(node.get("filename")) for node in settings["callbacks"].values() if node}
    if settings["checkpoint"] not in written:
        raise ConfigError(
            "checkpoint",
            found=f"{settings['checkpoint']!r}, which no callback writes",
            expected=f"one of {sorted(written - {'None'})}",
            remedy="set checkpoint=last, or add the callback that writes it",
        )


def check_cohort(start: Start, datamodule: CohortDataModule) -> None:
    """Whether the data serve the model, and for a run that goes on: whether they are still those it began with.

    Raises:
        ConfigError: too few sites for an adversary, or nobody to choose a checkpoint by.
        RunError: cohort or split are not those of the run.
    """
    if start.settings["model"].get("adversary") and datamodule.n_sites < 2:
        raise ConfigError(
            "adversary",
            found=f"{datamodule.n_sites} training site(s): {sorted(datamodule.sites)}",
            expected="at least two training sites",
            remedy="switch it off with adversary=none, or train on more sites",
        )
    if start.settings["checkpoint"] != "last" and not datamodule.split_result.val:
        raise ConfigError(
            "checkpoint",
            found=f"{start.settings['checkpoint']!r} and nobody to validate on",
            expected="a split with a validation part",
            remedy="set checkpoint=last, or split.val_fraction above 0",
        )
    if start.checkpoint is None:
        return
    before, today = runs.read_split(start.folder), datamodule.split_result
    moved = [
        case_id
        for part in ("train", "val", "test")
        for case_id in set(getattr(before, part)) ^ set(getattr(today, part))
    ]
    if moved:
        raise RunError(
            start.folder / runs.SPLIT,
            found=f"{len(moved)} cases in another part than today, e.g. {min(moved)!r}",
            expected="the cohort and split the run was started with",
            remedy="restore the data and the settings of data and split, or start a new run",
        )
