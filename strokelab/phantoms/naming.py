"""How the folder of a phantom cohort is called when its user does not say. Knows settings; imports no anatomy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strokelab.errors import ConfigError
from strokelab.phantoms.settings import Settings

RECORD = "phantom.json"
VERSION = 2  # raise it when the same settings would give other bytes


def phantom_record(place: Path) -> Path | None:
    """The record of the phantom cohort that a place lies in; None: it lies in none."""
    resolved = place.resolve()
    return next((folder / RECORD for folder in (resolved, *resolved.parents) if (folder / RECORD).is_file()), None)


def is_phantom(place: Path) -> bool:
    """Whether a place lies in a phantom cohort: synthetic data."""
    return phantom_record(place) is not None


def of_phantoms(cohort: Mapping[str, Any]) -> bool | None:
    """Whether a cohort is synthetic, by what a run says of it or by what lies in its folder.

    Args:
        cohort: the section ``cohort`` of a run's settings.

    Returns:
        None where neither tells: the data are gone, or they are several datasets, some of which may be.
    """
    root = cohort.get("root")
    if cohort.get("phantom"):
        return True
    if "datasets" in (cohort.get("options") or {}) or not isinstance(root, str) or not Path(root).is_absolute():
        return None
    return is_phantom(Path(root)) if Path(root).exists() else None


def cohort_name(layout: str, settings: Mapping[str, Any]) -> str:
    """A folder's name in which every setting stands that decides the bytes of its cohort.

    Args:
        layout: of a dataset.
        settings: ``spacing`` (mm), ``sites``, ``cases_per_site``, ``seed`` and ``options``, as ``Settings.of`` takes
            them.
    """
    counts, options = settings["cases_per_site"], settings["options"]
    if not isinstance(counts, int | None):
        counts = "-".join(map(str, counts if len(set(counts)) > 1 else counts[:1]))
    own = "".join(f"-{key}-{_word(options[key])}" for key in sorted(options))
    size = f"{float(settings['spacing'])}mm-{settings['sites']}x{counts}"
    return f"phantom-{layout}-{size}-seed{settings['seed']}{own}"


def cohort_folder(parent: Path, layout: str, settings: Mapping[str, Any]) -> Path:
    """Where a cohort lies or is to be written: under its name, or its earlier one where just this cohort lies there.

    Args:
        parent: folder of cohorts.
        layout: as ``cohort_name``.
        settings: as ``cohort_name``.
    """
    folder = parent / cohort_name(layout, settings)
    # The rule of version 0.1.0, which left the layout's options out.
    size = f"{settings['spacing']}mm-{settings['sites']}x{settings['cases_per_site']}"
    earlier = parent / f"phantom-{layout}-{size}-seed{settings['seed']}"
    try:
        fits = not folder.exists() and differences(earlier, Settings.of(layout, **settings)) == {}
    except ConfigError:  # a number out of range, which will be said when the cohort is to be written
        return folder
    return earlier if fits else folder


def named_earlier(folder: Path, layout: str, settings: Mapping[str, Any]) -> str:
    """A line for the user where a cohort lies under another name than its settings give it now; else nothing."""
    if not folder.name.startswith("phantom-") or folder.name == cohort_name(layout, settings):
        return ""
    return f"Phantom cohort under a name that an earlier version or its user gave it: {folder}"


def differences(folder: Path, settings: Settings) -> dict[str, tuple[Any, Any]] | None:
    """In what a cohort differs from the settings asked for: name -> (there, asked); None: no cohort that can be read.

    Args:
        folder: of the cohort.
        settings: that are asked for.
    """
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    asked = json.loads(json.dumps({"version": VERSION, **settings.to_json()}))
    return {key: (content.get(key), asked[key]) for key in asked if content.get(key) != asked[key]}


def _word(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
    return re.sub(r"[^\w.+-]+", "_", text)
