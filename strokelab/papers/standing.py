"""How the published tables and figures stand, given run folders. Reads settings and splits; loads no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from strokelab import runs
from strokelab.configuration import Settings
from strokelab.evaluation.material import held_out_site, parts_of
from strokelab.evaluation.recipes import unlike_recipes
from strokelab.evaluation.sweep import gather_all, is_sweep
from strokelab.papers.costs import cost_columns
from strokelab.report.paper_figures import PaperFigure
from strokelab.report.paper_tables import PaperRow, PaperTable, site_number

MADE, PART, MISSING, IMPOSSIBLE, SCANS, MODELS = (
    "of these runs",
    "in part of these runs",
    "runs missing",
    "not possible here",
    "of scans alone",
    "of models alone",
)


@dataclass(frozen=True)
class KnownRun:
    """A finished training, as far as its folder says without its weights."""

    folder: Path
    name: str  # of its model
    settings: Settings
    dataset: str
    site: str | None  # that it holds out
    parts: frozenset[str] | None
    members: tuple[KnownRun, ...] = ()  # it is no mean of others
    unlike: dict[str, tuple[str, ...]] = field(default_factory=dict)  # table -> what its recipe has otherwise


@dataclass(frozen=True)
class State:
    """How a table or figure stands.

    Args:
        word: one of the words above.
        text: which rows are missing, or why it cannot be made.
        commands: what makes it, to be pasted.
    """

    word: str
    text: str = ""
    commands: tuple[str, ...] = ()


def known_runs(places: Sequence[Path]) -> list[KnownRun]:
    """The runs of run folders and of sweeps, finished members alone.

    Raises:
        RunError: a folder is neither, or a run's settings cannot be read.
    """
    sweeps = [place for place in places if is_sweep(place)]
    folders = [place for place in places if place not in sweeps]
    members = [one.folder for one in gather_all([str(place) for place in sweeps]).finished] if sweeps else []
    return [_known(folder.expanduser().resolve()) for folder in [*folders, *members]]


def _known(folder: Path) -> KnownRun:
    settings = runs.read_settings(folder)
    site = held_out_site(runs.read_split(folder))
    parts = parts_of(settings)
    dataset = str(settings["cohort"].get("dataset"))
    run = KnownRun(folder, str(settings.get("name")), settings, dataset, site, parts)
    return KnownRun(folder, run.name, settings, dataset, site, parts, (), unlike_recipes(run, parts))


def table_state(table: PaperTable, known: Sequence[KnownRun]) -> State:
    """How a table stands: which of the rows that can be ours have a run of their kind and recipe."""
    commands = training_commands(table)
    if table.impossible:
        return State(IMPOSSIBLE, table.impossible, commands)
    rows = [row for row in table.rows if row.open]
    missing = [row for row in rows if not has_run(table, row, known)]
    if len(missing) == len(rows):
        return _without_runs(table, commands)
    making = making_command(table)
    if missing:
        return State(PART, f"without {in_words(missing)}", (making, *commands))
    return State(MADE, f"all {len(rows)} rows", (making,))


def _without_runs(table: PaperTable, training: tuple[str, ...]) -> State:
    """A table of which no row has a run: its costs can be counted all the same."""
    costs = f"strokelab paper {table.name}"
    if not cost_columns(table):
        return State(MISSING, "", training)
    if len(cost_columns(table)) == len(table.columns):
        return State(MODELS, "", (costs,))
    return State(MISSING, "costs can be counted without them", (costs, *training))


def figure_state(figure: PaperFigure, known: Sequence[KnownRun]) -> State:
    """How a figure stands; any finished run of its data set lets it be made."""
    if figure.impossible:
        return State(IMPOSSIBLE, figure.impossible)
    if figure.of_scans:
        return State(SCANS, "", (making_command(figure),))
    other = any(word.startswith("data=") for word in figure.evaluate)
    if not any(other or run.dataset == figure.dataset for run in known):
        return State(MISSING, "", training_commands(figure))
    return State(MADE, "", (making_command(figure),))


def has_run(table: PaperTable, row: PaperRow, known: Sequence[KnownRun]) -> bool:
    """Whether runs of the row's kind and of the table's recipe are there, so that an evaluation can make the row."""
    if row.difference_of:
        others = [other for other in table.rows if other.method in row.difference_of and other.where == row.where]
        return all(has_run(table, other, known) for other in others)
    usable = [run for run in known if not run.unlike.get(table.name) and _is_about(table, row, run)]
    if row.parts is not None:
        return any(run.parts == row.parts for run in usable)
    names = {run.name for run in usable}
    return bool(names & {*row.models}) or (bool(row.made_of) and {*row.made_of} <= names)


def _is_about(table: PaperTable, row: PaperRow, run: KnownRun) -> bool:
    """Whether a run is of the row's data set, site and fold, where the row is of its own cases."""
    if any(word.startswith("data=") for word in table.evaluate):
        return True
    if run.dataset not in table.datasets or row.where.get("dataset", run.dataset) != run.dataset:
        return False
    site, fold = row.where.get("site"), row.where.get("fold")
    if site is not None and site_number(run.site) != site:
        return False
    return fold is None or str((run.settings.get("split") or {}).get("fold")) == fold


def in_words(rows: Sequence[PaperRow]) -> str:
    """Rows by method and what they are about: ``U-Net (site 4, 5), X-Net``."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        about = found.setdefault(row.method, {})
        for key, value in row.where.items():
            about.setdefault(key, []).append(value)
    words = []
    for method, about in found.items():
        inner = "; ".join(f"{key} {', '.join(dict.fromkeys(values))}" for key, values in about.items())
        words.append(f"{method} ({inner})" if inner else method)
    return ", ".join(words)


def training_commands(item: PaperTable | PaperFigure) -> tuple[str, ...]:
    """What trains the runs that a table or figure needs."""
    own = (f"python train.py -m sweep={item.sweep} data.root=DIR",) if item.sweep else ()
    return (*own, *item.train)


def making_command(item: PaperTable | PaperFigure) -> str:
    """What makes a table or figure of runs, or of scans."""
    if isinstance(item, PaperFigure) and item.of_scans:
        return f"strokelab paper {item.name} data.root=DIR"
    elsewhere = " data.root=DIR" if any(word.startswith("data=") for word in item.evaluate) else ""
    return f"strokelab paper {item.name} --runs SWEEP{elsewhere}"
