"""Where a run folder's config makes a training write, and how much it makes it start: into the folder, within reason.

Classes on the allow-list still write where their arguments say, and a tracking server receives what its logger sends.
Builds nothing and opens nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from strokelab.configuration.composition import Settings
from strokelab.configuration.stages import STAGES, of_stage
from strokelab.errors import ConfigError

MOST_PROCESSES = 512
_WRITTEN = ("dirpath", "folder", "save_dir", "default_root_dir", "root_dir", "log_dir", "dir", "path")
_STRATEGIES = ("auto", "ddp")
# Values a trainer may have; others choose plugins, profilers and registries, which write files of their own.
_WORDS = ("_target_", "accelerator", "strategy", "precision", "devices", "deterministic", "gradient_clip_algorithm")
_DURATION = re.compile(r"\d+(:\d+){3}")  # trainer.max_time: days, hours, minutes, seconds
_PROCESSES = ("data.workers", "data.prepare_workers", "trainer.devices", "trainer.num_nodes")
# What a config may not decide for the user who resumes it: an upload, of pictures or of checkpoints.
_NOT_FOREIGN = ("entity", "share_images", "share_case_ids")


def check_places(settings: Settings, folder: Path, *, typed: Sequence[str] = (), where: str | Path = "config") -> None:
    """Refuse settings that would write outside a run folder, upload to another account, or start many processes.

    Args:
        settings: of an untrusted run, resolved, its own folder's name already the present one.
        folder: of the run, in full.
        typed: keys or settings of the command line; what they say is meant.
        where: the file the settings came from, for messages.

    Raises:
        ConfigError: naming the setting, and how to agree to it.
    """
    meant = tuple(f"{name.lstrip('+~').partition('=')[0]}." for name in typed)
    every = [("", settings), *((f"{STAGES}.{name}.", of_stage(settings, name)) for name in settings.get(STAGES) or ())]
    for stage, found, name, value in ((stage, *wrong) for stage, one in every for wrong in _wrong(one, folder)):
        key = f"{stage}{name}"
        if not (f"{key}.".startswith(meant) or f"{name}.".startswith(meant)):
            raise ConfigError(
                where,
                found=f"{key}={value!r}, {found}",
                expected=f"settings that stay in {folder}",
                remedy=f"if you mean it, say so yourself: add {key}=... to the command",
            )


def _wrong(settings: Settings, folder: Path) -> Iterator[tuple[str, str, Any]]:
    """(what is wrong, key, value) of every setting that is."""
    for section in ("callbacks", "logger", "trainer"):
        for key, value in _leaves(settings.get(section), section):
            name = key.rpartition(".")[2]
            if name in _WRITTEN and value is not None and not _inside(value, folder):
                yield "a place outside the run folder", key, value
            elif name not in _WRITTEN and isinstance(value, str) and _wanders(value) and not _inside(value, folder):
                yield "which leads out of the run folder", key, value
            elif section == "trainer" and isinstance(value, str) and not (name in _WORDS or _DURATION.fullmatch(value)):
                yield "which no training of ours needs", key, value
            elif name in _NOT_FOREIGN and value not in (None, False):
                yield "which is not the author's to decide", key, value
    strategy = (settings.get("trainer") or {}).get("strategy")
    if isinstance(strategy, str) and not strategy.startswith(_STRATEGIES):
        yield "which writes files of its own", "trainer.strategy", strategy
    for key in _PROCESSES:
        value = (settings.get(key.partition(".")[0]) or {}).get(key.partition(".")[2])
        if isinstance(value, list) or (isinstance(value, (int, float)) and value > MOST_PROCESSES):
            count = len(value) if isinstance(value, list) else value
            if count > MOST_PROCESSES:
                yield f"more than {MOST_PROCESSES} processes", key, value
    yield from _data_places(settings.get("data") or {}, folder)


def _data_places(data: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, str, Any]]:
    """The prepared store is the reader's own, and phantoms are written among the reader's data."""
    from strokelab.preparation.store import default_store

    store, root = data.get("store"), data.get("root")
    if store is not None and not any(_inside(store, place) for place in (folder, default_store().resolve())):
        yield "a store that is not yours", "data.store", store
    if str(data.get("_target_", "")).endswith(".Phantom"):
        own = Path(os.environ.get("STROKELAB_DATA") or "data").resolve()
        there = isinstance(root, str) and (Path(root) / "phantom.json").is_file()  # nothing is written then
        if not there and not any(_inside(root, place) for place in (folder, own)):
            yield "where phantoms would be written", "data.root", root


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}")
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _leaves(value, path)
    else:
        yield path, node


def _wanders(text: str) -> bool:
    """Whether a text could name a place that does not begin where it is put."""
    return text.startswith(("/", "~", "\\")) or "://" in text or ".." in re.split(r"[/\\]", text)


def _inside(value: Any, folder: Path) -> bool:
    """Whether a value is a full local path at or below a folder, links followed."""
    if not isinstance(value, str) or "://" in value or "::" in value or "\0" in value or not value.startswith("/"):
        return False
    try:
        return Path(value).resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # a circle of links
        return False
