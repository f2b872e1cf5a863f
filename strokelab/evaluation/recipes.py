"""Whether a run was trained as the papers' tables mean it: its settings beside those of the tables' experiments."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from strokelab.configuration import Settings, compose, conf_folder, plain
from strokelab.evaluation.entries import Entry
from strokelab.report.paper_tables import PaperTable, load_tables
from strokelab.runs.recipe import unlike

_SWITCHES = {"hemispheres": "split", "adversary": "site", "standardizer": "main"}


def unlike_recipes(entry: Entry, parts: frozenset[str] | None) -> dict[str, tuple[str, ...]]:
    """What a run, or an ensemble's members, have otherwise than the recipe of each published table.

    Args:
        entry: the run.
        parts: of SG-Net's family that are on; None: another network.

    Returns:
        Name of the table -> phrases; tables whose recipe it is, or that have none for it, are left out.
    """
    found = {}
    for table in load_tables(conf_folder()):
        words = _of_members(entry, table) if entry.members else _of_run(entry, table, parts)
        if words:
            found[table.name] = words
    return found


def _of_run(entry: Entry, table: PaperTable, parts: frozenset[str] | None) -> tuple[str, ...]:
    if isinstance(table.recipe, Mapping):
        experiment = table.recipe.get(entry.name, "")
        return unlike(entry.settings, _recipe(experiment)) if experiment else ()
    if not table.recipe:
        return ()
    if parts is None:
        rows = any(entry.name in row.models for row in table.rows)
        return unlike(entry.settings, _recipe(table.recipe, f"model={entry.name}")) if rows else ()
    switches = [f"{part}={option if part in parts else 'none'}" for part, option in _SWITCHES.items()]
    experiment = "sgnet_balanced" if "site_balanced" in parts else table.recipe
    return unlike(entry.settings, _recipe(experiment, *switches))


def _of_members(entry: Entry, table: PaperTable) -> tuple[str, ...]:
    """An ensemble is the paper's when each of its schemes is there and each member is of its scheme's recipe."""
    if not isinstance(table.recipe, Mapping):
        return ()
    missing = [name for name in table.recipe if name not in {member.name for member in entry.members}]
    words = [f"members: none of {', '.join(missing)}"] if missing else []
    for member in entry.members:
        words += [f"{member.name}: {word}" for word in _of_run(member, table, None)]
        words += [] if member.name in table.recipe else [f"members: {member.name}, which the paper has not"]
    return tuple(dict.fromkeys(words))


def _recipe(experiment: str, *overrides: str) -> Settings:
    return composed("train", f"experiment={experiment}", *overrides)


@cache
def composed(config: str, *overrides: str) -> Settings:
    """The composed config of a door; an evaluation's own Hydra is as it was afterwards."""
    from hydra.core.singleton import Singleton

    state = Singleton.get_state()
    try:
        return plain(compose(config, overrides))
    finally:
        Singleton.set_state(state)
