"""A cohort report as tables on a console. Knows rich and the report, reads nothing."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from strokelab.data.check import CohortReport
from strokelab.data.check_case import Problem, Severity
from strokelab.files import natural_key

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_MOST_FILES: dict[Severity, int] = {"error": 50, "warning": 3, "note": 3}  # of a problem that many files share
_MOST_GRIDS = 6


def render(report: CohortReport, console: Console) -> None:
    """Print a cohort report: what is there, then every kind of problem with its files."""
    console.print(_overview(report))
    if report.problems:
        console.print(_problems(report.problems, within=report.root + os.sep))
    counts = {kind: sum(problem.severity == kind for problem in report.problems) for kind in _STYLES}
    verdict = "[bold green]ready[/]" if report.ok else "[bold red]not usable as it is[/]"
    console.print(f"{verdict}: " + ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in counts.items()))


def _overview(report: CohortReport) -> Table:
    table = Table(title=f"{report.dataset} in {escape(report.root)}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("cases", f"{report.cases} of {report.subjects} subjects, {report.labelled} with masks")
    sites = sorted(report.sites.items(), key=lambda item: natural_key(item[0]))
    unknown = report.cases - sum(report.sites.values())
    named = [f"{escape(site)} ({count})" for site, count in sites] + ([f"unknown ({unknown})"] if unknown else [])
    table.add_row(f"sites: {len(sites)}", ", ".join(named))
    alike: dict[tuple[tuple[str, int], ...], list[str]] = defaultdict(list)
    for modality, grids in report.grids.items():
        alike[tuple(grids.items())].append(modality)
    for counted, modalities in alike.items():
        shown = [f"{grid} ({count})" for grid, count in counted[:_MOST_GRIDS]]
        more = [f"and {len(counted) - _MOST_GRIDS} other grids"] if len(counted) > _MOST_GRIDS else []
        table.add_row(escape(", ".join(modalities)), "\n".join([*shown, *more]))
    if (quartiles := report.volume_quartiles_ml) is not None:
        low, first, median, third, high = quartiles
        table.add_row(
            "lesion volume", f"median {median:.3g} ml, quartiles {first:.3g} and {third:.3g}, {low:.3g} to {high:.3g}"
        )
    looked = "read" if report.voxels_read else "not read (--deep reads them)"
    table.add_row("image voxels", looked)
    return table


def _problems(problems: Sequence[Problem], within: str) -> Table:
    """One row per kind of problem: equal messages are gathered, files are named relative to the cohort's folder."""
    gathered: dict[tuple[Severity, str], list[str]] = defaultdict(list)
    for problem in problems:
        gathered[problem.severity, problem.message].append(problem.file)
    table = Table(show_lines=True)
    for title in ("", "what", "where"):
        table.add_column(title, overflow="fold")
    for (severity, message), files in gathered.items():
        most = _MOST_FILES[severity]
        more = [f"and {len(files) - most} more"] if len(files) > most else []
        where = "\n".join([*(escape(file.removeprefix(within)) for file in files[:most]), *more])
        table.add_row(f"[{_STYLES[severity]}]{severity}[/]", escape(message), where)
    return table
