"""The papers' results tables as data: read from ``conf/paper``. Knows what is printed; knows no run of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from strokelab.errors import ConfigError
from strokelab.metrics.profiles import find_profile

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same values; a report reads every table three times

Statistic = Literal["mean_sd", "mean_population_sd", "mean_ci", "mean", ""]
Over = Literal["cases", "sites", "models", ""]

GROUPS = {"dataset": "Dataset", "site": "Site", "fold": "Fold", "quarter": "Lesion size", "modality": "Input"}
"""What a row may be about, and the heading of the column that says so."""


@dataclass(frozen=True)
class Number:
    """A mean with what is printed beside it; parts that are None are not."""

    mean: float
    sd: float | None = None
    low: float | None = None  # of a 95 % interval
    high: float | None = None
    infinite: int = 0  # values left out of the mean


@dataclass(frozen=True)
class PaperRow:
    """One printed row; ``parts``, ``models`` and ``postprocess`` say which run of ours stands beside it, if any.

    Args:
        method: as printed.
        values: column -> number, or text where the paper prints words.
        where: what the row is about, e.g. ``{"site": "4"}``; keys of ``GROUPS``. Empty: everything evaluated.
        note: about the group, e.g. a site's scanner.
        parts: of SG-Net's family: exactly these parts switched on.
        models: names of models.
        postprocess: name of the post-processing; "" = any.
        difference_of: two methods of the table: the row is the first minus the second; () = a row of its own.
        made_of: models from whose runs an evaluation makes the row's: a mean of all of them, a mean of checkpoints.
    """

    method: str
    values: Mapping[str, Number | str]
    where: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    parts: frozenset[str] | None = None
    models: tuple[str, ...] = ()
    postprocess: str = ""
    difference_of: tuple[str, ...] = ()
    made_of: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether a run of ours can stand beside it; others are quoted."""
        return self.parts is not None or bool(self.models) or bool(self.difference_of)


@dataclass(frozen=True)
class Protocol:
    """What was done for the numbers, fact by fact, so that ours can be held against it.

    Args:
        dataset: in the paper's words.
        profile: our name of its metric conventions.
        split: in words.
        splits: our splits that are of the same kind, class names; empty: none is.
        cases: number scored; None: not told, or not the same for all rows.
        sites: number of sites, where the mean runs over them.
        hidden: their cases are a test set whose labels are not public.
        unseen_sites: only cases of sites that a model was not trained on count.
        voxel_mm: voxel size at which masks were compared.
        grid: where masks were compared, in words; "" = the images' own grids.
        postprocess: in words; "" = none.
        notes: further facts.
        training: how its networks were trained, in the paper's words: cases, epochs, batch, precision, loss, optimiser.
    """

    dataset: str
    profile: str
    split: str
    splits: tuple[str, ...] = ()
    cases: int | None = None
    sites: int | None = None
    hidden: bool = False
    unseen_sites: bool = False
    voxel_mm: tuple[float, float, float] | None = None
    grid: str = ""
    postprocess: str = ""
    notes: tuple[str, ...] = ()
    training: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PaperTable:
    """One published table, numbers as printed.

    Args:
        name: of its file.
        title: of the table.
        citation: of the paper.
        statistic: what is printed beside the mean.
        over: what mean and spread run over; "" = no statistics.
        datasets: our dataset names on whose evaluations it is shown.
        columns: key -> heading as printed, unit included. Keys are our metrics, our cost columns, or the paper's own.
        rows: in printed order.
        protocol: how the numbers came about.
        footnotes: contradictions and misprints.
        needs: a part that one of our runs must have for the table to be of interest.
        ticks: part -> heading, for tables that tick the parts a method has.
        recipe: the experiment (``conf/experiment``) by which rows are met, or model -> experiment, with further
            settings behind it, or several of which one is met; "": any run of a row's parts or model.
        sweep: of ``conf/sweep``, which trains what the rows need; "" = nothing does.
        train: further commands that train what the sweep does not.
        evaluate: settings of ``evaluate.py`` besides runs and profile.
        impossible: why it cannot be made here; "" = it can.
        submission: name of the BIDS derivative in which the owners of a hidden test set take masks to score.
    """

    name: str
    title: str
    citation: str
    statistic: Statistic
    over: Over
    datasets: tuple[str, ...]
    columns: Mapping[str, str]
    rows: tuple[PaperRow, ...]
    protocol: Protocol
    footnotes: tuple[str, ...] = ()
    needs: str = ""
    ticks: Mapping[str, str] = field(default_factory=dict)
    recipe: str | Mapping[str, str | Sequence[str]] = ""
    sweep: str = ""
    train: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    impossible: str = ""
    submission: str = ""


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
        ConfigError: the file is not a table of this form, or has an unknown key.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
        _check_keys(content, PaperTable, "table")
        table = PaperTable(
            **{
                **content,
                "name": path.stem,
                "statistic": _one_of(content["statistic"], Statistic),
                "over": _one_of(content["over"], Over),
                "datasets": tuple(content["datasets"]),
                "columns": {str(key): str(heading) for key, heading in content["columns"].items()},
                "rows": tuple(_row(row) for row in content["rows"]),
                "protocol": _protocol(content["protocol"]),
                **{key: tuple(content.get(key, ())) for key in ("footnotes", "train", "evaluate")},
            }
        )
        stray = {key for row in table.rows for key in row.values} - set(table.columns)
        if stray:
            raise ValueError(f"values without a column: {sorted(stray)}")
        methods = {row.method for row in table.rows}
        if any(
            row.difference_of and (len(row.difference_of) != 2 or {*row.difference_of} - methods) for row in table.rows
        ):
            raise ValueError("difference_of: expected two methods of the table")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise ConfigError(
            path,
            found=f"{type(error).__name__}: {error}",
            expected="title, citation, statistic, over, datasets, protocol, columns and rows of a published table",
            remedy="compare with the other files in conf/paper",
        ) from error
    return table


