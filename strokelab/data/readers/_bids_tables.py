"""What a BIDS dataset says of its subjects and sessions: ``participants.tsv`` and ``sub-x_sessions.tsv``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from strokelab.data.readers._tables import Row, Table, read_table
from strokelab.errors import ConfigError, DataWarning

PARTICIPANTS = "participants.tsv"
SITE_COLUMNS = ("site", "site_id", "center", "centre", "hospital")
"""Where no column is named, the first of these is the site."""


@dataclass(frozen=True)
class About:
    """The rows of one dataset's tables.

    Args:
        root: the dataset's folder, which holds ``participants.tsv``.
        site_column: whose values are sites; "": the first of ``SITE_COLUMNS`` that is there.
        subjects: label of a subject without ``sub-`` -> its row.
        columns: of the table; none where there is no table.
    """

    root: Path
    site_column: str = ""
    subjects: Mapping[str, Row] = field(default_factory=dict)
    columns: Sequence[str] = ()

    @classmethod
    def of(cls, root: Path, site_column: str) -> About:
        """Read ``participants.tsv``; without it nothing is known, which a ``DataWarning`` says.

        Raises:
            DataError: it cannot be read, a row names no subject, or two rows name one.
            ConfigError: it does not have the column.
        """
        path, wanted = root / PARTICIPANTS, " ".join(site_column.lower().split())
        if not path.is_file():
            lost = "sites, ages and groups of its subjects stay unknown, all count as of one unknown site"
            warnings.warn(f"{root}: no {PARTICIPANTS}; {lost}", DataWarning, stacklevel=3)
            return cls(root)
        table = read_table(path, at_least=1)
        columns = [name for name in table.columns if name]
        if wanted and wanted not in columns:
            raise ConfigError(
                "data.options.site_column",
                found=repr(site_column),
                expected=f"a column of {path}: {', '.join(columns[1:]) or 'it has no other than participant_id'}",
                remedy=f"set data.options.site_column={columns[-1]}, or leave it out",
            )
        found = wanted or next((name for name in SITE_COLUMNS if name in columns), "")
        rows = {label(name, "sub"): row for name, row in table.named("participant_id").items()}
        return cls(root, found, rows, columns)

    def row(self, subject: str, session: str | None) -> Row:
        """Everything known of a session: its subject's row, and over it its own of ``sub-x_sessions.tsv``."""
        known = {key: value for key, value in self.subjects.get(subject, {}).items() if key != "participant_id"}
        path = self.root / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
        if session is not None and path.is_file():
            own = _sessions(read_table(path, at_least=1)).get(session, {})
            known |= {key: value for key, value in own.items() if key != "session_id"}
        return known

    def check_complete(self, subjects: Sequence[str]) -> None:
        """Say which subjects have no row in a table that is there."""
        lost = [f"sub-{name}" for name in subjects if name not in self.subjects]
        if lost and self.columns:
            names = ", ".join(lost[:5]) + (" ..." if lost[5:] else "")
            words = f"no row for {len(lost)} subjects ({names}); their site is unknown"
            warnings.warn(f"{self.root / PARTICIPANTS}: {words}", DataWarning, stacklevel=3)


def label(text: str, entity: str) -> str:
    """The label of a subject or a session, with or without the entity before it."""
    return text.strip().removeprefix(f"{entity}-")


def _sessions(table: Table) -> dict[str, Row]:
    return {label(name, "ses"): row for name, row in table.named("session_id").items()}
