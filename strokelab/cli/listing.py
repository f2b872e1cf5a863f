"""What there is to choose from, and what lies in the caches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from strokelab.cli.app import LOOK, app, console
from strokelab.cli.machine_readable import one_object


@app.command("list", rich_help_panel=LOOK)
def list_choices(
    group: Annotated[
        str | None, typer.Argument(help="models, datasets, experiments, sweeps, losses, ...; default: all groups.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """What can be chosen, each with what its yaml says of it: models, datasets, experiments, sweeps, losses, ..."""
    from strokelab.configuration.listing import find_group, groups

    if as_json:
        with one_object("strokelab.list/1") as content:
            found = groups() if group is None else {(name := find_group(group)): groups()[name]}
            content["groups"] = {name: {one.name: one.about for one in choices} for name, choices in found.items()}
        return
    table = Table(box=None, pad_edge=False)
    if group is None:
        table.add_column("group")
        table.add_column("choices", justify="right")
        table.add_column("the first of them")
        for name, choices in groups().items():
            table.add_row(name, str(len(choices)), ", ".join(one.name for one in choices[:4]))
        console.print(table)
        console.print("strokelab list GROUP names them all", markup=False)
        return
    name = find_group(group)
    table.add_column(name)
    table.add_column("")
    for one in groups()[name]:
        table.add_row(one.name, one.about)
    console.print(table)


@app.command("cache", rich_help_panel=LOOK)
def look_at_caches(
    kinds: Annotated[
        list[str] | None, typer.Argument(help="prepared, tissues, scores, models, digests; default: all of them.")
    ] = None,
    size: Annotated[
        bool, typer.Option("--size", help="Say where they lie and how large they are (the default).")
    ] = True,
    clear: Annotated[bool, typer.Option("--clear", help="Remove them; what is needed again is made again.")] = False,
    store: Annotated[
        Path | None, typer.Option(help="The store; default: STROKELAB_STORE, else ~/.cache/strokelab/prepared.")
    ] = None,
) -> None:
    """Prepared cases, tissue maps, kept scores, unpacked models: where they lie, how large they are; removed safely."""
    from strokelab.preparation.caches import caches_of, cleared

    found = caches_of(store, kinds or ())
    table = Table(box=None, pad_edge=False)
    for title, side in (("cache", "left"), ("entries", "right"), ("MB", "right"), ("where", "left")):
        table.add_column(title, justify="right" if side == "right" else "left")
    for one in found:
        table.add_row(one.name, f"{one.entries:,}", f"{one.bytes / 1e6:,.1f}", str(one.folder))
    console.print(table)
    if clear:
        console.print(f"Removed: {cleared(found) / 1e6:,.1f} MB", markup=False)
