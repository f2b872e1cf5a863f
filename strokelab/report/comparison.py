"""The papers' tables with our numbers beside theirs, as tables of a page. Knows how they are laid out; no HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from strokelab.metrics.profiles import METRICS
from strokelab.report.beside import Candidate, Ours, candidates, difference, fits, is_kind, metric_of, ours
from strokelab.report.cells import NOTHING, Cell, Table, listed, plain_number
from strokelab.report.material import Evaluation
from strokelab.report.paper_tables import GROUPS, Number, PaperRow, PaperTable, site_number
from strokelab.report.protocols import differences, in_words, statistic
from strokelab.statistics.aggregate import over_sites
from strokelab.statistics.paired import compare, stars

_MIDDLE, _HIGH = 0.3, 0.6  # of Dice, between which the SynthStroke paper counts cases
_TUNED_SITE = "5"  # the site the SG-Net paper chose its settings on


@dataclass(frozen=True, eq=False)
class Beside:
    """A published table with ours: every row kept, ours or None, and the runs that stand in it."""

    table: PaperTable
    rows: tuple[tuple[PaperRow, Ours | None], ...]
    chosen: tuple[Candidate, ...]

    @property
    def matched(self) -> bool:
        """Whether a run of ours is of the kind of a printed row."""
        return any(own is not None and row.values for row, own in self.rows)


def paper_comparisons(evaluation: Evaluation) -> list[Table]:
    """Every published table of the evaluated datasets with our numbers in its own terms.

    Tables in which a run of ours is of the kind of a printed row come first. In the others our models are rows of their
    own ("ours: unet2d"). The last table names those that are not shown and why.
    """
    of_interest = [table for table in evaluation.papers if {run.dataset for run in evaluation.runs} & {*table.datasets}]
    pairs = [(table, beside(table, evaluation)) for table in of_interest]
    found = sorted((b for _, b in pairs if isinstance(b, Beside)), key=lambda b: not b.matched)
    left_out = [(table.title, reason) for table, reason in pairs if isinstance(reason, str)]
    tables = [drawn(b, evaluation) for b in found]
    if left_out:
        rows = tuple((Cell(title, heading=True), Cell(reason, words=True)) for title, reason in left_out)
        tables.append(Table("Published tables that are not shown", ("Table", "Why"), rows))
    return tables


def beside(table: PaperTable, evaluation: Evaluation) -> Beside | str:
    """A published table with ours in it, or in words why there is nothing of ours to put there.

    A run of the recipe of a printed row stands beside it, no other is averaged with it. All others get a row per model
    under each group of rows. Groups that we have nothing of (a site, a dataset) are left out; ``drawn`` names them.
    """
    if table.needs and not any(table.needs in (run.parts or ()) for run in evaluation.runs):
        return f"no run with {table.needs.replace('_', ' ')}"
    chosen = candidates(table, evaluation)
    loose = [c for c in chosen if not any(fits(row, c) for row in table.rows)]
    rows: list[tuple[PaperRow, Ours | None]] = []
    for where in _groups(table):
        printed = [row for row in table.rows if dict(row.where) == where]
        group = [(row, _own(table, row, chosen)) for row in printed]
        for name in dict.fromkeys(_own_row(table, c) for c in loose):
            own = ours(table, where, [c for c in loose if _own_row(table, c) == name])
            if own is not None:
                note = printed[0].note if printed else ""
                group.append((PaperRow(name, {}, where=where, note=note), own))
        if not where or any(own is not None for _, own in group):
            rows += group
    if not any(own is not None for _, own in rows):
        return _reason(table)
    standing = [c for c in chosen if c in loose or any(own and fits(row, c) for row, own in rows)]
    return Beside(table, tuple(rows), tuple(standing))


def _own(table: PaperTable, row: PaperRow, chosen: Sequence[Candidate]) -> Ours | None:
    """What stands beside a printed row."""
    if not row.difference_of:
        return ours(table, row.where, [c for c in chosen if fits(row, c)])
    alike = [other for other in table.rows if dict(other.where) == dict(row.where)]
    sides = [
        [c for c in chosen if any(fits(other, c) for other in alike if other.method == method)]
        for method in row.difference_of
    ]
    return difference(table, row.where, *sides)


def drawn(found: Beside, evaluation: Evaluation) -> Table:
    """A published table as printed, with a column of ours beside each column that we have something for."""
    table, rows = found.table, found.rows
    keys = [key for key in GROUPS if any(key in row.where for row, _ in rows)]
    mine = [key for key in table.columns if any(own and key in own.values for _, own in rows)]
    places = {key: _places(table, key) for key in table.columns}
    header = ["Method", *(GROUPS[key] for key in keys), *table.ticks.values()]
    printed = [key for key in table.columns if any(key in row.values for row in table.rows)]
    columns = [key for key in table.columns if key in printed or key in mine]
    for key in columns:
        heading = table.columns[key]
        theirs = ([f"{heading}, paper"] if key in mine else [heading]) if key in printed else []
        header += [*theirs, *([f"{heading}, ours"] if key in mine else [])]
    body = []
    for row, own in rows:
        parts = row.parts if row.parts is not None else _parts(found, row)
        cells = [Cell(row.method, heading=True), *(_group_cell(row, key) for key in keys)]
        cells += [Cell("✓" if parts and part in parts else "") for part in table.ticks]
        for key in columns:
            if key in printed:
                cells.append(_cell(row.values.get(key), places[key]))
            if key in mine:
                cells.append(_cell(own.values.get(key) if own else None, places[key], ours=True))
        body.append((*cells, Cell(own.basis if own else NOTHING, words=True)))
    caption = f"{table.title} (ours: phantoms, not comparable)" if evaluation.phantom else table.title
    header.append("Ours is made of")
    return Table(caption, tuple(header), tuple(body), notes=_notes(found, evaluation), name=f"paper_{table.name}")


def tested(found: Beside) -> list[str]:
    """For each input of a table of modalities: marks of the paired test of ours, and in how many cases Dice is high."""
    notes, shares = [], []
    for where in _groups(found.table):
        own = {row.method: one.cases for row, one in found.rows if one and row.values and dict(row.where) == where}
        if "modality" not in where or not own:
            continue
        shares += [f"{where['modality']} {method}: {_shares(cases['dice'])}" for method, cases in own.items()]
        metrics = [name for column in found.table.columns if (name := metric_of(column)) is not None]
        rows = pd.concat([cases.assign(method=method) for method, cases in own.items()], ignore_index=True)
        marks = compare(rows, [name for name in metrics if name in rows], column="method", resamples=1)
        for (first, second), lines in marks.groupby(["first", "second"], sort=False):
            words = [f"{METRICS[row['metric']].title} {stars(row['p']) or NOTHING}" for _, row in lines.iterrows()]
            notes.append(f"{where['modality']}, {first} against {second}: {', '.join(words)}")
    if notes:
        rule = "ns p > 0.05, * ≤ 0.05, ** ≤ 0.01, *** ≤ 0.001, **** ≤ 0.0001"
        notes = [f"Wilcoxon signed-rank test of ours, each p by itself ({rule}): {'; '.join(notes)}."]
    return [*notes, *([f"Our cases by Dice: {'; '.join(shares)}."] if shares else [])]


def _shares(dice: pd.Series) -> str:
    known = dice.dropna()
    high, middle = int((known > _HIGH).sum()), int(((known >= _MIDDLE) & (known <= _HIGH)).sum())
    return f"{high} of {len(known)} above {_HIGH:g}, {middle} from {_MIDDLE:g} to {_HIGH:g}"


def without_site(tables: Sequence[pd.DataFrame], site: str, metric: str = "dice") -> Number | None:
    """Macro mean and SD over the sites other than one; None when that one, or every other one, is absent.

    Args:
        tables: case tables of one model's runs.
        site: the number of the site to leave out.
        metric: what to average.
    """
    cases = pd.concat(tables, ignore_index=True)
    cases = cases[cases["site"].notna()]
    inside = cases["site"].map(str).map(site_number) == site
    if not inside.any() or inside.all():
        return None
    line = over_sites(cases[~inside], [metric]).iloc[0]
    return Number(float(line["site_mean"]), sd=float(line["site_sd"]))


def _own_row(table: PaperTable, candidate: Candidate) -> str:
    """What the row of a run is called that stands beside no printed one."""
    other = candidate.unlike and any(is_kind(row, candidate) for row in table.rows)
    return f"ours: {candidate.run.model}{' (other recipe)' if other else ''}"


def _groups(table: PaperTable) -> list[dict[str, str]]:
    groups: list[dict[str, str]] = []
    for row in table.rows:
        if dict(row.where) not in groups:
            groups.append(dict(row.where))
    # A network of several inputs stands in no group of a single one, so there is a place for it behind them.
    return [*groups, {}] if {} not in groups and any("modality" in where for where in groups) else groups


def _reason(table: PaperTable) -> str:
    wanted = {key: list(dict.fromkeys(row.where[key] for row in table.rows if key in row.where)) for key in GROUPS}
    missing = [f"{GROUPS[key].lower()} {', '.join(names)}" for key, names in wanted.items() if names]
    return f"nothing of ours is of {' and '.join(missing)}" if missing else "nothing of ours to put into its columns"


def _parts(found: Beside, row: PaperRow) -> frozenset[str] | None:
    """The parts of the model in a row of its own, where its runs have the same."""
    kinds = {c.run.parts for c in found.chosen if row.method == _own_row(found.table, c)}
    return next(iter(kinds)) if len(kinds) == 1 else None


def _notes(found: Beside, evaluation: Evaluation) -> tuple[str, ...]:
    table, rows = found.table, found.rows
    about = dict.fromkeys(
        f"{GROUPS[key]} {value}: {row.note}"
        for row, _ in rows
        for key, value in row.where.items()
        if row.note and key != "quarter"
    )
    notes = [f"Paper: {table.citation}. Protocol: {'; '.join((in_words(table), *about))}."]
    protocol = "; ".join(f"{key}: {value}" for key, value in evaluation.protocol.items())
    notes.append(f"Ours: {evaluation.dataset}; {statistic(table)}{'; ' + protocol if protocol else ''}.")
    unlike = differences(table, evaluation, found.chosen, rows)
    if unlike:
        notes.append(f"Differs: {'; '.join(unlike)}.")
    notes += [
        f"Other recipe than the paper's, in a row of its own: {name.removeprefix('ours: ')}: {'; '.join(words)}."
        for name, words in _other_recipes(found).items()
    ]
    if any(row.difference_of and own for row, own in rows):
        notes.append(
            "Our difference: over the cases both have, seeds averaged within a case; its interval resamples subjects "
            "and, within each, its seeds (two-level bootstrap, 1000 resamples, both methods' seeds in pairs where they "
            "are the same)."
        )
    notes += tested(found)
    if hidden := _left_out(found):
        notes.append(f"Not shown: {hidden}.")
    if table.over == "sites":
        notes += [
            f"{model} over the sites other than Site {_TUNED_SITE}: Dice {_mean_sd(rest, 4)}."
            for model in dict.fromkeys(c.run.model for c in found.chosen)
            if (rest := without_site([c.cases for c in found.chosen if c.run.model == model], _TUNED_SITE))
        ]
    return (*notes, *table.footnotes)


def _other_recipes(found: Beside) -> dict[str, list[str]]:
    """Row of ours -> what its runs have otherwise than the recipe of the printed row of their kind."""
    others: dict[str, list[str]] = {}
    for c in found.chosen:
        if c.unlike and any(is_kind(row, c) for row in found.table.rows):
            words = others.setdefault(_own_row(found.table, c), [])
            words += [word for word in c.unlike if word not in words]
    return others


def _left_out(found: Beside) -> str:
    """Printed groups without a case of ours, and sites of ours that the table does not have."""
    shown = [dict(row.where) for row, _ in found.rows]
    gone = [where for where in _groups(found.table) if where not in shown]
    words = [f"the paper's {', '.join(f'{GROUPS[k].lower()} {v}' for k, v in where.items())}" for where in gone]
    printed = {row.where["site"] for row in found.table.rows if "site" in row.where}
    if printed:
        names = dict.fromkeys(str(name) for c in found.chosen for name in c.cases["site"].dropna())
        others = [name for name in names if site_number(name) not in printed]
        words += [f"our sites {listed(others, 12)}, which the paper does not print"] if others else []
    return "; ".join(words)


def _group_cell(row: PaperRow, key: str) -> Cell:
    if key == "quarter":
        return Cell(row.note or row.where.get(key, NOTHING), words=True)
    return Cell(row.where.get(key, {"fold": "all", "modality": "as trained"}.get(key, NOTHING)))


def _places(table: PaperTable, column: str) -> int:
    """Decimals as printed: the most that any number of the column has."""
    numbers = [row.values[column] for row in table.rows if isinstance(row.values.get(column), Number)]
    parts = [part for n in numbers if isinstance(n, Number) for part in (n.mean, n.sd, n.low, n.high)]
    texts = [repr(part) for part in parts if part is not None and math.isfinite(part)]
    return max((len(text.partition(".")[2].removesuffix("0")) for text in texts), default=2)


def _cell(value: Number | str | None, places: int, *, ours: bool = False) -> Cell:
    if value is None:
        return Cell(NOTHING)
    if isinstance(value, str):
        return Cell(value, words=True)
    beside = (("sd", value.sd), ("low", value.low), ("high", value.high))
    further = tuple((name, number) for name, number in beside if number is not None)
    return Cell(_mean_sd(value, places), value.mean, ours=ours, further=further)


def _mean_sd(value: Number, places: int) -> str:
    text = plain_number(value.mean, places)
    if value.sd is not None and not math.isnan(value.sd):
        text += f" ± {plain_number(value.sd, places)}"
    if value.low is not None and value.high is not None:
        between = " to " if min(value.low, value.high) < 0 else "–"
        text += f" ({plain_number(value.low, places)}{between}{plain_number(value.high, places)})"
    return f"{text} ({value.infinite} inf)" if value.infinite else text
