"""What of a run may leave the machine. Knows datasets by name and their terms; knows no board.

Files that a board writes offline count as leaving, too: they are there to be uploaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol

import pandas as pd

from strokelab.callbacks.run_facts import RunFacts
from strokelab.files import natural_key

IMAGE_TERMS = {
    "atlas_v1": "ATLAS may not be passed on (data use agreement)",
    "atlas_v2": "ATLAS may not be passed on (data use agreement)",
    "isles2015_siss": "ISLES 2015 is given to registered users",
    "isles2015_spes": "ISLES 2015 is given to registered users",
    "isles2022": "ISLES 2022 may be passed on with attribution only",
}
"""Why pictures of a dataset need the user's permission. Any dataset that is not listed needs it as well."""
PUBLIC_CASE_IDS = frozenset(IMAGE_TERMS)
"""Datasets whose case ids were published as pseudonyms; ids in a folder of one's own may be anything."""

_NOT_SHOWN = ("subject", "checkpoint", "weights", "inference", "postprocessing", "profile", "version")


class Shown(Protocol):
    """Whose cases these are."""

    @property
    def dataset(self) -> str:
        """By its reader's name."""

    @property
    def phantom(self) -> bool:
        """Whether it is synthetic."""


@dataclass(frozen=True)
class ShownDataset:
    """A dataset of an evaluation, which may have several."""

    dataset: str
    phantom: bool


def may_share_images(facts: Shown, asked: bool | None) -> tuple[bool, str]:
    """Whether pictures of a run's cases may be given to a board, and why not.

    Args:
        facts: of the run, or a dataset.
        asked: the user's setting; None: phantoms only.
    """
    if asked is not None:
        return asked, "" if asked else "share_images=false"
    if facts.phantom:
        return True, ""
    return False, IMAGE_TERMS.get(facts.dataset, "no terms say that its images may leave this machine")


def may_share_case_ids(facts: Shown, asked: bool | None) -> bool:
    """Whether case ids may be given to a board; None: phantoms and public datasets only."""
    return asked if asked is not None else facts.phantom or facts.dataset in PUBLIC_CASE_IDS


def shared_table(cases: pd.DataFrame, *, case_ids: bool) -> pd.DataFrame:
    """The columns of a case table that are shown on a board.

    Args:
        cases: as ``Scores.cases``.
        case_ids: else cases are numbered in natural order of their ids, equally in all runs on the same cases; what
            an error said, which may name files, is left out.
    """
    table = cases.drop(columns=[name for name in _NOT_SHOWN if name in cases])
    if case_ids:
        return table
    ids = sorted(table["case"].astype(str).unique(), key=natural_key)
    numbers = {case_id: f"case {index + 1:04d}" for index, case_id in enumerate(ids)}
    errors = table["error"].where(table["error"] == "", "failed")
    return table.assign(case=table["case"].astype(str).map(numbers), error=errors)


def shared_settings(facts: RunFacts, *, case_ids: bool) -> dict[str, Any]:
    """Settings and environment of a run as a board shows them.

    Args:
        facts: of the run.
        case_ids: else lists of excluded cases are counted, places lose their folders, and the command is left out.
    """
    environment = dict(facts.environment)
    if case_ids:
        return {**facts.settings, "environment": environment}
    for name in ("command", "overrides"):
        environment.pop(name, None)
    return {**_without_names(facts.settings), "environment": environment}


def _without_names(node: Any, key: str = "") -> Any:
    if key == "exclude" and isinstance(node, list):
        return f"{len(node)} cases"
    if isinstance(node, Mapping):
        return {name: _without_names(value, str(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [_without_names(value) for value in node]
    if isinstance(node, str) and re.match(r"[/\\~]|[A-Za-z]:[/\\]", node):
        return f".../{PurePath(node).name}"
    return node
