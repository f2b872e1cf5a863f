"""What a cohort decides before a training is built: the plan, asked for where settings are left open, and kept.

Knows settings, the cohort and the planner; knows no model. A run that goes on has nothing open: its plan is in its
config.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelab.configuration import Settings, bind, build
from strokelab.configuration.late_facts import DEFAULT_FACTS, MISSING, PLANNED, given_facts
from strokelab.errors import ConfigError
from strokelab.runs.folder import PLAN, read_json

if TYPE_CHECKING:
    from strokelab.data.datamodule import CohortDataModule
    from strokelab.planning import Fingerprint, Plan, Planner
    from strokelab.preparation.recipe import Preparation


@dataclass(frozen=True)
class Planned:
    """A plan with what it came from, for ``plan.json``."""

    plan: Plan
    given: Mapping[str, Any]
    seen: Fingerprint

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"plan": self.plan.facts(), "given": dict(self.given), "cohort": self.seen.to_json()}

    def describe(self) -> str:
        """One line for the user."""
        plan = self.plan
        by = " x ".join
        mm = by(f"{length:g}" for length in plan.spacing) + " mm" if plan.spacing else "each case's own voxels"
        return (
            f"Planned from {len(self.seen)} cases: patches of {by(map(str, plan.patch))} at {mm}, {plan.batch_size} "
            f"per step, {len(plan.strides) - 1} poolings, {plan.normalize}"
        )


def with_open_batch(settings: Settings) -> Settings:
    """Settings in which a batch that is to be planned is left open like the other facts.

    A number in a file that is merged before cannot be taken back by ``???``, so families write null.
    """
    data = settings.get("data") or {}
    if not settings.get("planner") or data.get("batch_size", 0) is not None:
        return settings
    return {**settings, "data": {**data, "batch_size": MISSING}}


def placeholders(settings: Settings) -> dict[str, Any]:
    """Facts that stand in for those a planner will give, so that the rest can be checked without it."""
    expected = {name: DEFAULT_FACTS[name] for name in PLANNED} if settings.get("planner") else {}
    return expected | given_facts(settings)


def plan_for(settings: Settings) -> Planned | None:
    """Read the geometry of the labelled cohort, the same for every split of it, and plan what is open.

    Returns:
        None where nobody plans.

    Raises:
        DataError: the cohort cannot be read.
        ConfigError: what is given does not fit together.
    """
    if not settings.get("planner"):
        return None
    from strokelab.planning import fingerprint

    planner: Planner = build(settings["planner"])
    given = given_facts(settings)
    parts = bind({name: settings[name] for name in ("data", "view")}, placeholders(settings))
    view = build({**parts["view"], "augment": None})
    datamodule: CohortDataModule = build(parts["data"], view=view, split=None)
    cases = [case for case in datamodule.cases if case.labelled] or datamodule.cases
    preparation: Preparation = view.preparation
    store, workers, progress = datamodule.store.folder, datamodule.prepare_workers, datamodule.progress
    seen = fingerprint(cases, preparation, store=store, workers=workers, progress=progress)
    split_in_two = bool(settings["model"].get("hemispheres"))
    plan = planner.plan(seen, preparation, given=given, hemispheres=split_in_two)
    return Planned(plan, given, seen)


def planned(settings: Settings, facts: Mapping[str, Any]) -> Settings:
    """The settings with a plan in place; other late facts stay open.

    Args:
        settings: what stands in them at one place is filled in at the others.
        facts: of the plan; empty where there is none.
    """
    return bind(settings, {**given_facts(settings), **facts}, partly=True)


def plan_kept(folder: Path) -> dict[str, Any]:
    """The facts of the plan in a run folder: for processes that the first one started, after it had planned."""
    kept = read_json(folder / PLAN).get("plan")
    return dict(kept) if isinstance(kept, Mapping) else {}


def check_batch(settings: Settings) -> None:
    """A batch must be given where nobody plans it.

    Raises:
        ConfigError: it is not.
    """
    if settings["data"].get("batch_size", 0) is None:
        raise ConfigError(
            "data.batch_size",
            found="no value, and no planner",
            expected="samples per step, of all devices together",
            remedy="add data.batch_size=... to the command",
        )
