"""The files of a run folder but its checkpoints: written whole, read with distrust. Knows no model and no trainer."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelab import __version__
from strokelab.command_words import setting
from strokelab.configuration import REBUILT, Settings
from strokelab.configuration.foreign_yaml import plain_yaml, read_foreign_yaml
from strokelab.configuration.schema import check_shape
from strokelab.errors import RunError
from strokelab.files import locked, make_folder, write_json, write_text
from strokelab.foreign_text import as_printable

if TYPE_CHECKING:
    from strokelab.data.split_file import Split

CONFIG = "config.yaml"
SPLIT = "split.csv"
SITES = "sites.json"
METRICS = "metrics.csv"
CASES = "cases.csv"
PROBABILITIES = "probabilities.csv"
ENVIRONMENT = "environment.json"
STATUS = "status.json"
PLAN = "plan.json"
TRAINING_SCANS = "training_scans.json"
INIT_WEIGHTS = "init_weights.json"
TUNING = "tuning.csv"
TUNED = "tuning.json"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"
HOLDER = ".holder.json"  # who holds the lock; a file of its own, because an attempt to lock may empty the lock's

_OWN = (
    *(CONFIG, SPLIT, SITES, METRICS, CASES, PROBABILITIES, ENVIRONMENT, STATUS, PLAN, TRAINING_SCANS, INIT_WEIGHTS),
    *(TUNED, TUNING),
)
_PACKAGES = ("torch", "lightning", "hydra-core", "numpy", "scipy", "nibabel", "torchmetrics")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run folder for one training; if nothing was written into it in the end, it is as absent as before.

    Raises:
        DataError: the folder cannot be created or written to.
        RunError: another training holds it.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    make_folder(folder)
    try:
        with locked(folder / LOCK, timeout_seconds=1) as free:  # not 0: another process may be looking (`is_claimed`)
            if not free:
                raise _held(folder)
            try:
                _tidy(folder)
                now = datetime.now(UTC).isoformat(timespec="seconds")
                write_json(folder / HOLDER, {"process": os.getpid(), "host": platform.node(), "since": now})
                yield
            finally:
                (folder / HOLDER).unlink(missing_ok=True)
                (folder / LOCK).unlink(missing_ok=True)
    finally:
        remove_empty(folder, *made)


def is_claimed(folder: Path) -> bool:
    """Whether a training on this machine holds a run folder at this moment."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with locked(folder / LOCK, timeout_seconds=0) as free:
            return not free
    except OSError:  # a folder we may only read
        return True


def _held(folder: Path) -> RunError:
    holder = read_json(folder / HOLDER)
    who = f" (process {holder.get('process')} on {holder.get('host')}, since {holder.get('since')})" if holder else ""
    return RunError(
        folder,
        found=f"another training that writes here at this moment{who}",
        expected="a run folder of one training",
        remedy="wait for it, stop it, or choose another run_dir",
    )


def _tidy(folder: Path) -> None:
    """Remove what a killed training was about to move into place (``files.replacing``)."""
    for pattern in (*_OWN, HOLDER, f"{CHECKPOINTS}/*.ckpt", f"{CHECKPOINTS}/.*.ckpt.part"):  # the last: resume_point
        place = (folder / pattern).parent
        for path in place.glob(f".{'[0-9a-f]' * 8}-{Path(pattern).name}"):
            path.unlink(missing_ok=True)


