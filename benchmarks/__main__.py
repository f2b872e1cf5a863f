"""One command, one table: ``python -m benchmarks [PART ...] [--rounds N] [--markdown docs/performance.md]``.

``python -m benchmarks cluster``, ``growth``, ``kills`` and ``nnunet_phantoms`` are other questions, with options and
answers of their own.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from benchmarks.measure import Row

# The module and the function of each part; modules are loaded when their turn comes.
PARTS = {
    "startup": ("benchmarks.startup", "rows"),
    "zscore": ("benchmarks.zscore", "rows"),
    "loading": ("benchmarks.loading", "rows"),
    "mirror": ("benchmarks.mirror", "rows"),
    "register": ("benchmarks.register", "rows"),
    "prepare": ("benchmarks.case", "prepare_rows"),
    "precision": ("benchmarks.precision", "rows"),
    "scoreboard": ("benchmarks.scoreboard", "rows"),
    "tune": ("benchmarks.tune", "rows"),
    "augmentation": ("benchmarks.augmentation", "rows"),
    "synthesis": ("benchmarks.synthesis", "rows"),
    "patches": ("benchmarks.patches", "rows"),
    "nnunet_step": ("benchmarks.nnunet_step", "rows"),
    "volume_step": ("benchmarks.volume_step", "rows"),
    "windows": ("benchmarks.windows", "rows"),
    "dense_patches": ("benchmarks.dense_patches", "rows"),
    "predict": ("benchmarks.case", "predict_rows"),
}
HEADER = ("work", "ours", "peer", "ratio", "goal", "note")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main() -> None:
    """Measure, print, and on request write the table into a page."""
    if sys.argv[1:2] in (["cluster"], ["growth"], ["kills"], ["nnunet_phantoms"]):
        other: Callable[[Sequence[str]], None] = importlib.import_module(f"benchmarks.{sys.argv[1]}").main
        return other(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant (default 5)")
    parser.add_argument("--folder", type=Path, help="keep the phantom scans and the store here for the next time")
    parser.add_argument("--markdown", type=Path, help="page whose measured section is replaced")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="strokelab-benchmarks-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [row for part in options.parts or PARTS for row in _measure(part, folder, options.rounds)]
    machine = describe()
    Console().print(_table(lines), machine, sep="\n")
    if options.markdown:
        _into_page(options.markdown, lines, machine)


def _measure(part: str, folder: Path, rounds: int) -> Sequence[Row]:
    module, function = PARTS[part]
    Console(stderr=True).print(f"[dim]measuring {part} ...[/]")
    work: Callable[[Path, int], Sequence[Row]] = getattr(importlib.import_module(module), function)
    return work(folder, rounds)


def _table(lines: Sequence[Row]) -> Table:
    table = Table(title="Times as often as the peer (medians of interleaved rounds)")
    for name in HEADER:
        table.add_column(name, overflow="fold")
    for row in lines:
        table.add_row(*row.cells(), style="red" if row.met is False else None)
    return table


def _into_page(page: Path, lines: Sequence[Row], machine: str) -> None:
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page}: no section between {BEGIN} and {END}")
    rows = [HEADER, ("---",) * len(HEADER), *(row.cells() for row in lines)]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{machine}.\n\n{body}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
