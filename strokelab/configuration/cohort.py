"""Which phantom cohort a training would write, or a command asks for. Writes none."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strokelab.configuration.composition import compose, plain
from strokelab.errors import ConfigError
from strokelab.phantoms.naming import cohort_folder

_PHANTOM = "strokelab.data.datamodule.Phantom"
_ALONE = {"spacing": 1.0, "sites": 9, "cases_per_site": 6, "seed": 0}


@dataclass(frozen=True)
class PhantomCohort:
    """A phantom cohort as it is asked for.

    Args:
        layout: of the dataset it looks like.
        folder: where a training with these settings looks for it.
        settings: of ``write_cohort``.
    """

    layout: str
    folder: Path
    settings: Mapping[str, Any]


def phantom_settings(overrides: Sequence[str], layout: str | None, given: Mapping[str, Any]) -> PhantomCohort:
    """The cohort of a training, or of the numbers given alone.

    Args:
        overrides: as ``train.py`` takes them; empty: no training is meant.
        layout: of the dataset it looks like; None: the training's.
        given: ``spacing``, ``sites``, ``cases_per_site`` and ``seed``, which have the last word; None: not given.

    Raises:
        ConfigError: the settings cannot be composed, or that training has no phantoms.
    """
    said = {key: value for key, value in given.items() if value is not None}
    if not overrides:
        settings = {**_ALONE, **said}
        return _cohort(str(layout), settings, {})
    chosen = [f"data.{'phantom_seed' if key == 'seed' else key}={value}" for key, value in said.items()]
    chosen += [f"data.layout={layout}"] if layout else []
    data = plain(compose("train", [*overrides, *chosen]))["data"]
    if data["_target_"] != _PHANTOM:
        raise ConfigError(
            " ".join(overrides),
            found=f"a training on {data['_target_']}",
            expected="one on phantoms",
            remedy="add data=phantom, or leave the settings out and name --layout",
        )
    settings = {key: data["phantom_seed" if key == "seed" else key] for key in _ALONE}
    return _cohort(data["layout"], settings, data["layout_options"] or {}, data["root"])


def _cohort(layout: str, settings: Mapping[str, Any], options: Mapping[str, Any], root: str = "") -> PhantomCohort:
    place = Path(os.environ.get("STROKELAB_DATA") or "data")
    folder = Path(root) if root else cohort_folder(place, layout, {**settings, "options": options})
    return PhantomCohort(layout, folder, {**settings, **options})
