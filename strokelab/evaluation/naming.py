"""How tables call runs and models: told apart by folders, swept settings, recipes. Knows settings; loads no run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from strokelab.configuration import Settings
from strokelab.runs.recipe import differences_of

REPEATS = ("seed", "split.fold", "split.seed")
"""Settings of a sweep that make repetitions of one model, not another model."""

LONGEST = 30
"""Letters of a name that figures and tables hold. Where settings make a longer one, folders tell the runs apart."""


class Nameable(Protocol):
    """What a run's names are made of."""

    @property
    def folder(self) -> Path:
        """The run folder."""

    @property
    def name(self) -> str:
        """How the run calls its model."""

    @property
    def settings(self) -> Settings:
        """Of its training."""

    @property
    def member(self) -> str:
        """Its name in the sweep; "" = named on the command line."""

    @property
    def overrides(self) -> Mapping[str, str]:
        """That tell it from the sweep's others."""


class Names(NamedTuple):
    """How tables know a run."""

    label: str  # of the run
    model: str  # of which there may be several runs
    differs: str = ""  # settings that tell its model from its namesakes, where ``model`` holds a folder in their place


def names_of(runs: Sequence[Nameable]) -> list[Names]:
    """The names of runs, in their order.

    Runs of one name and several recipes are several models, called by the settings that differ, or, where these make
    a name of more than ``LONGEST`` letters, by a folder. Of a command line's runs, two that differ in nothing that we
    compare are still two things to compare: each is a model of its own, called by its folder.
    """
    told = _told_apart(runs)
    models = [" ".join([run.name, *words]) for run, words in zip(runs, told, strict=True)]
    identities = [identity_of(model, run.settings) for model, run in zip(models, runs, strict=True)]
    alike = Counter(one for one, run in zip(identities, runs, strict=True) if not run.member)
    listed = _labels([run for run in runs if not run.member])
    short = _short_names(runs, told)
    names = []
    for run, model, identity, words in zip(runs, models, identities, told, strict=True):
        label = run.member or listed[run.folder]
        twin = not run.member and alike[identity] > 1
        differs = ", ".join(words) if model in short else ""
        names.append(Names(label, label if twin else short.get(model, model), differs))
    clash = [label for label, count in Counter(one.label for one in names).items() if count > 1]
    return [
        one._replace(label=str(run.folder)) if one.label in clash else one for run, one in zip(runs, names, strict=True)
    ]


def identity_of(model: str, settings: Settings) -> str:
    """What must differ between two runs of a model that were scored on the same case."""
    split = {key: value for key, value in (settings.get("split") or {}).items() if key != "val_fraction"}
    return json.dumps([model, settings.get("seed"), split], sort_keys=True, default=str)


def _told_apart(runs: Sequence[Nameable]) -> list[tuple[str, ...]]:
    """Settings behind the name of each run's model: those that were swept, then those that differ beside them.

    Runs of one name but of different recipes are different models: their scores are never averaged.
    """
    swept = [_swept(run, runs) for run in runs]
    kinds = [(run.name, *words) for run, words in zip(runs, swept, strict=True)]
    words: dict[int, tuple[str, ...]] = {}
    for kind in dict.fromkeys(kinds):
        namesakes = [index for index, other in enumerate(kinds) if other == kind]
        told = differences_of([runs[index].settings for index in namesakes])
        words |= dict(zip(namesakes, told, strict=True))
    return [(*own, *words[index]) for index, own in enumerate(swept)]


def _short_names(runs: Sequence[Nameable], told: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """Model -> the name with a folder, of all models of a name of which one would be too long."""
    groups: dict[str, dict[str, list[Nameable]]] = {}  # name -> model -> runs
    for run, words in zip(runs, told, strict=True):
        groups.setdefault(run.name, {}).setdefault(" ".join([run.name, *words]), []).append(run)
    short: dict[str, str] = {}
    for models in groups.values():
        if len(models) > 1 and max(map(len, models)) > LONGEST:
            folders = _labels([run for own in models.values() for run in own])
            called = {
                model: folders[own[0].folder] + (f" and {len(own) - 1} more" if len(own) > 1 else "")
                for model, own in models.items()
            }
            if max(map(len, called.values())) < max(map(len, models)):  # a sweep's folders may hold the settings, too
                short |= called
    return short


def _labels(listed: Sequence[Nameable]) -> dict[Path, str]:
    """Names that tell runs apart: model, where models repeat with as much of the folder's end as it takes."""
    labels = [run.name for run in listed]
    parts = 0
    while len(set(labels)) < len(labels) and parts < max(len(run.folder.parts) for run in listed):
        parts += 1
        labels = [f"{run.name} {Path(*run.folder.parts[-parts:])}" for run in listed]
    return {run.folder: label for run, label in zip(listed, labels, strict=True)}


def _swept(run: Nameable, runs: Sequence[Nameable]) -> list[str]:
    """Those swept settings of a run that make another model of its name."""
    namesakes = [other.overrides for other in runs if other.member and other.name == run.name]
    words = []
    for key, value in run.overrides.items():
        short = key.lstrip("+")
        if short not in REPEATS and len({overrides.get(key) for overrides in namesakes}) > 1:
            words.append(f"{short.rpartition('.')[2]}={value}")
    return words
