"""``strokelab plan``: the arithmetic of a campaign as tables. Computes nothing itself.

The options are the fields of ``Campaign``: their names, defaults and explanations stand there.
"""

from __future__ import annotations

import csv
import inspect
import io
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from strokelab import terminal
from strokelab.campaign.lines import Line, costs, disk, memory
from strokelab.campaign.plan import Campaign, Forecast, forecast
from strokelab.errors import ConfigError
from strokelab.files import write_text


def plan_command() -> Callable[..., None]:
    """The command, with an option for every field of ``Campaign``."""

    def plan(gpus: str, csv_file: Path | None, **numbers: Any) -> None:
        """Hours, disk and memory of schemes x folds trainings on a cluster: every formula with its numbers."""
        print_plan(Campaign(**numbers), gpu_counts(gpus), console=terminal.console(), csv_file=csv_file)

    # Without docstrings (python -OO) options have no help.
    told = dict(re.findall(r"^ *(\w+): (.+)$", Campaign.__doc__ or "", re.MULTILINE))
    types = get_type_hints(Campaign)
    options: list[tuple[str, Any, Any]] = [
        ("gpus", Annotated[str, typer.Option(help="Numbers of GPUs to plan for.")], "8,64,512"),
        *(
            (
                field.name,
                Annotated[types[field.name], typer.Option(help=_sentence(told.get(field.name, "")))],
                field.default,
            )
            for field in fields(Campaign)
        ),
        ("csv_file", Annotated[Path | None, typer.Option("--csv", help="Also write every line into this file.")], None),
    ]
    kind = inspect.Parameter.KEYWORD_ONLY
    plan.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind, default=default, annotation=option) for name, option, default in options]
    )
    plan.__annotations__ = {name: option for name, option, _ in options}
    return plan


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def gpu_counts(text: str) -> list[int]:
    """``"8,64,512"`` as numbers.

    Raises:
        ConfigError: something else than whole numbers.
    """
    words = re.split(r"[\s,]+", text.strip())
    if not all(word.isdecimal() for word in words):
        raise ConfigError("--gpus", found=text, expected="whole numbers, e.g. 8,64,512", remedy="correct it")
    return [int(word) for word in words]


def print_plan(campaign: Campaign, gpus: list[int], *, console: Console, csv_file: Path | None = None) -> None:
    """Print a campaign, and write it as a csv file when asked to.

    Raises:
        ConfigError: a number of GPUs below 1.
        DataError: the file cannot be written.
    """
    forecasts = [forecast(campaign, count) for count in gpus]
    parts = {"one training, one case": costs(campaign), "disk": disk(campaign), "memory": memory(campaign)}
    console.print(_hours(forecasts, campaign, parts))
    for found in forecasts:
        if found.most_busy < found.gpus:
            console.print(
                f"Of {found.gpus} GPUs {found.most_busy} have a training: there are no more trainings at a time, and "
                f"none can use more GPUs than its batch of {campaign.batch}.",
                highlight=False,
            )
    for title, lines in parts.items():
        console.print(_lines(title, lines))
    if csv_file is not None:
        write_text(csv_file, _csv(forecasts, parts))
        console.print(f"Table: {csv_file}", markup=False, highlight=False, soft_wrap=True)


def _hours(forecasts: list[Forecast], campaign: Campaign, parts: dict[str, list[Line]]) -> Table:
    members = campaign.schemes * campaign.folds
    table = Table(
        title=f"{campaign.cases} cases x {campaign.schemes} schemes x {campaign.folds} folds: {members} trainings",
        title_style="bold",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("GPUs", "nodes", "hours", "days", "disk GB", "GB a node"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("how the hours come about", overflow="fold")
    shared = (f"{parts['disk'][-1].value:,.0f}", f"{parts['memory'][-1].value:,.0f}")
    for found in forecasts:
        how = "\n".join(f"{stage.name}: {stage.formula} = {stage.hours:,.1f} h" for stage in found.stages)
        table.add_row(
            str(found.gpus), str(found.nodes), f"{found.hours:,.1f}", f"{found.hours / 24:,.1f}", *shared, how
        )
    return table


def _lines(title: str, lines: list[Line]) -> Table:
    table = Table(title=title, title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("formula", overflow="fold")
    table.add_column("where the numbers come from", overflow="fold")
    for line in lines:
        table.add_row(line.name, f"{shown(line.value)} {line.unit}", line.formula, line.source)
    return table


def shown(value: float) -> str:
    """Three digits, more only before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _csv(forecasts: list[Forecast], parts: dict[str, list[Line]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["part", "name", "value", "unit", "formula", "source"])
    for found in forecasts:
        of = f"{found.gpus} GPUs"
        writer.writerows([of, stage.name, stage.hours, "h", stage.formula, ""] for stage in found.stages)
        writer.writerow([of, "in all", found.hours, "h", "sum of the stages", ""])
        writer.writerow([of, "nodes", found.nodes, "", "", ""])
    for part, lines in parts.items():
        writer.writerows([part, line.name, line.value, line.unit, line.formula, line.source] for line in lines)
    return out.getvalue()
