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

from strokelab.files import replacing


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
        self._rows_on_disk = 0
        if resumed_step is not None and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as handle:
                reader = csv.DictReader(handle)
                rows = [row for row in reader if int(row["step"]) < resumed_step]
                self._columns = list(reader.fieldnames or self._columns)
            self._rewrite(rows)

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
        new = [key for row in self._pending for key in row if key not in self._columns]
        if new or not self.path.is_file():
            rows: list[dict[str, Any]] = []
            if self.path.is_file():
                with self.path.open(newline="", encoding="utf-8") as handle:
                    rows = list(csv.DictReader(handle))
            self._columns += list(dict.fromkeys(new))
            self._rewrite(rows + self._pending)
        elif self._pending:
            with self.path.open("a", newline="", encoding="utf-8") as handle:
                csv.DictWriter(handle, self._columns).writerows(self._pending)
        self._pending = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is still queued."""
        self.save()

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, self._columns)
            writer.writeheader()
            writer.writerows(rows)
