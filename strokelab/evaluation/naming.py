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


def names_of(runs: Sequence[Nameable]) -> list[Names]:
    """The names of runs, in their order.

    Runs of one name and several recipes are several models. Of a command line's runs, two that differ in nothing that
    we compare are still two things to compare: each is a model of its own, called by its folder.
    """
    models = _apart(runs, [_model(run, runs) for run in runs])
    identities = [identity_of(model, run.settings) for model, run in zip(models, runs, strict=True)]
    alike = Counter(one for one, run in zip(identities, runs, strict=True) if not run.member)
    listed = _labels([run for run in runs if not run.member])
    names = []
    for run, model, identity in zip(runs, models, identities, strict=True):
        label = run.member or listed[run.folder]
        twin = not run.member and alike[identity] > 1
        names.append(Names(label, label if twin else model))
    clash = [label for label, count in Counter(one.label for one in names).items() if count > 1]
    return [
        Names(str(run.folder), one.model) if one.label in clash else one for run, one in zip(runs, names, strict=True)
    ]


def identity_of(model: str, settings: Settings) -> str:
    """What must differ between two runs of a model that were scored on the same case."""
    split = {key: value for key, value in (settings.get("split") or {}).items() if key != "val_fraction"}
    return json.dumps([model, settings.get("seed"), split], sort_keys=True, default=str)


def _apart(runs: Sequence[Nameable], models: Sequence[str]) -> list[str]:
    """Runs of one name but of different recipes are different models: their scores are never averaged."""
    words: dict[int, str] = {}
    for model in dict.fromkeys(models):
        namesakes = [index for index, name in enumerate(models) if name == model]
        told = differences_of([runs[index].settings for index in namesakes])
        words |= dict(zip(namesakes, told, strict=True))
    return [f"{model} {words[index]}".strip() for index, model in enumerate(models)]


def _labels(listed: Sequence[Nameable]) -> dict[Path, str]:
    """Names that tell the runs of a command line apart: model, with the folder where models repeat."""
    for candidate in (
        [run.name for run in listed],
        [f"{run.name} {run.folder.name}" for run in listed],
        [f"{run.name} {run.folder}" for run in listed],
    ):
        if len(set(candidate)) == len(candidate):
            break
    return {run.folder: label for run, label in zip(listed, candidate, strict=True)}


def _model(run: Nameable, runs: Sequence[Nameable]) -> str:
    """Name of the model, with those swept settings that make another model of it."""
    namesakes = [other.overrides for other in runs if other.member and other.name == run.name]
    words = []
    for key, value in run.overrides.items():
        short = key.lstrip("+")
        if short not in REPEATS and len({overrides.get(key) for overrides in namesakes}) > 1:
            words.append(f"{short.rpartition('.')[2]}={value}")
    return " ".join([run.name, *words])
