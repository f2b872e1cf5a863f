"""The members of a sweep that gave no result, named. Knows the evaluation; knows no HTML."""

from __future__ import annotations

from strokelab.files import natural_key
from strokelab.report.cells import NOTHING, Cell, Table
from strokelab.report.material import Evaluation

_FINISHED = "finished"


def missing_members(evaluation: Evaluation) -> Table | None:
    """Every member without a result, its state and error; None when there is no sweep or nothing is missing."""
    absent = [member for member in evaluation.members if member.state != _FINISHED]
    if not absent:
        return None
    rows = tuple(
        (
            Cell(member.name, heading=True),
            Cell(member.state),
            Cell(member.overrides or NOTHING, words=True),
            Cell(member.error or NOTHING, words=True),
        )
        for member in sorted(absent, key=lambda member: natural_key(member.name))
    )
    caption = f"{len(absent)} of {len(evaluation.members)} members of the sweep have no result and are in no number"
    return Table(caption, ("Member", "State", "Settings", "Error"), rows, name="members_missing")
