"""A cohort report on a console: a table of what is there, lines for the problems. Knows rich, reads nothing."""

from __future__ import annotations

import os
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from strokelab.data.check import CohortReport
from strokelab.data.check_case import Problem, Severity
from strokelab.files import natural_key

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_MOST_FILES: dict[Severity, int] = {"error": 10, "warning": 3, "note": 3}  # of a problem that many files share
_MOST_GRIDS = 6
_WIDTH = 160  # columns where no terminal says how many there are; a path may be longer
_OWN_NAME = 3  # letters from which on a word of a file's name, with a digit in it, is taken for a part of its id


def render(report: CohortReport, console: Console) -> None:
    """Print a cohort report: what is there, then every kind of problem with its files."""
    width = min(console.width, _WIDTH)
    console.print(f"{report.dataset} in {report.root}", markup=False, highlight=False, soft_wrap=True)
    console.print(_overview(report), width=width, soft_wrap=False)
    for line in _lines(report.problems, report.root + os.sep, width):
        console.print(line, highlight=False, soft_wrap=True)
    counts = {kind: sum(problem.severity == kind for problem in report.problems) for kind in _STYLES}
    verdict = "[bold green]ready[/]" if report.ok else "[bold red]not usable as it is[/]"
    console.print(f"{verdict}: " + ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in counts.items()))


def _overview(report: CohortReport) -> Table:
    table = Table(show_header=False)
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


def _lines(problems: Sequence[Problem], within: str, width: int) -> Iterator[Text]:
    """Each kind of problem: its sentence, then its files, each whole on a line of its own.

    Problems whose sentences differ in the names of their own files alone are of one kind; the first's is written.

    Args:
        problems: errors first.
        within: the cohort's folder, left out of the paths.
        width: columns of a sentence.
    """
    kinds: dict[tuple[Severity, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        kinds[problem.severity, _sentence(problem, within)].append(problem)
    folded = False
    for (severity, _), alike in kinds.items():
        first, most = alike[0].message.replace(within, ""), _MOST_FILES[severity]
        others = "" if len({problem.message for problem in alike}) == 1 else "; the others alike"
        for number, line in enumerate(_wrapped(f"{severity}: {first}{others}", width)):
            head = len(severity) if number == 0 else 0
            yield Text.assemble((line[:head], _STYLES[severity]), line[head:])
        yield from (Text(f"    {problem.file.removeprefix(within)}") for problem in alike[:most])
        if len(alike) > most:
            folded = True
            yield Text(f"    and {len(alike) - most} more")
    if folded:
        yield Text("--json names every file.")


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _sentence(problem: Problem, within: str) -> str:
    """What is said of a file, without what is its own: paths in the cohort's folder, and the parts of its name."""
    said = re.sub(re.escape(within) + r"[^\s;,:]*", "…", problem.message)
    words = set(re.findall(r"[\w-]+", problem.file.removeprefix(within)))
    words |= {part for word in words for part in re.split(r"[_-]", word)}
    own = [word for word in words if len(word) >= _OWN_NAME and any(map(str.isdigit, word))]
    for word in sorted(own, key=len, reverse=True):
        said = said.replace(word, "…")
    return said
