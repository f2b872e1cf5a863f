"""The members of a sweep: which trainings Hydra asks for, where each goes, and what starts one.

A member is known by its overrides: a sweep that is started anew in the same folder finds the folders it made before.
Knows Hydra's launchers' side; starts nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from strokelab import runs
from strokelab.command_words import quoted
from strokelab.configuration import Settings, check_choices, plain
from strokelab.errors import ConfigError, RunError
from strokelab.sweeps.record import DOOR_MODULE, Door, Record, SweepMember, own_script, read_record
from strokelab.sweeps.states import SweepMemberState, settle, state_of

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig

__all__ = [
    "Door",
    "Record",
    "SweepMember",
    "SweepMemberState",
    "door_of",
    "member_arguments",
    "plan_members",
    "settle",
    "state_of",
    "sweep_folder",
    "training_script",
]

_LONGEST = 100  # characters of a folder's name
# Hydra's settings that are the sweep's; any others reach its members, too.
_OF_THE_SWEEP = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep.", "hydra.mode")


def member_arguments(member: SweepMember) -> list[str]:
    """What a fresh training is called with, to train a member or what is left of it."""
    return [*member.overrides, "hydra.mode=RUN", f"hydra.run.dir={quoted(str(member.folder))}", "resume=auto"]


def training_script() -> Path | None:
    """The ``train.py`` that members are started by where no script is running: here, or beside the package.

    Returns:
        None: there is none; the package's own door serves.
    """
    here = Path.cwd() / "train.py"
    return here if here.is_file() else own_script()


def door_of(config: DictConfig) -> Door:
    """The command that this process was started with, without its settings.

    Args:
        config: as a launcher gets it.

    Raises:
        ConfigError: no script is running (a notebook, ``python -c``), which fresh processes could run again.
    """
    from omegaconf import OmegaConf

    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    packaged = getattr(getattr(main, "__spec__", None), "name", None) == DOOR_MODULE
    if script is None or not Path(script).is_file():
        raise ConfigError(
            "hydra/launcher",
            found="no running script",
            expected="a sweep that python train.py started: each member is a fresh process of it",
            remedy="start the sweep with python train.py -m ..., or choose hydra/launcher=basic",
        )
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for names in (("--config-dir", "-cd"), ("--config-name", "-cn"), ("--config-path", "-cp")):
        parser.add_argument(*names)
    given, _ = parser.parse_known_args(sys.argv[1:])
    flags = []
    if given.config_dir:
        flags += ["--config-dir", str(Path(given.config_dir).resolve())]
    flags += ["--config-name", given.config_name] if given.config_name else []
    flags += ["--config-path", given.config_path] if given.config_path else []
    settings = cast(list[str], OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False))
    flags += [item for item in settings if not item.lstrip("+~").startswith(_OF_THE_SWEEP)]
    return Door(None if packaged else Path(script).resolve(), Path.cwd(), sys.executable, tuple(flags))


def sweep_folder(config: DictConfig) -> Path:
    """The folder of the sweep that a launcher was given."""
    return Path(str(config.hydra.sweep.dir)).resolve()


def plan_members(
    config: DictConfig,
    context: HydraContext,
    job_overrides: Sequence[Sequence[str]],
    *,
    first: int,
    earlier: Sequence[SweepMember] = (),
    say: Callable[[str], None] = lambda line: None,
) -> list[SweepMember]:
    """The members that a sweeper asks a launcher for, each with a folder of its own.

    A folder's name is the sweep's pattern ``hydra.sweep.subdir``. Members that would share one get the overrides in
    which they differ appended. One that is asked for twice is one member.

    Args:
        config: the launcher's.
        context: Hydra's.
        job_overrides: of each job, as a sweeper gives them.
        first: number of the first job.
        earlier: members that this sweep was asked for before.
        say: for the line that tells of a sweep which was begun under other defaults and keeps them.

    Raises:
        ConfigError: a setting that would have several members write into one folder, or contradicts another.
        RunError: the record in the sweep's folder cannot be read.
    """
    folder = sweep_folder(config)
    record = read_record(folder)
    known = {member.overrides: member for member in (*(record.members if record else ()), *earlier)}
    taken = {member.number for member in known.values()}
    asked = list(dict.fromkeys(tuple(overrides) for overrides in job_overrides))
    numbers: dict[tuple[str, ...], int] = {}
    for index, overrides in enumerate(asked, start=first):
        _refuse_places(overrides)
        check_choices(overrides)
        number = known[overrides].number if overrides in known else index
        if overrides not in known and number in taken:
            number = max(taken) + 1
        numbers[overrides] = number
        taken.add(number)
    composed = {overrides: _composed(config, context, overrides, numbers[overrides]) for overrides in asked}
    names = {overrides: _shortened(_pattern(composed[overrides], numbers[overrides])) for overrides in asked}
    here = {member.overrides: member.folder.relative_to(folder).as_posix() for member in earlier}
    names = _apart(names, here)
    members, settings = {}, {}
    for overrides in asked:
        place = known[overrides].folder if overrides in known else folder / names[overrides]
        settings[overrides] = _settings(composed[overrides], place)
        members[overrides] = SweepMember(numbers[overrides], overrides, place, _digest(settings[overrides]))
    there = {key: known[key].digest if key in known else "" for key in asked}
    there |= {
        key: str(runs.read_environment(members[key].folder).get("digest") or "") for key in asked if not there[key]
    }
    kept = _as_begun(settings, there)
    if kept:
        say(str(next(iter(kept.values()))))
    members |= {key: replace(members[key], digest=runs.settings_digest(one.settings)) for key, one in kept.items()}
    return [members[tuple(overrides)] for overrides in job_overrides]


def _as_begun(
    settings: Mapping[tuple[str, ...], Settings | None], there: Mapping[tuple[str, ...], str]
) -> dict[tuple[str, ...], runs.Before]:
    """The members that keep the defaults which their sweep was begun with.

    Args:
        settings: of the members, by their overrides.
        there: the digest that was left of each; ``""``: it is new, and does as the others do.
    """
    known = {key: own for key, own in settings.items() if own}
    begun = {key: before for key, own in known.items() if (before := runs.as_before(own, there[key], key))}
    if begun:
        former = next(iter(begun.values())).taken_back
        new = {key: runs.taken_back(own, former, key) for key, own in known.items() if not there[key]}
        begun |= {key: before for key, before in new.items() if before.taken_back}
    return begun


def _refuse_places(overrides: Sequence[str]) -> None:
    for item in overrides:
        key = item.lstrip("+~").partition("=")[0]
        if key in ("run_dir", "resume"):
            raise ConfigError(
                key,
                found=f"{item} in a sweep",
                expected="members in folders of their own, below hydra.sweep.dir",
                remedy="name folders with hydra.sweep.dir=... and hydra.sweep.subdir=...; a sweep that is started "
                "again in the same hydra.sweep.dir goes on where it ended",
            )


def _composed(config: DictConfig, context: HydraContext, overrides: Sequence[str], number: int) -> DictConfig:
    from omegaconf import open_dict

    composed = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id = str(number)
        composed.hydra.job.num = number
    return composed


def _pattern(composed: DictConfig, number: int) -> str:
    """The name that ``hydra.sweep.subdir`` gives a member."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf.errors import OmegaConfBaseException

    former = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(composed)
    try:
        text = str(composed.hydra.sweep.subdir)
    except OmegaConfBaseException:  # a setting that it refers to has no value; the member itself will say so
        text = str(number)
    finally:
        HydraConfig.instance().cfg = former
    parts = [re.sub(r"[\x00-\x1f\\]", "_", part) for part in text.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or str(number)


def _digest(settings: Settings | None) -> str:
    return "" if settings is None else runs.settings_digest(settings)


def _settings(composed: DictConfig, folder: Path) -> Settings | None:
    """What the member's own process will find; None: something has no value, as the member itself will say."""
    import copy

    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict, read_write

    former = HydraConfig.instance().cfg
    with read_write(composed.hydra.runtime), open_dict(composed.hydra.runtime):
        composed.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(composed)
    try:
        settings = copy.deepcopy(composed)
        with read_write(settings), open_dict(settings):
            del settings["hydra"]
        return runs.with_init_weights(plain(settings), folder)
    except (ConfigError, RunError):  # the member fails, the others go on
        return None
    finally:
        HydraConfig.instance().cfg = former


def _apart(names: dict[tuple[str, ...], str], earlier: dict[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """The names, where equal ones are told apart by the overrides in which their members differ."""
    parted = dict(names)
    for overrides, name in names.items():
        same = [other for other, its in (*names.items(), *earlier.items()) if its == name and other != overrides]
        if same:
            own = [item for item in overrides if any(item not in other for other in same)]
            parted[overrides] = _shortened(f"{name}-{','.join(map(_readable, own))}")
    used: set[str] = set(earlier.values())
    for overrides, name in parted.items():
        if name in used and earlier.get(overrides) != name:  # values that differ only in unsafe characters
            parted[overrides] = _shortened(f"{name}-{_tail(overrides)}")
        used.add(parted[overrides])
    return parted


def _readable(override: str) -> str:
    key, _, value = override.lstrip("+~").partition("=")
    return re.sub(r"[^\w.=+-]+", "_", f"{key.rpartition('.')[2]}={value}", flags=re.ASCII).strip("_")


def _shortened(name: str) -> str:
    """Each part of a path at most ``_LONGEST`` characters long, the rest as a digest."""
    return "/".join(
        part if len(os.fsencode(part)) <= _LONGEST else f"{_cut(part)}-{_tail([part])}" for part in name.split("/")
    )


def _cut(part: str) -> str:
    return os.fsencode(part)[: _LONGEST - 9].decode(errors="ignore").rstrip()


def _tail(texts: Sequence[str]) -> str:
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=4).hexdigest()