def site_number(name: str | None) -> str | None:
    """The digits of a site name without leading zeros ("site-05" and "R005" -> "5"), so that namings can meet."""
    digits = re.findall(r"\d+", name or "")
    return str(int(digits[-1])) if digits else None


def _row(content: Mapping[str, Any]) -> PaperRow:
    _check_keys(content, PaperRow, "row")
    parts = content.get("parts")
    where = {str(key): str(value) for key, value in content.get("where", {}).items()}
    if strange := set(where) - set(GROUPS):
        raise ValueError(f"where: {sorted(strange)}, expected of {sorted(GROUPS)}")
    return PaperRow(
        method=str(content["method"]),
        values={str(key): _value(value) for key, value in content["values"].items()},
        where=where,
        note=str(content.get("note", "")),
        parts=None if parts is None else frozenset(parts),
        models=tuple(content.get("models", ())),
        postprocess=str(content.get("postprocess", "")),
        difference_of=tuple(content.get("difference_of", ())),
        made_of=tuple(content.get("made_of", ())),
    )


def _protocol(content: Mapping[str, Any]) -> Protocol:
    _check_keys(content, Protocol, "protocol")
    find_profile(content["profile"])
    voxel = content.get("voxel_mm")
    return Protocol(
        **{
            **content,
            "splits": tuple(content.get("splits", ())),
            "voxel_mm": None if voxel is None else (float(voxel[0]), float(voxel[1]), float(voxel[2])),
            "notes": tuple(content.get("notes", ())),
        }
    )


def _value(value: Any) -> Number | str:
    """A number, [mean, sd], [mean, low, high], or words."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return Number(float(value))
    if len(value) == 2:
        return Number(float(value[0]), sd=float(value[1]))
    mean, low, high = (float(part) for part in value)
    return Number(mean, low=low, high=high)


def _check_keys(content: Mapping[str, Any], kind: type, where: str) -> None:
    strange = set(content) - {part.name for part in fields(kind)}
    if strange:
        raise ValueError(f"unknown key in a {where}: {sorted(strange)}")


def _one_of(value: str, choices: Any) -> Any:
    if value not in get_args(choices):
        raise ValueError(f"{value!r}, expected one of {get_args(choices)}")
    return value
