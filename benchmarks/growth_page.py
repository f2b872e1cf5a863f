"""What was measured of growth, as points, tables and a chart; measures nothing."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.memory import Watched

BEGIN, END = "<!-- growth: begin -->", "<!-- growth: end -->"
WORDS = {
    "prepare": "prepare",
    "find again": "find prepared cases again",
    "epoch": "one training epoch",
    "score": "predict and score the test part",
    "report": "evaluate.py from the run's tables",
}


@dataclass(frozen=True)
class Point:
    """One measurement."""

    work: str  # prepare, find again, epoch, score, report, or members
    cases: int
    at_once: int  # loader workers of an epoch, members of a sweep; else 1
    seconds: float  # of the clock
    processor: float  # seconds of the processor in the process that was asked, loader workers not among them
    resident_mib: float
    own_mib: float
    note: str = ""

    @classmethod
    def of(cls, work: str, cases: int, at_once: int, seen: Watched, *, note: str = "") -> Point:
        """From what was watched; of several processes the slowest one's time and all processors' seconds."""
        seconds = max(answer["seconds"] for answer in seen.answers)
        processor = sum(answer["processor"] for answer in seen.answers)
        return cls(work, cases, at_once, seconds, processor, seen.resident_mib, seen.own_mib, note)


def tables(points: Sequence[Point]) -> str:
    """Three tables in markdown: by cases, by loader workers, by members."""
    return "\n\n".join(
        ["\n".join(_rows(table)) for table in (_by_cases(points), _by_workers(points), _members(points))]
    )


def into_page(page: Path, text: str, machine: str, picture: Path | None) -> None:
    """Replace the page's section on growth."""
    content = page.read_text(encoding="utf-8")
    if BEGIN not in content or END not in content:
        raise SystemExit(f"{page}: no section between {BEGIN} and {END}")
    shown = f"![growth]({os.path.relpath(picture, page.parent)})\n\n" if picture else ""
    before, after = content.split(BEGIN)[0], content.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{machine}.\n\n{shown}{text}\n{END}{after}", encoding="utf-8")


def _by_cases(points: Sequence[Point]) -> list[list[str]]:
    chosen = [one for one in points if one.work != "members" and (one.work != "epoch" or one.at_once == _least(points))]
    groups = {work: [one for one in chosen if one.work == work] for work in WORDS}
    sizes = [f"{one.cases:,} cases" for one in groups["prepare"]]
    head = [
        "work",
        *sizes,
        "processor time a case, most against least",
        "against the size before",
        "memory a case more",
    ]
    return [head, *([WORDS[work], *map(_cell, line), *_growth(line)] for work, line in groups.items())]


def _least(points: Sequence[Point]) -> int:
    return min(one.at_once for one in points if one.work == "epoch")


def _cell(one: Point) -> str:
    return f"{_time(one.seconds)}, {one.own_mib:.0f} MiB ({one.resident_mib:.0f})"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _growth(line: Sequence[Point]) -> list[str]:
    each = [one.processor / one.cases for one in line]
    more = (line[-1].own_mib - line[0].own_mib) * 1024 / max(line[-1].cases - line[0].cases, 1)
    before = each[-1] / each[-2] if len(each) > 1 else 1.0
    return [f"{each[-1] / each[0]:.2f}x", f"{before:.2f}x", f"{more:.0f} KiB"]


def _by_workers(points: Sequence[Point]) -> list[list[str]]:
    epochs = [one for one in points if one.work == "epoch"]
    sizes = list(dict.fromkeys(one.cases for one in epochs))
    counts = list(dict.fromkeys(one.at_once for one in epochs))
    of = {(one.cases, one.at_once): one for one in epochs}
    lines = [[str(count), *(_cell(of[size, count]) for size in sizes)] for count in counts]
    return [["loader workers", *(f"epoch of {size:,} cases" for size in sizes)], *lines]


def _members(points: Sequence[Point]) -> list[list[str]]:
    members = [one for one in points if one.work == "members"]
    head = ["members at once", "cases", "seconds until all have them", "memory, all", "memory, each", "preparations"]
    lines = [
        [
            str(one.at_once),
            f"{one.cases:,}",
            f"{one.seconds:.1f}",
            f"{one.own_mib:.0f} MiB",
            f"{one.own_mib / one.at_once:.0f} MiB",
            one.note,
        ]
        for one in members
    ]
    return [head, *lines]


def _rows(table: Sequence[Sequence[str]]) -> list[str]:
    head, *lines = table
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]


def chart(points: Sequence[Point], path: Path) -> None:
    """Time a case and memory against cases, an epoch against loader workers, memory against members."""
    import matplotlib as mpl
    from PIL import Image

    mpl.use("Agg")
    mpl.rcParams["font.size"] = 8
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(8.4, 5.6), layout="constrained")
    least = _least(points)
    for work, label in WORDS.items():
        line = [one for one in points if one.work == work and (work != "epoch" or one.at_once == least)]
        cases = [one.cases for one in line]
        axes[0, 0].plot(cases, [1000 * one.processor / one.cases for one in line], "o-", label=label)
        axes[0, 1].plot(cases, [one.own_mib for one in line], "o-", label=label)
    axes[0, 0].set(xscale="log", yscale="log", title="Processor time a case", xlabel="cases", ylabel="ms")
    axes[0, 1].set(xscale="log", ylim=(0, None), title="Peak memory", xlabel="cases", ylabel="MiB")
    axes[0, 1].legend(fontsize=7)
    epochs = [one for one in points if one.work == "epoch"]
    for cases in dict.fromkeys(one.cases for one in epochs):
        line = [one for one in epochs if one.cases == cases]
        counts = [one.at_once for one in line]
        axes[1, 0].plot(counts, [1000 * one.seconds / one.cases for one in line], "o-", label=f"{cases:,} cases")
        axes[1, 1].plot(counts, [one.own_mib for one in line], "o-", label=f"epoch, {cases:,} cases")
    members = [one for one in points if one.work == "members"]
    counts = [one.at_once for one in members]
    axes[1, 1].plot(counts, [one.own_mib for one in members], "s--", color="0.4", label="members preparing")
    axes[1, 0].set(ylim=(0, None), title="One epoch, time a case", xlabel="loader workers", ylabel="ms")
    axes[1, 1].set(ylim=(0, None), title="Peak memory", xlabel="loader workers, or members at once", ylabel="MiB")
    for axis in axes.flat:
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1, 0].legend(fontsize=7)
    axes[1, 1].legend(fontsize=7)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(64).save(path, optimize=True)  # small enough for the repository
