"""One run on Weights & Biases: online or offline, under one id over all its starts. Knows no metric and no trainer."""

from __future__ import annotations

import json
import netrc
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from strokelab.errors import ConfigError
from strokelab.files import digest, make_folder, write_json

IDENTITY = "wandb.json"
Mode = Literal["online", "offline", "disabled"]
_MODES: dict[str, Mode] = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "run": "online",  # wandb's older words
    "dryrun": "offline",
}
_FINISH_SECONDS = 120.0  # a network that went away must not keep a finished training; the files stay


@dataclass
class Session:
    """An open run.

    Args:
        run: wandb's.
        mode: what became of it: ``online``, ``offline`` or ``disabled``.
        message: which, why, and how to change it.
    """

    run: Any
    mode: Mode
    message: str
    _environment: Mapping[str, str | None] = field(default_factory=dict)

    def close(self, exit_code: int) -> None:
        """End the run; other than 0 shows as failed."""
        try:
            self.run.finish(exit_code=exit_code)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave the run as it is; the environment is as before."""
        _restore(self._environment)


def has_key() -> bool:
    """Whether wandb would find an API key: ``WANDB_API_KEY``, or an entry for its server in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    try:
        file = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, RuntimeError, netrc.NetrcParseError):  # no file, no home folder, no netrc file
        return False


def chosen_mode(asked: str | None) -> Mode:
    """Online, offline or disabled: what is asked for, else ``WANDB_MODE``, else online where there is a key.

    Raises:
        ConfigError: there is no such mode, or it needs a key and there is none.
    """
    wish = asked or os.environ.get("WANDB_MODE")
    if not wish:
        return "online" if has_key() else "offline"
    mode = _MODES.get(wish)
    if mode is None:
        raise ConfigError(
            "logger.wandb.mode" if asked else "WANDB_MODE",
            found=repr(wish),
            expected="online, offline or disabled",
            remedy="choose one, or leave it out: online where there is a key, else offline",
        )
    if mode == "online" and not has_key():
        raise ConfigError(
            "logger.wandb.mode=online" if asked else "WANDB_MODE=online",
            found="no key for W&B on this machine",
            expected="WANDB_API_KEY, or a login",
            remedy="run `wandb login`, or choose logger.wandb.mode=offline",
        )
    return mode


def run_id(folder: Path, settings: Mapping[str, Any], *, resumed: bool) -> str:
    """The id of a run folder's training on the board, kept in ``wandb.json``.

    A training that goes on keeps it, and so does one that starts again with the same settings before it ever ended;
    another training in the same folder gets a new one.
    """
    asked = digest(dict(settings))
    known = _read(folder / IDENTITY)
    if not resumed and (known.get("settings") != asked or known.get("ended")):
        known = {}
    kept = str(known.get("id", ""))
    identity = kept if re.fullmatch(r"[A-Za-z0-9]{4,32}", kept) else secrets.token_hex(4)
    write_json(folder / IDENTITY, {"id": identity, "settings": asked, "ended": False})
    return identity


def mark_ended(folder: Path) -> None:
    """Note that the training ended well: the next one in this folder is another run, unless it resumes this one."""
    write_json(folder / IDENTITY, {**_read(folder / IDENTITY), "ended": True})


def set_aside(folder: Path, identity: str) -> bool:
    """Move what earlier starts of a run wrote offline to ``wandb/superseded``, unless some of it was uploaded.

    The next part can then hold the whole history, and uploading ``wandb/offline-run-*`` is uploading the run, once.

    Returns:
        Whether the board knows nothing of the run yet.
    """
    place = folder / "wandb"
    parts = sorted(place.glob(f"offline-run-*-{identity}"))
    if any(place.glob(f"run-*-{identity}/*.wandb")) or any(place.glob(f"offline-run-*-{identity}/*.synced")):
        return False
    for part in parts:
        target = make_folder(place / "superseded") / part.name
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    return True


def open_session(folder: Path, asked: str | None, *, init_timeout: float, **arguments: Any) -> Session:
    """Open a run.

    A server that does not answer in time, or does not know the key, costs no training: the run goes on offline.

    Args:
        folder: of the run; everything W&B writes goes to its ``wandb``, also what it would put into the user's home.
        asked: mode, see ``chosen_mode``.
        init_timeout: seconds to wait for the server.
        **arguments: of ``wandb.init``, e.g. ``id``, ``project``, ``name``, ``config``.

    Raises:
        ConfigError: see ``chosen_mode``.
    """
    import wandb

    mode = chosen_mode(asked)
    why = "as asked for" if asked or os.environ.get("WANDB_MODE") else "no key on this machine"
    place = make_folder(folder / "wandb")
    before = _set(
        WANDB_MODE=mode,  # an empty one is an error to wandb
        WANDB_DATA_DIR=str(place),  # files of artifacts wait here for their upload
        WANDB_CACHE_DIR=str(place / "cache"),
        WANDB_ERROR_REPORTING="false",
    )
    try:
        if mode == "online":
            there = set(place.glob("run-*"))
            try:
                return _said(_init(folder, mode, init_timeout, arguments), mode, place, before=before)
            except (wandb.Error, TimeoutError, OSError) as error:
                why = f"the server cannot be used: {(str(error).splitlines() or [type(error).__name__])[0][:200]}"
                wandb.teardown()  # else the id stays taken
                for attempt in set(place.glob("run-*")) - there:
                    shutil.rmtree(attempt, ignore_errors=True)
                mode = "offline"
        return _said(_init(folder, mode, init_timeout, arguments), mode, place, before=before, why=why)
    except BaseException:
        _restore(before)
        raise


def _init(folder: Path, mode: Mode, init_timeout: float, arguments: Mapping[str, Any]) -> Any:
    import wandb

    settings = wandb.Settings(
        mode=mode,
        init_timeout=init_timeout,
        finish_timeout=_FINISH_SECONDS,
        console="off",  # progress bars, and case ids in warnings
        disable_code=True,
        silent=True,
        **arguments.get("settings", {}),
    )
    # Wandb's own process of the process that started this one would keep our run open, should we be killed.
    os.environ.pop("WANDB_SERVICE", None)
    # create_new: a run that was left open must never take this one's numbers.
    given = {**arguments, "settings": settings}
    run = wandb.init(dir=str(folder), resume="allow", reinit="create_new", **given)
    for link in (folder / "wandb").glob("*/logs/*"):
        if link.is_symlink():  # to a full path: it would point out of a folder that was moved
            link.unlink()
    return run


def _said(run: Any, mode: Mode, place: Path, *, before: Mapping[str, str | None], why: str = "") -> Session:
    if mode == "online":
        message = f"W&B online: {run.url} (logger.wandb.mode=offline keeps it here)"
    elif mode == "offline":
        part = Path(run.settings.sync_dir)
        message = (
            f"W&B offline ({why}). Upload later with: wandb sync {part}   "
            "Go online with: wandb login, or logger.wandb.mode=online"
        )
    else:
        message = "W&B disabled (logger.wandb.mode=online|offline)"
    return Session(run, mode, message, before)


def _set(**variables: str) -> dict[str, str | None]:
    """Set what the user has not set; returns what to restore."""
    before = {name: os.environ.get(name) for name in variables if not os.environ.get(name)}
    os.environ.update({name: variables[name] for name in before})
    return before


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
