"""Which run folders hold what a training of this user wrote on this machine: their classes need no ``allow=`` again.

The record lies in the user's state folder (``XDG_STATE_HOME``, else ``~/.local/state``), where a run folder cannot
reach. It is named after the exact content of ``config.yaml``: another content, or another user, finds none.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from strokelab.command_words import setting
from strokelab.configuration import Settings
from strokelab.configuration.allowlist import own_targets
from strokelab.errors import DataWarning
from strokelab.files import write_json
from strokelab.runs.folder import CONFIG


def remember(folder: Path, settings: Settings) -> None:
    """Record the user's own classes of a run whose ``config.yaml`` was just written; warn where that is impossible."""
    own = own_targets(settings)
    if not own:
        return
    try:
        record = _record(folder)
        record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(record, {"folder": str(folder), "own": own})
    except (OSError, RuntimeError) as error:  # no home, or one that cannot be written
        packages = sorted({f"{name.partition('.')[0]}." for name in own})
        warnings.warn(
            f"{folder}: that this run builds {', '.join(own)} could not be recorded in your state folder ({error}); "
            f"to resume, evaluate or predict with it, add {setting('allow', packages)}",
            DataWarning,
            stacklevel=2,
        )


def own_classes(folder: Path) -> Sequence[str]:
    """Classes outside the allow-list that this user's own training wrote into a run's config; empty: not recorded."""
    try:
        record = _record(folder)
        if record.stat().st_uid != os.getuid():
            return ()
        own = json.loads(record.read_text(encoding="utf-8"))["own"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return ()
    return tuple(name for name in own if isinstance(name, str) and name) if isinstance(own, list) else ()


def _record(folder: Path) -> Path:
    digest = hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest()
    given = os.environ.get("XDG_STATE_HOME", "")
    state = Path(given) if Path(given).is_absolute() else Path.home() / ".local/state"
    return state / "strokelab" / "runs" / f"{digest}.json"
