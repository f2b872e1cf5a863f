"""Where a training begins: new settings or a run to continue, and everything that can be wrong with them.

Reads run folders; builds nothing and trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig

from strokelab import runs
from strokelab.command_words import setting
from strokelab.configuration import (
    Settings,
    bind,
    check_arguments,
    check_buildable,
    check_choices,
    check_fit,
    check_keys,
    check_loss,
    command_line,
    override,
    plain,
)
from strokelab.configuration.allowlist import check_allow
from strokelab.configuration.late_facts import LENGTHS, MISSING, PLANNED, fact_of
from strokelab.configuration.overriding import typed_settings, typed_value
from strokelab.configuration.size_limit import check_size, check_voxels
from strokelab.configuration.stages import check_heeded, check_stages, joined, of_stages
from strokelab.configuration.untrusted_paths import check_places
from strokelab.data.cohort_checks import warn_selected_by_test
from strokelab.data.datamodule import CohortDataModule
from strokelab.errors import ConfigError, RunError
from strokelab.runs.checkpoints import relocate, relocate_checkpoint
from strokelab.runs.untrusted import check_links, check_remembered
from strokelab.sweeps.record import recorded_digest
from strokelab.training.alternating import check_alternating
from strokelab.training.planning import check_batch, placeholders, with_open_batch
from strokelab.training.precision import check_precision
from strokelab.training.trainer import check_monitors

# The sections of conf/train.yaml; anything else is a typing mistake.
SECTIONS = ("data", "planner", "model", "view", "split", "trainer", "callbacks", "logger", "postprocess")
PLAIN_KEYS = (
    *("stages", "name", "seed", "run_dir", "resume", "init_weights", "allow", "checkpoint", "objective", "score_test"),
    *("allocator", "cohort", "protocol"),
)
# resume=auto: go on with whatever lies in run_dir.
AUTO = "auto"


@dataclass(frozen=True)
class Start:
    """Settings, folder, and the checkpoint to go on from; None: fresh weights.

    Args:
        settings: resolved; late facts are still to be bound.
        folder: of the run.
        checkpoint: to go on from.
        digest: of what was asked for; ``""``: as recorded in the folder.
        finished: nothing is left to train.
        kept: line that tells of defaults which changed since the run or its sweep was begun, and are kept.
    """

    settings: Settings
    folder: Path
    checkpoint: Path | None = None
    digest: str = ""
    finished: bool = False
    kept: str = ""


def first_process() -> bool:
    """Whether this is the only process of a training, or its first: the one that writes."""
    return not getattr(rank_zero_only, "rank", 0)


def typed_overrides() -> list[str]:
    """What the command line, or a sweep in its place, asked for; nothing where Hydra did not start the process."""
    return [item for item in command_line.typed() if item != f"resume={AUTO}"]


def typed_keys() -> list[str]:
    """The keys of what the command line gives."""
    return [key for key, _ in typed_settings(typed_overrides())]


def typed_on_resume() -> list[str]:
    """What the command line gives beside the run to continue."""
    return [item for key, item in typed_settings(typed_overrides()) if key not in ("resume", "allow")]


def resumed_folder(cfg: DictConfig) -> Path:
    """The run folder that ``resume=RUN`` names."""
    return Path(str(cfg.resume)).expanduser().resolve()


def start_of(cfg: DictConfig) -> Start:
    """What the command asks for: a new run, with ``resume=RUN`` one that goes on, with ``resume=auto`` either.

    Raises:
        StrokelabError: the run folder cannot serve, or its config is not to be trusted.
    """
    check_choices(typed_overrides())
    if cfg.get("resume") == AUTO:
        return _automatic(cfg)
    return _resumed(cfg) if cfg.get("resume") else _fresh(cfg)


def _asked(cfg: DictConfig, *, goes_on: bool = False) -> Start:
    """What the command says, with the places it names in full; a run that goes on keeps the defaults it began with."""
    from omegaconf import OmegaConf

    folder = Path(str(plain(cfg)["run_dir"])).expanduser().resolve()
    cfg = cast(DictConfig, OmegaConf.merge(cfg, {"run_dir": str(folder)}))  # others refer to it
    check_heeded(cast(Settings, OmegaConf.to_container(cfg, resolve=False)), typed_keys())
    settings = runs.with_init_weights(runs.with_full_places(plain(cfg)), folder if goes_on else None)
    check_allow(settings.pop("allow", []))  # of the command; what a new run of the user's builds needs no leave
    begun = str(runs.read_environment(folder).get("digest") or recorded_digest(folder)) if goes_on else ""
    before = runs.as_before(settings, begun, typed_overrides()) if begun else None
    check_stages(settings)
    if before:
        return Start(with_open_batch(before.settings), folder, digest=begun, kept=str(before))
    return Start(with_open_batch(settings), folder, digest=runs.settings_digest(settings))


def _fresh(cfg: DictConfig) -> Start:
    """A new run, in a folder that may hold a finished one with the same settings.

    Raises:
        RunError: as ``refuse_to_replace``, or the finished run has other settings.
    """
    start = _asked(cfg)
    if not first_process():
        return start
    runs.refuse_to_replace(start.folder)
    finished = runs.read_status(start.folder)["state"] == "finished"
    if finished and runs.read_environment(start.folder).get("digest") != start.digest:
        raise _other_settings(start, expected="a new folder, or a run with the settings of this command, to replace")
    return start


def _automatic(cfg: DictConfig) -> Start:
    """Whatever is left to do of the run in ``run_dir``: all of it, the rest, or nothing.

    Sweeps start each member so; a member that a cluster requeues, or whose sweep is started anew, then goes on.
    """
    start = _asked(cfg, goes_on=True)
    folder = start.folder
    state = runs.read_status(folder)["state"]
    recorded = runs.read_environment(folder).get("digest")
    last = folder / runs.CHECKPOINTS / "last.ckpt"
    if recorded is None and not last.is_file() and not (folder / runs.CONFIG).is_file():
        # Nobody's folder, or one in which a start of the same run ended before it began.
        if state == "unknown" and first_process():
            runs.refuse_to_replace(folder)
        return start
    if recorded != start.digest:
        if not first_process():  # the first one judges, and may be writing these files at this moment
            return start
        raise _other_settings(start, expected="nothing, or a run with the settings of this command")
    if state == "finished":
        return replace(start, finished=True)
    if not last.is_file():
        return start
    recorded_settings = runs.read_settings(folder)
    former = str(recorded_settings.get("run_dir", folder))
    check_links(folder)
    checkpoint = runs.resumable_checkpoint(folder)
    check_remembered(checkpoint, runs.read_checkpoint(checkpoint), former=former, folder=folder)
    if former != str(folder) and first_process():
        relocate_checkpoint(checkpoint, former, str(folder))
    settings = cast(Settings, _chosen_before(start.settings, recorded_settings))
    return replace(start, settings=settings, checkpoint=checkpoint)


def _other_settings(start: Start, *, expected: str) -> RunError:
    changed = runs.differences(start.settings, runs.read_settings(start.folder))
    return RunError(
        start.folder,
        found=f"a run with other settings ({'; '.join(changed[:3]) or 'of an earlier version, or changed by resume='})",
        expected=expected,
        remedy=f"choose another folder, remove this one, or go on with it as it is: {setting('resume', start.folder)}",
    )


def _chosen_before(asked: Any, recorded: Any, path: str = "") -> Any:
    """The settings asked for, but what ``auto`` meant at the first start it means again; plan and lengths stay."""
    if isinstance(asked, dict) and isinstance(recorded, dict):
        return {key: _chosen_before(value, recorded.get(key), f"{path}.{key}") for key, value in asked.items()}
    if asked == MISSING and fact_of(path.lstrip(".")) in (*PLANNED, *LENGTHS) and recorded is not None:
        return recorded
    return recorded if asked == AUTO and isinstance(recorded, (str, int, float)) else asked


def _resumed(cfg: DictConfig) -> Start:
    """A run to continue, where it lies now, with the command line's own values on top.

    A run that was killed before its first checkpoint starts again, with the settings it was started with.
    """
    folder = resumed_folder(cfg)
    settings = runs.read_settings(folder)
    check_links(folder)
    keys, own, typed = typed_settings(typed_overrides()), runs.own_classes(folder), typed_on_resume()
    allow = check_allow(typed_value(typed_overrides(), "allow") or [])
    check_buildable(settings, allow=(*allow, *own), where=folder / runs.CONFIG, training=True)
    check_keys(settings, {*SECTIONS, *PLAIN_KEYS} - {"allow"}, str(folder / runs.CONFIG))  # no run vouches for itself
    if {"run_dir", "seed", "init_weights"} & {key for key, _ in keys}:
        raise ConfigError(
            "resume",
            found=f"{typed}",
            expected="the run's own folder, seed and first weights",
            remedy="leave run_dir, seed and init_weights out, or start a new run",
        )
    former = str(settings.get("run_dir", folder))
    settings = cast(Settings, relocate(override(settings, typed), former, str(folder)))
    settings = joined(settings, of_stages(settings))  # a stage that was added is the run's last one
    check_places(settings, folder, typed=[key for key, _ in keys], where=folder / runs.CONFIG)
    changed = runs.settings_digest(settings) if typed else ""
    check_stages(settings)
    if runs.read_status(folder)["state"] != "finished" and not (folder / runs.CHECKPOINTS / "last.ckpt").is_file():
        if not own:
            _check_sizes(settings, None, folder / runs.CONFIG)
        return Start(settings, folder, digest=changed or str(runs.read_environment(folder).get("digest") or ""))
    checkpoint = runs.resumable_checkpoint(folder)
    check_remembered(checkpoint, runs.read_checkpoint(checkpoint), former=former, folder=folder)
    if not own:
        _check_sizes(settings, checkpoint, folder / runs.CONFIG)
    start = Start(settings, folder, checkpoint, digest=changed)
    if _nothing_left(start):
        return replace(start, finished=True)
    if former != str(folder) and first_process():
        relocate_checkpoint(checkpoint, former, str(folder))
    return start


def _check_sizes(settings: Settings, checkpoint: Path | None, where: Path) -> None:
    for one in of_stages(settings):
        check_voxels(one["view"], where, batch_size=(one["data"] or {}).get("batch_size") or 0)
        check_size(one["model"], checkpoint, where)


def _nothing_left(start: Start) -> bool:
    """Whether a run is finished, with its scores, and nothing else is asked of it than what it has done."""
    folder, recorded = start.folder, runs.read_environment(start.folder).get("digest")
    if runs.read_status(folder)["state"] != "finished" or start.checkpoint != folder / runs.CHECKPOINTS / "last.ckpt":
        return False
    scored = not start.settings["score_test"] or (folder / runs.CASES).is_file()
    return scored and (not start.digest or start.digest == recorded)


def check_settings(settings: Settings) -> None:
    """Everything that can be said before data are read.

    Raises:
        ConfigError: a setting is unknown, missing, or contradicts another.
    """
    check_keys(settings, (*SECTIONS, *PLAIN_KEYS), "config")
    check_batch(settings)
    # What data, view and split need beside a plan, no data can tell.
    bind({name: settings[name] for name in ("data", "view", "split")}, placeholders(settings))
    check_arguments({name: settings.get(name) for name in SECTIONS})
    check_fit(settings)
    check_loss(settings["model"])
    check_precision(settings)
    check_alternating(settings)
    # What could be trained but neither continued nor loaded again should not be trained.
    check_buildable({name: settings.get(name) for name in SECTIONS}, allow=("",), training=True)
    _check_callbacks(settings["callbacks"])
    written = {"last"} | {str(node.get("filename")) for node in settings["callbacks"].values() if node}
    averages = [str(node["_target_"]).endswith(".AveragedWeights") for node in settings["callbacks"].values() if node]
    written |= {"ema"} if any(averages) else set()
    if settings["checkpoint"] not in written:
        raise ConfigError(
            "checkpoint",
            found=f"{settings['checkpoint']!r}, which no callback writes",
            expected=f"one of {sorted(written - {'None'})}",
            remedy="set checkpoint=last, or add the callback that writes it",
        )


def _check_callbacks(callbacks: Mapping[str, Any]) -> None:
    """Settings belong to a callback that is there."""
    for name, node in callbacks.items():
        if node and "_target_" not in node:
            raise ConfigError(
                f"callbacks.{name}",
                found=f"{', '.join(node)}, and no callback of this name",
                expected="settings of a callback that is switched on, or a whole one with its _target_",
                remedy=f"add ~callbacks.{name} to the command, or leave callbacks=none out",
            )


def check_cohort(start: Start, datamodule: CohortDataModule) -> None:
    """Whether the data serve the model, and for a run that goes on: whether they are still those it began with.

    Raises:
        ConfigError: too few sites for an adversary, or no case to choose a checkpoint by.
        RunError: cohort or split are not those of the run.
    """
    if start.settings["model"].get("adversary") and datamodule.n_sites < 2:
        raise ConfigError(
            "adversary",
            found=f"{datamodule.n_sites} training site(s): {sorted(datamodule.sites)}",
            expected="at least two training sites",
            remedy="switch it off with adversary=none, or train on more sites",
        )
    if start.settings["checkpoint"] not in ("last", "ema") and not datamodule.validates:
        raise ConfigError(
            "checkpoint",
            found=f"{start.settings['checkpoint']!r} and no case to validate on",
            expected="a split with a validation part",
            remedy=f"set checkpoint=last, or {runs.validation_remedy(start.settings)}",
        )
    warn_selected_by_test(datamodule.split_result, datamodule.curves)
    if start.checkpoint is None:
        check_monitors(start.settings, validates=datamodule.validates)
    runs.check_objective(start.settings, validates=datamodule.validates)
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
