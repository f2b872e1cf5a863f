"""The papers' results tables as data: read from ``conf/paper``, matched with runs of ours. Computes no metric."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from strokelab.errors import ConfigError


@dataclass(frozen=True)
class PaperRow:
    """One printed row. ``parts`` and ``site`` say which run of ours stands beside it; None = none, or any site."""

    method: str
    values: Mapping[str, tuple[float, float | None]]  # column -> (mean, SD or None where none is printed)
    site: str | None = None
    site_note: str = ""
    parts: frozenset[str] | None = None


@dataclass(frozen=True)
class PaperTable:
    """One published table, numbers as printed."""

    name: str  # of its file
    title: str
    citation: str
    over: str  # what mean and SD run over: "sites" | "cases" | "models" | "" (no statistics)
    datasets: tuple[str, ...]  # our dataset names on whose evaluations the table is shown
    columns: Mapping[str, str]  # key -> heading as printed, unit included
    rows: tuple[PaperRow, ...]
    protocol: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()
    needs: str = ""  # a part that one of the runs must have for the table to be of interest


def load_tables(conf: Path, pattern: str = "*") -> tuple[PaperTable, ...]:
    """The tables ``<conf>/paper/<pattern>.yaml`` in order of their names.

    Args:
        conf: the configuration folder, of a checkout or of the installed package.
        pattern: a glob on file names without suffix, e.g. ``"sgnet_*"``.

    Raises:
        ConfigError: there is none, or a file is not a table of this form.
    """
    paths = sorted((conf / "paper").glob(f"{pattern}.yaml"))
    if not paths:
        raise ConfigError(
            conf / "paper",
            found=f"no file {pattern}.yaml",
            expected="published tables as yaml files",
            remedy="name the conf folder of the checkout or of the installed package",
        )
    return tuple(load_table(path) for path in paths)


def load_table(path: Path) -> PaperTable:
    """One table from its yaml file.

    Raises:
        ConfigError: the file is not a table of this form.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        table = PaperTable(
            name=path.stem,
            title=content["title"],
            citation=content["citation"],
            over=content["over"],
            datasets=tuple(content["datasets"]),
            columns={str(key): str(heading) for key, heading in content["columns"].items()},
            rows=tuple(_row(row) for row in content["rows"]),
            protocol=tuple(content.get("protocol", ())),
            footnotes=tuple(content.get("footnotes", ())),
            needs=str(content.get("needs", "")),
        )
        stray = {key for row in table.rows for key in row.values} - set(table.columns)
        if stray:
            raise ValueError(f"values without a column: {sorted(stray)}")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            path,
            found=f"{type(error).__name__}: {error}",
            expected="title, citation, over, datasets, columns and rows of a published table",
            remedy="compare with the other files in conf/paper",
        ) from error
    return table


def site_number(name: str | None) -> str | None:
    """The digits of a site name without leading zeros ("site-05" and "R005" -> "5"), so that namings can meet."""
    digits = re.findall(r"\d+", name or "")
    return str(int(digits[-1])) if digits else None


def _row(content: Mapping[str, Any]) -> PaperRow:
    parts = content.get("parts")
    site = content.get("site")
    return PaperRow(
        method=str(content["method"]),
        values={str(key): _mean_sd(value) for key, value in content["values"].items()},
        site=None if site is None else str(site),
        site_note=str(content.get("site_note", "")),
        parts=None if parts is None else frozenset(parts),
    )


def _mean_sd(value: Any) -> tuple[float, float | None]:
    if isinstance(value, list):
        mean, sd = value
        return float(mean), float(sd)
    return float(value), None
