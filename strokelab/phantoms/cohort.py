"""Write a phantom cohort, whole or not at all. Knows processes and folders; knows neither anatomy nor any layout."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits

from strokelab import terminal
from strokelab.command_words import setting, word
from strokelab.errors import ConfigError, DataError
from strokelab.files import locked, make_folder, write_json, write_text
from strokelab.phantoms.layouts import layout_module
from strokelab.phantoms.naming import RECORD, VERSION, cohort_name, differences
from strokelab.phantoms.settings import Settings, Truth

TRUTH = "phantom_truth.csv"


def write_cohort(
    layout: str,
    out: str | Path,
    *,
    spacing: float = 1.0,
    sites: int = 9,
    cases_per_site: int | Sequence[int] | None = 6,
    seed: int = 0,
    workers: int = 1,
    progress: bool = True,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Write a phantom cohort in the layout of a public dataset; a finished one of the same settings is reused.

    Args:
        layout: module name in ``phantoms.layouts``.
        out: root of the tree (what is named to a reader); it appears only when the cohort is complete.
        spacing: isotropic voxel size in mm of 1 mm releases; releases with coarser voxels keep theirs where coarser.
        sites: number of sites; releases with fewer have what they have.
        cases_per_site: one number for all sites, one per site, or None for the release's own numbers.
        seed: decides everything; the files are the same, bit for bit, for any number of workers and threads.
        workers: processes.
        progress: show a progress bar.
        overwrite: replace a phantom cohort of other settings.
        **options: of the layout (its ``OPTIONS``).

    Returns:
        ``out`` as a path.

    Raises:
        ConfigError: an option is unknown or out of range.
        DataError: ``out`` holds something else, or cannot be written to.
    """
    module = layout_module(layout)
    unknown = sorted(set(options) - set(module.OPTIONS))
    if unknown:
        raise ConfigError(
            f"phantom layout {layout!r}",
            found=f"unknown options {unknown}",
            expected=f"only {', '.join(module.OPTIONS) or 'the general ones'}",
            remedy="remove or correct them",
        )
    settings = Settings.of(
        layout, spacing=spacing, sites=sites, cases_per_site=cases_per_site, seed=seed, options=options
    )
    subjects = module.plan(settings)
    root = Path(out)
    make_folder(root.parent)
    with locked(root.with_name(f".{root.name}.lock")):
        if _reusable(root, settings, overwrite):
            return root
        building = root.with_name(f".{root.name}.partial")
        shutil.rmtree(building, ignore_errors=True)  # of one that was killed
        make_folder(building)
        try:
            rows = _write_all(layout, subjects, building, workers=workers, progress=progress)
            module.finish(settings, rows, building)
            write_text(building / TRUTH, _table(rows))
            write_json(building / RECORD, {"version": VERSION, "cases": len(rows), **settings.to_json()})
            if root.exists():
                shutil.rmtree(root)
            os.replace(building, root)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return root


def read_truth(root: str | Path) -> list[dict[str, str]]:
    """The rows of a cohort's truth table, as text."""
    with (Path(root) / TRUTH).open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _reusable(root: Path, settings: Settings, overwrite: bool) -> bool:
    """Whether ``root`` is the cohort that is asked for; False when it may be written."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    record = root / RECORD
    if not record.is_file():
        raise DataError(
            root,
            found="a folder that is no phantom cohort" if root.is_dir() else "a file",
            expected="a new folder, an empty one, or a phantom cohort",
            remedy="choose another output folder; nothing foreign is ever overwritten",
        )
    differs = differences(root, settings)
    if differs == {}:
        return True
    if not overwrite:
        free = root.with_name(cohort_name(settings.layout, vars(settings)))
        raise DataError(
            root,
            found=f"a phantom cohort with {', '.join(f'{key} = {there!r}' for key, (there, _) in differs.items())}"
            if differs
            else f"a phantom cohort whose {RECORD} cannot be read",
            expected=", ".join(f"{key} = {asked!r}" for key, (_, asked) in (differs or {}).items()) or "one that can",
            remedy=f"write it into another folder: {setting('data.root', free)} (train.py), --out {word(free)} "
            "(strokelab phantom); or remove this one",
        )
    return False


def _write_all(layout: str, subjects: Sequence[Any], root: Path, *, workers: int, progress: bool) -> list[Truth]:
    """The truth rows of all subjects in their order, whichever process wrote them."""
    write = partial(_write_one, layout, root)
    rows: list[Truth] = []
    with _bar(f"phantoms {layout}", len(subjects), progress) as advance, _mapper(min(workers, len(subjects))) as run:
        for result in run(write, subjects):
            rows.extend(result)
            advance()
    return rows


def _write_one(layout: str, root: Path, subject: Any) -> list[Truth]:
    with threadpool_limits(1, user_api="blas"):  # sums over more threads are rounded differently
        rows: list[Truth] = layout_module(layout).write(subject, root)
    return rows


@contextmanager
def _mapper(workers: int) -> Iterator[Any]:
    """``map`` of this process, or of a pool of clean ones (a forked copy of a process with threads may hang)."""
    if workers <= 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("forkserver"))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _bar(title: str, total: int, show: bool) -> Iterator[Any]:
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.console(stderr=True), disable=not show, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)


def _table(rows: Sequence[Truth]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
