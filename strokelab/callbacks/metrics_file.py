"""``metrics.csv``: one row per logged step, appended to on resume and never emptied.

Lightning's own CSV logger deletes the file of an earlier start; the history of a resumed run would be lost.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from strokelab.files import disk_errors, replacing, sync


class MetricsFile(Logger):
    """A Lightning logger that keeps a run's ``metrics.csv``.

    Args:
        path: the file.
        resumed_step: rows of an earlier start at or after this step are dropped: they are logged again.
            None: a new run.
    """

    def __init__(self, path: str | Path, resumed_step: int | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self._columns: list[str] = ["epoch", "step"]
        self._pending: list[dict[str, Any]] = []
        self._begun = resumed_step is not None  # until then, what lies at the path is another run's
        if resumed_step is not None and self.path.is_file():
            self._drop_from(resumed_step)

    @property
    def name(self) -> str:
        """Fixed: the file lies in the run folder."""
        return ""

    @property
    def version(self) -> str:
        """Fixed: there is one file per run, however often it was started."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Queue one row."""
        row = {"step": step or 0, **{key: value for key, value in metrics.items() if key != "step"}}
        if "epoch" in row:
            row["epoch"] = int(row["epoch"])
        self._pending.append(row)

    @rank_zero_only
    def save(self) -> None:
        """Append the queued rows; rewrite the file only when a new column turned up."""
        if not self._pending:
            return
        new = [key for row in self._pending for key in row if key not in self._columns]
        if new or not self._begun or not self.path.is_file():
            rows = self._read() if self._begun and self.path.is_file() else []
            self._columns += list(dict.fromkeys(new))
            self._rewrite(rows + self._pending)
            self._begun = True
        else:
            with disk_errors(self.path), self.path.open("a", newline="", encoding="utf-8") as handle:
                csv.DictWriter(handle, self._columns).writerows(self._pending)
        self._pending = []

    @rank_zero_only
    def sync(self) -> None:
        """Wait until the rows are on the disk: a checkpoint that counts on them is about to count."""
        if self.path.is_file():
            sync(self.path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is still queued."""
        self.save()

    @rank_zero_only
    def _drop_from(self, step: int) -> None:
        self._rewrite([row for row in self._read() if int(row["step"]) < step])

    def _read(self) -> list[dict[str, Any]]:
        """The whole rows on disk; the last line of a machine that lost its power may be half a row."""
        with self.path.open(newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            self._columns = list(reader.fieldnames or self._columns)
            return [row for row in reader if None not in row.values() and row.get("step", "").isdigit()]

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, self._columns)
            writer.writeheader()
            writer.writerows(rows)
