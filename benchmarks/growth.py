"""How time and memory grow: ``python -m benchmarks growth [--cases 10,100,1000] [--workers ...] [--members ...]``.

Phantom cohorts at 8 mm and a tiny SG-Net, so that a thousand cases are done in minutes: what grows with the number of
cases shows, what a case costs in itself does not. Every figure comes from a process of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from benchmarks.growth_page import Point, chart, into_page, tables
from benchmarks.machine import describe
from benchmarks.memory import Watched, watched

CROP = (24, 28)
TINY = (
    "data=atlas_v1",
    "data.prepare_workers=1",
    f"view.preparation.crop=[{CROP[0]},{CROP[1]},null]",
    "view.preparation.offset=null",
    "view.sampler.min_brain_pixels=8",
    "model.network.base=4",
    "model.network.depth=3",
    "trainer.max_epochs=2",
    "score_test=false",
)
_SITES = 9


def main(words: Sequence[str]) -> None:
    """Measure, print, and on request write tables and chart into a page."""
    options = _options(words)
    with tempfile.TemporaryDirectory(prefix="strokelab-growth-") as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        points = measure(folder, options.cases, options.workers, options.members)
        machine = describe()
        record = {"machine": machine, "points": [asdict(point) for point in points]}
        (folder / "growth.json").write_text(json.dumps(record, indent=1))
    text = tables(points)
    Console().print(text, machine, sep="\n\n", markup=False)
    if options.chart:
        chart(points, options.chart)
    if options.markdown:
        into_page(options.markdown, text, machine, options.chart)


def _options(words: Sequence[str]) -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(word) for word in text.split(",") if word]

    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__)
    parser.add_argument("--cases", type=numbers, default=[10, 100, 1000], help="sizes of the cohorts, ascending")
    parser.add_argument("--workers", type=numbers, default=[0, 1, 2, 4, 8], help="loader workers of an epoch")
    parser.add_argument("--members", type=numbers, default=[1, 2, 4, 8], help="jobs at once on one empty store")
    parser.add_argument("--folder", type=Path, help="keep the cohorts here for the next time")
    parser.add_argument("--markdown", type=Path, help="page whose section on growth is replaced")
    parser.add_argument("--chart", type=Path, help="where the chart goes (PNG)")
    return parser.parse_args(words)


def measure(folder: Path, sizes: Sequence[int], workers: Sequence[int], members: Sequence[int]) -> list[Point]:
    """All points: each cohort size on its own store, loader workers at every size, members at the middle size.

    Raises:
        RuntimeError: a piece of work failed, or a case was prepared more than once.
    """
    points: list[Point] = []
    roots = {cases: _cohort(folder, cases) for cases in sizes}
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    for cases, root in roots.items():
        place = scratch / str(cases)
        place.mkdir(parents=True)
        points += _of_size(root, place, cases, workers)
    middle = sizes[len(sizes) // 2]
    for count in members:
        points.append(_of_members(roots[middle], scratch / f"members-{count}", middle, count))
    shutil.rmtree(scratch)
    return points


def _cohort(folder: Path, cases: int) -> Path:
    from strokelab.phantoms.cohort import write_cohort

    sites = min(_SITES, cases)
    each = [cases // sites + (site < cases % sites) for site in range(sites)]
    root = folder / f"cohort-{cases}"
    return write_cohort("atlas_v1", root, spacing=8.0, sites=sites, cases_per_site=each, workers=2, progress=False)


def _of_size(root: Path, place: Path, cases: int, workers: Sequence[int]) -> list[Point]:
    """Prepare, find again, train, score and report a cohort."""
    store, log = place / "store", place / "log.txt"
    points = []
    for work in ("prepare", "find again"):
        seen = _watched(f"{work} {cases}", [_prepare(root, store)], log)
        points.append(Point.of(work, cases, 1, seen))
    places = (f"data.root={root}", f"data.store={store}", f"data.n_sites={min(_SITES, cases)}")
    for count in workers:
        run = place / f"run-{count}"
        settings = (*TINY, *places, "split=all", f"data.workers={count}", f"hydra.run.dir={run}")
        seen = _watched(f"epoch {cases}, {count} workers", [_work("train", place / "clock.json", *settings)], log)
        answer = seen.answers[0]
        note = f"{answer['samples']:.0f} slices; first epoch {answer['first']:.2f} s"
        points.append(Point.of("epoch", cases, count, seen, note=note))
    run = place / "run-tested"
    split = f"split.path={_nearly_all_test(root, place / 'split.csv')}"
    settings = (*TINY, *places, "split=from_file", split, f"hydra.run.dir={run}", "trainer.max_epochs=1")
    _watched(f"a run to evaluate {cases}", [_work("train", place / "clock.json", *settings)], log)
    for work, words in (("score", (run, store)), ("report", (run, store, place / "report"))):
        seen = _watched(f"{work} {cases}", [_work(work, *words)], log)
        points.append(Point.of(work, seen.answers[0]["cases"], 1, seen))
    return points


def _of_members(root: Path, place: Path, cases: int, members: int) -> Point:
    """So many jobs that want the same cases from an empty store at the same moment."""
    place.mkdir(parents=True)
    commands = [_prepare(root, place / "store")] * members
    seen = _watched(f"{members} members prepare {cases}", commands, place / "log.txt")
    made = [case for answer in seen.answers for case in answer["prepared"]]
    if len(made) != cases or len(set(made)) != cases or {answer["cases"] for answer in seen.answers} != {cases}:
        raise RuntimeError(f"{len(made)} preparations of {len(set(made))} of {cases} cases by {members} members")
    shares = sorted(len(answer["prepared"]) for answer in seen.answers)
    note = f"{len(made)} preparations, {shares[0]} to {shares[-1]} by each"
    return Point.of("members", cases, members, seen, note=note)


def _prepare(root: Path, store: Path) -> tuple[str | Path, ...]:
    return _work("prepare", root, store, json.dumps(CROP))


def _work(name: str, *words: str | Path) -> tuple[str | Path, ...]:
    return ("-m", "benchmarks.growth_work", name, *words)


def _nearly_all_test(root: Path, path: Path) -> Path:
    """A split that trains on one case of each of two sites and tests on all others."""
    from strokelab.data import read_cases

    cases = read_cases("atlas_v1", root)
    first = {case.site: case for case in reversed(cases)}
    train = {case.case_id for case in list(first.values())[-2:]}
    rows = [f"{case.case_id},{'train' if case.case_id in train else 'test'}" for case in cases]
    path.write_text("\n".join(["case_id,part", *rows]) + "\n")
    return path


def _watched(title: str, commands: Sequence[Sequence[str | Path]], log: Path) -> Watched:
    Console(stderr=True).print(f"[dim]{title} ...[/]")
    return watched(commands, log)
