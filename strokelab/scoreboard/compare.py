"""``strokelab agreement`` from end to end: pairs are found, compared, written and told. Knows the console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from strokelab.errors import ConfigError, DataError
from strokelab.files import make_folder, replacing
from strokelab.report.bland_altman import bland_altman
from strokelab.report.cells import between, plain_number
from strokelab.report.drawing import pdf, png
from strokelab.scoreboard.agreement import MEASURES, VolumeAgreement, agree, of_volumes, summary_of
from strokelab.scoreboard.masks import MaskRule, about_grids
from strokelab.scoreboard.page import told
from strokelab.scoreboard.twins import Twins, retests, twins_in, twins_of_table
from strokelab.scoring.tables import write_table
from strokelab.statistics.aggregate import failures, has_failed

AGREEMENT, SUMMARY, FIGURE = "agreement.csv", "summary.csv", "bland_altman"
_PROPORTIONAL = 0.05  # p of the slope from which on ratios are recommended
_NAMED = 10


@dataclass(frozen=True)
class Options:
    """How masks are compared."""

    rule: MaskRule
    strict_grid: bool = False
    workers: int | None = None


def find_twins(
    first: str | None, second: str | None, *, pairs: Path | None, dataset: str | None, rule: MaskRule
) -> Twins:
    """The pairs of two places, of a table, or of a dataset's test-retest visits.

    Raises:
        ConfigError: none or several of these ways are asked for.
        DataError: files are missing or do not match.
    """
    if dataset is not None and rule.threshold is not None:
        raise ConfigError(
            "--dataset",
            found="--threshold beside it",
            expected="the dataset's own rule for masks, or --labels",
            remedy="leave the option away, or compare two folders of masks",
        )
    match (first, second, pairs, dataset):
        case (None, None, Path(), None):
            return twins_of_table(pairs)
        case (str(), None, None, str()):
            return retests(dataset, Path(first), values=rule.labels)
        case (str(), str(), None, None):
            return twins_in(first, second, graded=rule.threshold is not None)
    raise ConfigError(
        "strokelab agreement",
        found=", ".join(
            f"{name} {value}"
            for name, value in (("FIRST", first), ("SECOND", second), ("--pairs", pairs), ("--dataset", dataset))
            if value is not None
        )
        or "nothing to compare",
        expected="FIRST SECOND, or --pairs FILE.csv, or ROOT --dataset NAME",
        remedy="choose one of the three; strokelab agreement --help shows everything",
    )


def compare_masks(twins: Twins, options: Options, out: Path, *, console: Console) -> Path:
    """Compare, write agreement.csv, summary.csv, bland_altman.png and .pdf, print a table.

    Args:
        twins: what is compared.
        options: how.
        out: the folder; only files of these names are replaced.
        console: where progress, results and notes are printed.

    Returns:
        The path of agreement.csv.

    Raises:
        DataError: the folder cannot be written to, or rows failed; the others are written and printed first.
    """
    make_folder(out)
    table = agree(twins.pairs, options.rule, strict_grid=options.strict_grid, workers=options.workers, console=console)
    volumes = of_volumes(table)
    summary = summary_of(table, volumes)
    write_table(summary, out / SUMMARY)
    _draw(table, volumes, twins, out)
    write_table(table, out / AGREEMENT)
    console.print(agreement_table(table, summary, f"{twins.first} and {twins.second}"))
    notes = [f"Note: {note}" for note in [*twins.notes, *_remarks(table, volumes)]]
    for note in [*notes, *about_grids(table)]:
        console.print(
            note if note.startswith("Warning:") else f"Note: {note}", markup=False, highlight=False, soft_wrap=True
        )
    for title, name in (("Pairs", AGREEMENT), ("Summary", SUMMARY), ("Figure", f"{FIGURE}.png, .pdf")):
        console.print(f"{title + ':':9}{out / name}", markup=False, highlight=False, soft_wrap=True)
    _refuse_failed(table, out)
    return out / AGREEMENT


def agreement_table(table: pd.DataFrame, summary: pd.DataFrame, title: str) -> Table:
    """The lines of ``summary_of`` for a terminal: estimates with their 95 % intervals."""
    failed = int(has_failed(table).sum())
    pairs, subjects = len(table) - failed, table.loc[~has_failed(table), "subject"].nunique()
    heading = f"{title}: {pairs} pairs of {subjects} subjects" + (f", {failed} failed" if failed else "")
    view = Table(title=escape(heading), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    view.add_column("measure")
    view.add_column("", style="dim")
    for name in ("n", "estimate", "95 % interval"):
        view.add_column(name, justify="right", no_wrap=True)
    for line in summary.to_dict("records"):
        name = str(line["measure"])
        infinite = f" (+{int(line['infinite'])}∞)" if line.get("infinite", 0) > 0 else ""
        interval = between(float(line["low"]), float(line["high"]), 3)
        estimate = plain_number(float(line["estimate"]), 3)
        view.add_row(MEASURES.get(name, name), str(line["statistic"]), f"{line['n']}{infinite}", estimate, interval)
    return view


def _draw(table: pd.DataFrame, volumes: VolumeAgreement, twins: Twins, out: Path) -> None:
    good = table[~has_failed(table)]
    figure = bland_altman(
        good["first_ml"],
        good["second_ml"],
        (twins.first, twins.second),
        differences=volumes.differences,
        ratios=volumes.ratios,
    )
    for suffix, content in ((".png", png(figure)), (".pdf", pdf(figure))):
        with replacing(out / f"{FIGURE}{suffix}") as temporary:
            temporary.write_bytes(content)


def _remarks(table: pd.DataFrame, volumes: VolumeAgreement) -> Sequence[str]:
    remarks = []
    if volumes.differences.slope_p < _PROPORTIONAL:
        remarks.append(
            "volume differences grow with lesion size (p of the slope "
            f"{volumes.differences.slope_p:.2g}): read the ratios, the limits in ml do not hold for all sizes"
        )
    if volumes.empty:
        remarks.append(f"{volumes.empty} pairs have an empty mask on one side or both, and no volume ratio")
    noted = table[table["note"].fillna("") != ""]
    if len(noted):
        remarks.append(f"{len(noted)} pairs have a note in {AGREEMENT}; first: {noted['note'].iloc[0]}")
    return remarks


def _refuse_failed(table: pd.DataFrame, out: Path) -> None:
    failed = [told(line) for line in failures(table)]
    if failed:
        more = f"\n  and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise DataError(
            out / AGREEMENT,
            found=f"{len(failed)} of {len(table)} pairs failed:\n  " + "\n  ".join(failed[:_NAMED]) + more,
            expected="two masks of every case",
            remedy="mend these cases; the others are compared, and the summary counts the failed ones",
        )
