"""The cost columns of a published table, counted on fresh models: they need no training and no case."""

from __future__ import annotations

import math
from collections.abc import Sequence

from strokelab.configuration import bind, build, compose, plain
from strokelab.configuration.late_facts import DEFAULT_FACTS
from strokelab.report.cells import Cell, Table, number_cell
from strokelab.report.paper_tables import Number, PaperRow, PaperTable

_COSTS = ("parameters_m", "memory_mb", "macc_g", "flops_g")
_PARTS = ("standardizer", "hemispheres", "adversary")


def cost_columns(table: PaperTable) -> dict[str, str]:
    """The columns of a table that a model alone decides: key -> heading; none where its rows are of no one recipe."""
    if not isinstance(table.recipe, str) or not table.recipe:
        return {}
    return {key: text for key, text in table.columns.items() if key.removeprefix("training_") in _COSTS}


def costs_of(table: PaperTable) -> Table:
    """Every row with its costs as printed, and as ours are counted.

    Args:
        table: with ``cost_columns``.
    """
    columns = cost_columns(table)
    rows = []
    for row in table.rows:
        ours = _counted(str(table.recipe), row) if row.parts is not None or row.models else {}
        cells = [Cell(row.method, heading=True)]
        for key in columns:
            printed = row.values.get(key)
            cells += [number_cell(printed.mean if isinstance(printed, Number) else math.nan, 2)]
            cells += [number_cell(ours.get(key, math.nan), 2)]
        rows.append(tuple(cells))
    header = ("Method", *(f"{text}, {whose}" for text in columns.values() for whose in ("paper", "ours")))
    return Table(f"{table.title}, costs", header, tuple(rows), table.footnotes, name=f"paper_{table.name}_costs")


def _counted(recipe: str, row: PaperRow) -> dict[str, float]:
    """The costs of the model that a row's recipe trains."""
    import torch

    from strokelab.models.cost import slice_costs

    settings = plain(compose("train", [f"experiment={recipe}", *_choices(row), "run_dir=none"]))
    with torch.device("meta"):  # counting needs shapes alone
        model = build(bind(settings["model"], DEFAULT_FACTS, at="model")).eval()
    view = build(bind(settings["view"], DEFAULT_FACTS, at="view"))
    return slice_costs(model, tuple(view.input_shape))


def _choices(row: PaperRow) -> Sequence[str]:
    if row.parts is None:
        return [f"model={row.models[0]}"]
    return ["model=sgnet", *(f"{part}=none" for part in _PARTS if part not in row.parts)]