def remove_empty(*folders: Path) -> None:
    """Remove those folders that hold nothing, in this order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def refuse_to_replace(folder: Path) -> None:
    """A new training may replace a finished run of its settings, but neither an unfinished one nor foreign files.

    Raises:
        RunError: the folder holds a run that can be continued, or files of ours that no run of ours wrote.
    """
    state = read_status(folder)["state"]
    foreign = [name for name in _OWN if state == "unknown" and (folder / name).exists()]
    if foreign:
        raise RunError(
            folder,
            found=f"{foreign} in a folder that is no run folder",
            expected="a new folder, or a run folder that train.py wrote",
            remedy="choose another run_dir",
        )
    if state not in ("unknown", "finished") and is_claimed(folder):
        raise _held(folder)
    if state != "finished" and (folder / CHECKPOINTS / "last.ckpt").is_file():
        raise RunError(
            folder,
            found=f"a training that did not end (status: {state})",
            expected="a new folder, or a finished run of the same settings",
            remedy=f"continue it with {setting('resume', folder)}, or remove the folder to start again",
        )


def write_start(
    folder: Path,
    settings: Settings,
    split: Split,
    sites: Mapping[str, int],
    *,
    overrides: Sequence[str] = (),
    digest: str = "",
) -> None:
    """Write what is known before training starts: config, split, sites, environment, status; nothing old remains.

    Args:
        folder: of the run.
        settings: resolved.
        split: who trains, validates and tests.
        sites: training sites in the classifier's order.
        overrides: what the command line, or a sweep in its place, asked for.
        digest: of the settings asked for (``runs.settings_digest``), by which ``resume=auto`` knows the run again.

    Raises:
        DataError: the folder cannot be written to.
    """
    # Status and digest come first: whenever a kill falls, what is left is known as a run that may be started again.
    write_status(folder, "running")
    _erase(folder, keep=STATUS)
    make_folder(folder / CHECKPOINTS)
    write_json(folder / ENVIRONMENT, environment() | {"overrides": list(overrides), "digest": digest})
    write_settings(folder, settings)
    split.write(folder / SPLIT)
    write_json(folder / SITES, dict(sites))


def write_digest(folder: Path, digest: str) -> None:
    """Say that a run now has other settings than those it was started with."""
    write_json(folder / ENVIRONMENT, read_environment(folder) | {"digest": digest})


def erase(folder: Path) -> None:
    """Remove the files of a run, and nothing else that lies in its folder."""
    _erase(folder)


def _erase(folder: Path, keep: str = "") -> None:
    for path in (*(folder / CHECKPOINTS).glob("*.ckpt"), *(folder / name for name in _OWN if name != keep)):
        path.unlink(missing_ok=True)
    remove_empty(folder / CHECKPOINTS)


def write_settings(folder: Path, settings: Settings) -> None:
    """Write ``config.yaml``."""
    write_text(folder / CONFIG, plain_yaml(settings))


def write_status(folder: Path, state: str, **details: Any) -> None:
    """Say how the run stands: ``running``, ``finished``, ``killed`` or ``failed`` with the first line of the error."""
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / STATUS, {"state": state, "time": stamp, "host": platform.node(), **details})


def read_status(folder: Path) -> dict[str, Any]:
    """The content of ``status.json``; ``{"state": "unknown"}`` when there is none that can be read."""
    content = read_json(folder / STATUS)
    return content if "state" in content else {"state": "unknown"}


def read_environment(folder: Path) -> dict[str, Any]:
    """Versions, machine, command and overrides of a run; empty when they cannot be read."""
    return read_json(folder / ENVIRONMENT)


def read_score(folder: Path) -> float | None:
    """Mean Dice of the test cases in ``cases.csv``; None where no case was scored."""
    try:
        with (folder / CASES).open(encoding="utf-8", newline="") as lines:
            values = [float(row["dice"]) for row in csv.DictReader(lines) if row.get("dice")]
    except (OSError, ValueError, csv.Error):
        return None
    values = [value for value in values if math.isfinite(value)]
    return math.fsum(values) / len(values) if values else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when there is none that can be read."""
    try:
        content = as_printable(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_split(folder: Path) -> Split:
    """Who was in the training, validation and test part.

    Raises:
        RunError: the split is missing from the folder.
        DataError: it is no such table.
    """
    from strokelab.data.split_file import Split  # a table of sweeps needs neither images nor their libraries

    path = folder / SPLIT
    if not path.is_file():
        raise RunError(path, found="no such file", expected="the split of the run", remedy="copy the run again")
    return Split.read(path)


def read_settings(folder: Path) -> Settings:
    """The resolved config of a run as plain data; nothing in it is interpreted.

    Raises:
        RunError: there is no run folder, or its config is no YAML mapping with a model, a view and a cohort.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise RunError(
            folder,
            found=f"no {CONFIG}" if folder.is_dir() else "no such folder",
            expected="a run folder that train.py wrote",
            remedy="name the folder that holds config.yaml and checkpoints/",
        )
    settings = read_foreign_yaml(path, expected="the config train.py wrote", remedy="copy the run again")
    needed = (*REBUILT, "cohort")
    missing = [key for key in needed if not isinstance(settings, dict) or not isinstance(settings.get(key), dict)]
    if missing:
        raise RunError(path, found=f"no {missing}", expected=f"sections {list(needed)}", remedy="copy the run again")
    check_shape(settings, path)
    return dict(settings)


def environment() -> dict[str, Any]:
    """Versions, machine and commit a result was made with."""
    import torch

    return {
        "strokelab": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
