"""``strokelab paper``: the list of tables and figures with their states, and one of them made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from strokelab.configuration import compose, conf_folder, plain
from strokelab.errors import ConfigError
from strokelab.foreign_text import printable
from strokelab.papers.costs import cost_columns, costs_of
from strokelab.papers.standing import (
    MADE,
    MODELS,
    KnownRun,
    State,
    figure_state,
    in_words,
    known_runs,
    making_command,
    table_state,
    training_commands,
)
from strokelab.report.paper_figures import PaperFigure, load_figures
from strokelab.report.paper_tables import PaperTable, load_tables

if TYPE_CHECKING:
    from strokelab.report.material import Evaluation

Item = PaperTable | PaperFigure


@dataclass(frozen=True)
class Asked:
    """What the command was given.

    Args:
        runs: run folders and sweeps.
        overrides: settings of ``evaluate.py``, such as ``data.root=DIR``.
        out: folder for what is made.
        leaderboard: a csv of teams, for tables that rank teams.
    """

    runs: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()
    out: Path = Path("paper")
    leaderboard: Path | None = None


def items() -> dict[str, Item]:
    """Every table and figure of ``conf`` by name, paper by paper, tables first."""
    found: list[Item] = [*load_tables(conf_folder()), *load_figures(conf_folder())]
    papers = list(dict.fromkeys(item.name.partition("_")[0] for item in found))
    ordered = sorted(found, key=lambda item: (papers.index(item.name.partition("_")[0]), isinstance(item, PaperFigure)))
    return {item.name: item for item in ordered}


def list_papers(asked: Asked, console: Console) -> dict[str, State]:
    """Print every table and figure with its state, and count the states.

    Raises:
        RunError: a folder is no run and no sweep.
    """
    known = known_runs(asked.runs)
    states: dict[str, State] = {}
    paper = ""
    for name, item in items().items():
        if name.partition("_")[0] != paper:
            paper = name.partition("_")[0]
            console.print(f"\n[bold]{escape(item.citation)}[/]", highlight=False, soft_wrap=True)
        states[name] = state_of(item, known)
        _print_state(item, states[name], console)
    counts: dict[str, int] = {}
    for state in states.values():
        counts[state.word] = counts.get(state.word, 0) + 1
    words = ", ".join(f"{number} {word}" for word, number in counts.items())
    _say(console, f"\n{len(states)} tables and figures: {words}")
    return states


def described(states: Mapping[str, State]) -> list[dict[str, Any]]:
    """What ``list_papers`` found, as plain data."""
    known = items()
    return [
        {
            "name": name,
            "kind": "table" if isinstance(known[name], PaperTable) else "figure",
            "title": known[name].title,
            "paper": known[name].citation,
            "state": state.word,
            "text": state.text,
            "commands": list(state.commands),
        }
        for name, state in states.items()
    ]


def state_of(item: Item, known: Sequence[KnownRun]) -> State:
    """How a table or figure stands."""
    return table_state(item, known) if isinstance(item, PaperTable) else figure_state(item, known)


def make(name: str, asked: Asked, console: Console) -> list[Path]:
    """Make one table or figure.

    Args:
        name: of a file in ``conf/paper`` or ``conf/figure``.
        asked: runs, settings, and where to.
        console: where to print.

    Returns:
        The files that hold it.

    Raises:
        ConfigError: there is no such name, it cannot be made, or what it needs is not given.
        StrokelabError: as ``evaluate``.
    """
    item = _named(name)
    if isinstance(item, PaperTable):
        if asked.leaderboard is not None:
            return _ranked(item, asked, console)
        return _table(item, asked, console)
    return _of_scans(item, asked, console) if item.of_scans else _figure(item, asked, console)


def _table(table: PaperTable, asked: Asked, console: Console) -> list[Path]:
    from strokelab.report.comparison import beside, drawn
    from strokelab.report.terminal import page_table

    if table.impossible:
        return _submitted(table, asked, console)
    if not asked.runs and cost_columns(table):
        return _costs(table, asked, console)
    evaluation, report = _evaluated(table, asked, table.protocol.profile, papers=table.name)
    found = beside(table, evaluation)
    if isinstance(found, str):
        raise ConfigError(table.name, found=found, expected="runs for at least one of its rows", remedy=_remedy(table))
    shown = drawn(found, evaluation)
    console.print(page_table(shown))
    own = [row for row in table.rows if row.open]
    met = [row for row, ours in found.rows if ours is not None and row.open and row.values]
    missing = [row for row in own if row not in met]
    console.print(f"Met by these runs: {len(met)} of {len(own)} rows that can be ours.", highlight=False)
    if missing:
        _say(console, f"Missing: {in_words(missing)}. They come from:")
        for command in training_commands(table):
            _say(console, f"  {command}")
    paths = [report.parent / "tables" / f"{shown.name}.{suffix}" for suffix in ("csv", "tex")]
    return _told([report, *paths], console)


def _costs(table: PaperTable, asked: Asked, console: Console) -> list[Path]:
    """What models alone decide, at once; the scores are those of runs."""
    from strokelab.files import make_folder
    from strokelab.report.exports import write_tables
    from strokelab.report.terminal import page_table

    shown = costs_of(table)
    console.print(page_table(shown))
    if len(cost_columns(table)) < len(table.columns):
        _say(console, "Scores: runs missing. They come from:")
        for command in (*training_commands(table), making_command(table)):
            _say(console, f"  {command}")
    return _told(write_tables([shown], make_folder(asked.out)), console)


def _figure(figure: PaperFigure, asked: Asked, console: Console) -> list[Path]:
    from strokelab.report.pictures import Section

    if figure.impossible:
        raise ConfigError(
            figure.name,
            found=figure.impossible,
            expected="a figure that is made here",
            remedy="strokelab paper lists them all",
        )
    evaluation, report = _evaluated(figure, asked, figure.profile, papers="")
    folder = report.parent / "figures"
    paths = [path for path in sorted(folder.glob("*.p*")) if _meant(figure, path.stem)]
    if not paths:
        section: Section = _function(figure)(evaluation)
        raise ConfigError(
            figure.name,
            found=" ".join(section.sentences) or "no such picture of these runs",
            expected=figure.shows,
            remedy=_remedy(figure),
        )
    return _told([report, *paths], console)


def _of_scans(figure: PaperFigure, asked: Asked, console: Console) -> list[Path]:
    from strokelab.files import replacing
    from strokelab.papers.scans import read_scans
    from strokelab.report.pictures import Section

    section: Section = _function(figure)(read_scans(figure.dataset, asked.overrides))
    paths = []
    for picture in section.pictures:
        for suffix, content in ((".png", picture.png), (".pdf", picture.pdf)):
            paths.append(asked.out / "figures" / f"{figure.name}_{picture.name}{suffix}")
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            with replacing(paths[-1]) as fresh:
                fresh.write_bytes(content)
        _say(console, picture.caption)
    return _told(paths, console)


def _ranked(table: PaperTable, asked: Asked, console: Console) -> list[Path]:
    """A ranking of teams from a csv, in the columns of the table."""
    from strokelab.files import make_folder
    from strokelab.report.challenge import ranking_beside
    from strokelab.report.exports import write_tables
    from strokelab.report.terminal import page_table
    from strokelab.statistics.leaderboard import read_leaderboard, weighted_ranks

    if "challenge_score" not in table.columns:
        raise ConfigError(
            "--leaderboard",
            found=table.name,
            expected="a table that ranks teams: mapping_table3",
            remedy="strokelab paper mapping_table3 --leaderboard FILE.csv",
        )
    assert asked.leaderboard is not None
    shown = ranking_beside(table, weighted_ranks(read_leaderboard(asked.leaderboard)))
    console.print(page_table(shown))
    return _told(write_tables([shown], make_folder(asked.out)), console)


def _submitted(table: PaperTable, asked: Asked, console: Console) -> list[Path]:
    """Masks of a test set whose labels its owners keep, for them to score; only where the table has a layout for it."""
    from strokelab.evaluation.new_scans import Applying
    from strokelab.papers.scans import place_of
    from strokelab.papers.submission import submit

    root = place_of(asked.overrides)
    if not table.submission or not asked.runs or root is None:
        remedy = "strokelab paper lists those that can be made"
        if table.submission:
            remedy = f"strokelab paper {table.name} --runs SWEEP data.root=DIR"
        elif "challenge_score" in table.columns:
            remedy = f"strokelab paper {table.name} --leaderboard FILE.csv"
        raise ConfigError(table.name, found=table.impossible, expected="a table that is made here", remedy=remedy)
    given = dict(word.partition("=")[::2] for word in (*table.evaluate, *asked.overrides))
    applying = Applying(
        postprocess=[given["postprocess"]] if "postprocess" in given else (),
        device=given.get("device", "cpu"),
        probabilities=False,
    )
    written = submit(asked.runs, root, asked.out, applying, dataset=table.datasets[0], console=console)
    _say(console, f"{written.masks} masks in the layout of the challenge, whose owners score them.")
    return _told([written.folder, written.archive], console)


def _evaluated(item: Item, asked: Asked, profile: str, *, papers: str) -> tuple[Evaluation, Path]:
    """The evaluation that a table or figure is made of: the door's own, with the item's settings."""
    from strokelab.evaluation import evaluated, is_sweep

    if not asked.runs:
        raise ConfigError(
            item.name, found="no runs", expected="run folders and sweeps of its recipe", remedy=_remedy(item)
        )
    places = {
        key: ",".join(f"'{path}'" for path in asked.runs if is_sweep(path) == (key == "sweeps"))
        for key in ("runs", "sweeps")
    }
    listed = [f"{key}=[{names}]" for key, names in places.items() if names]
    settings = [*listed, f"out='{asked.out}'", f"profile={profile}", *item.evaluate, *asked.overrides]
    return evaluated(plain(compose("evaluate", settings)), papers=papers)


def _named(name: str) -> Item:
    known = items()
    if name not in known:
        near = get_close_matches(name, known, n=3)
        raise ConfigError(
            "strokelab paper",
            found=name,
            expected="a table or figure of conf/paper and conf/figure" + (f": {', '.join(near)}" if near else ""),
            remedy="strokelab paper lists them all",
        )
    return known[name]


def _remedy(item: Item) -> str:
    """What trains and then makes it."""
    return "; then ".join([*training_commands(item), making_command(item)])


def _function(figure: PaperFigure) -> Any:
    """The function of ``report`` that makes a figure: its module and name stand in our own conf folder."""
    from importlib import import_module

    module, _, name = figure.made_by.rpartition(".")
    return getattr(import_module(module), name)


def _meant(figure: PaperFigure, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in figure.pictures)


def _print_state(item: Item, state: State, console: Console) -> None:
    what = item.title.partition(": ")[2] if isinstance(item, PaperTable) else item.shows
    _say(console, f"  {item.name}: {what}")
    colour = "green" if state.word in (MADE, MODELS) else "yellow"
    text = f": {state.text}" if state.text else ""
    console.print(f"      {escape(state.word + text)}", style=colour, highlight=False, soft_wrap=True)
    for command in state.commands:
        _say(console, f"        {command}")


def _told(paths: Sequence[Path], console: Console) -> list[Path]:
    for path in paths:
        _say(console, f"Written: {path}")
    return list(paths)


def _say(console: Console, text: str) -> None:
    """A line as it is: commands and paths are not broken."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
