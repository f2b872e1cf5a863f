"""What makes a training what it is, fact by fact, and where two differ. Knows settings; reads no file, builds nothing.

A row of a paper's table is met by a run of its recipe alone, and only runs of one recipe are averaged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from strokelab.configuration import Settings
from strokelab.configuration.late_facts import DEFAULT_FACTS, LENGTHS, MISSING, fact_of
from strokelab.configuration.stages import STAGES, of_stage, stage_names
from strokelab.files import digest

FACTS: Mapping[str, tuple[str, ...]] = {
    "length": (
        *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.limit_train_batches"),
        *("trainer.overfit_batches", "view.sampler.iterations_per_epoch"),
    ),
    "loss": ("model.loss",),
    "normalisation": ("view.preparation.normalize", "model.mask_input"),
    "optimiser": (
        *("model.optimizer", "model.scheduler", "model.scheduler_interval", "model.rate_factors"),
        "trainer.gradient_clip_val",
        *("trainer.accumulate_grad_batches", "data.batch_size", "callbacks.rescue.restart"),
    ),
    "network": (
        "model.network",
        "model.standardizer",
        "model.hemispheres",
        "model.adversary",
        "callbacks.site_adversary",
    ),
    "samples": ("view.preparation", "view.sampler", "view.order", "view.augment"),
    "data": ("data.modalities", "data.only_sites", "data.exclude", "data.limit_per_site", "data.pseudo.weight"),
    "split": ("split.folds",),
    "weights": ("checkpoint", "init_weights.source"),
    "stages": ("stages",),
}
"""Fact -> the settings that it is made of."""
# What changes no number, or is a fact of its own above.
_NOT_COMPARED = {"channels_last", "recompute", "modalities", "n_sites", "in_channels", "plane", "seed"}
_PLANNED = ("patch", "widths", "batch_size")  # of the papers' cohorts: DEFAULT_FACTS
_NOT_COMPARED |= {"validation_iterations", "fixed_validation", "normalize", "iterations_per_epoch"}


def unlike(settings: Settings, recipe: Settings) -> tuple[str, ...]:
    """What a training has that its recipe does not say, in words, e.g. ``length: max_epochs 5, not 50``.

    Args:
        settings: of the training, with its late facts and its cohort.
        recipe: composed; what is ``???`` in it is the plan of its paper's cohort.

    Returns:
        One phrase a fact; empty where the training is the recipe's.
    """
    found = [*_of_data(settings, recipe)]
    for fact, keys in FACTS.items():
        phrases = [phrase for key in keys for phrase in _phrases(key, _at(settings, key), _planned(recipe, key))]
        found += [f"{fact}: {', '.join(phrases[:3])}{' ...' if len(phrases) > 3 else ''}"] if phrases else []
    wanted, used = str(recipe["trainer"].get("precision")), str(_at(settings, "trainer.precision"))
    if not (used.endswith("-mixed") if wanted == "auto" else used == wanted):
        found.append(f"precision: {used}, not {'mixed' if wanted == 'auto' else wanted}")
    return tuple(found)


def differences_of(trainings: Sequence[Settings]) -> list[tuple[str, ...]]:
    """Every setting in which trainings of one name are not alike, as ``key=value``; none where they are of one recipe.

    Precision is left out: with ``auto`` it is the machine's choice.
    """
    leaves = [_facts(settings) for settings in trainings]
    names = dict.fromkeys(name for one in leaves for name in one)
    differing = [name for name in names if len({_text(one.get(name)) for one in leaves}) > 1]
    return [tuple(f"{_short(name)}={_text(one.get(name))}" for name in differing) for one in leaves]


def kind_of(settings: Settings) -> str:
    """A training's name and its recipe in a word: the same for its other folds and seeds."""
    return f"{settings.get('name')}-{digest({key: _text(value) for key, value in _facts(settings).items()})[:6]}"


def _facts(settings: Settings) -> dict[str, Any]:
    keys = [key for keys in FACTS.values() for key in keys]
    found = {leaf: value for key in keys for leaf, value in _leaves(_at(settings, key), key)}
    # Each fold has its own number of steps.
    stages = {f"{STAGES}.{name}.": of_stage(settings, name) for name in stage_names(settings) if name}
    counted = [at for at, one in {"": settings, **stages}.items() if _at(one, "model.scheduler_interval") == "step"]
    steps = {f"{at}model.scheduler.{name}" for at in counted for name in LENGTHS}
    found = {key: value for key, value in found.items() if key not in steps}
    return found | {"dataset": _at(settings, "cohort.dataset"), "validation": bool(_at(settings, "cohort.cases.val"))}


def _of_data(settings: Settings, recipe: Settings) -> Iterable[str]:
    cohort = settings.get("cohort") or {}
    wanted = str(recipe["data"].get("_target_")).rpartition(".")[2].lower() + str(recipe["data"].get("variant") or "")
    if str(cohort.get("dataset", "")).replace("_", "") != wanted:
        yield f"data: trained on {cohort.get('dataset') or 'unknown'}, not {wanted}"
    validating = (cohort.get("cases") or {}).get("val")
    if validating and not recipe["split"].get("val_fraction"):
        yield f"data: {validating} cases validate and do not train, none of the recipe's"
    rules = [str(_at(one, "split._target_") or "").rpartition(".")[2] for one in (settings, recipe)]
    if rules[0] not in (rules[1], "FromFile"):
        yield f"split: {rules[0] or 'none'}, not {rules[1]}"


def _phrases(key: str, own: Any, wanted: Any) -> list[str]:
    targets = [node.get("_target_") if isinstance(node, Mapping) else None for node in (own, wanted)]
    if targets[0] != targets[1] and any(targets):
        names = [str(target).rpartition(".")[2] if target else "none" for target in targets]
        return [f"{_short(key)} {names[0]}, not {names[1]}"]
    here, there = dict(_leaves(own, key)), dict(_leaves(wanted, key))
    return [
        f"{_short(name)} {_text(here.get(name))}, not {_text(there.get(name))}"
        for name in dict.fromkeys([*here, *there])
        if there.get(name) != MISSING
        and _text(here.get(name)) != _text(there.get(name))
        and (here.get(name) or there.get(name))
    ]


def _leaves(node: Any, path: str) -> Iterable[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            off = isinstance(value, Mapping) and value.get("enabled") is False  # is what older runs lack
            if key not in _NOT_COMPARED and not off:
                yield from _leaves(value, f"{path}.{key}")
    else:
        yield path, node


def _planned(recipe: Settings, key: str) -> Any:
    """A recipe's node with the plan of the paper's cohort in place of what is open."""

    def filled(node: Any, path: str) -> Any:
        if isinstance(node, Mapping):
            return {inner: filled(value, f"{path}.{inner}") for inner, value in node.items()}
        open_batch = path == "data.batch_size" and node is None and bool(recipe.get("planner"))
        fact = fact_of(path)
        return DEFAULT_FACTS[fact] if fact in _PLANNED and (node == MISSING or open_batch) else node

    return filled(_at(recipe, key), key)


def _at(settings: Mapping[str, Any], path: str) -> Any:
    node: Any = settings
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _short(path: str) -> str:
    parts = path.split(".")
    return parts[-2] if parts[-1] == "_target_" else parts[-1]


def _text(value: Any) -> str:
    """A value as it compares: 1 is 1.0, a tuple is a list, and an empty section is none, as in older runs."""
    if isinstance(value, str):
        return value.rpartition(".")[2] if value.startswith(("strokelab.", "torch.")) else value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:g}"
    return "none" if value is None or value == {} else json.dumps(value, default=str)
