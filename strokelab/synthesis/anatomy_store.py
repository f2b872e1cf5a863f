"""Anatomies on disk: made once, found again by what they are made of, mapped into memory when they are looked at.

They lie in the folder of the prepared store, below ``tissues``: raw float32, so that all workers of a machine share the
pages and thousands of sets do not fill its memory.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelab.errors import DataError, StrokelabError
from strokelab.files import digest, locked, make_folder, replacing, write_json
from strokelab.grid import Grid
from strokelab.preparation.digests import FileDigests
from strokelab.preparation.parallel import outcomes
from strokelab.preparation.progress import bar
from strokelab.preparation.store import default_store
from strokelab.preparation.stored_case import mapped
from strokelab.synthesis.anatomy import Anatomy, AnatomySource

DESCRIPTION = "anatomy.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredAnatomies(Sequence[Anatomy]):
    """Anatomies of the store, each mapped when it is looked at; light and picklable, no file stays open.

    Args:
        entries: their folders.
    """

    entries: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Anatomy:  # type: ignore[override]
        """One anatomy, its arrays read-only maps of their files.

        Raises:
            DataError: the files have gone or shrunk since.
        """
        entry = self.entries[index]
        try:
            content = json.loads((entry / DESCRIPTION).read_text(encoding="utf-8"))
            maps, brain = mapped(entry / "maps.npy"), mapped(entry / "brain.npy")
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(
                entry,
                found=f"{type(error).__name__}: {error}",
                expected="the maps of an anatomy",
                remedy="the store was changed under a running job: start it again, what is missing is made anew",
            ) from error
        return Anatomy(content["name"], tuple(content["channels"]), maps, brain, Grid.from_json(content["grid"]))


def stored(
    sources: Sequence[AnatomySource],
    channels: tuple[str, ...],
    *,
    store: Path | None = None,
    workers: int = 1,
    progress: bool = False,
) -> StoredAnatomies:
    """The anatomies of all sources, from the store where it has them, else made now.

    Args:
        sources: what they are made of.
        channels: the classes that each gets; those that a source lacks are empty.
        store: folder of the prepared store; None: the usual one.
        workers: processes that make them.
        progress: show a bar on stderr meanwhile.

    Raises:
        DataError: some cannot be made; the message names each with its file.
    """
    folder = (store or default_store()).absolute() / "tissues"
    digests = FileDigests(folder.parent / "digests")
    jobs = []
    for source in sources:
        key = digest({"channels": list(channels), "name": source.name, **source.address(digests.of)})
        jobs.append((source, channels, folder / key[:2] / key))
    missing = [job for job in jobs if not _whole(job[2])]
    if missing:
        make_folder(folder)
        _make(missing, workers=workers, progress=progress)
        log.info("%d of %d tissue maps were made now; store: %s", len(missing), len(jobs), folder)
    return StoredAnatomies(tuple(job[2] for job in jobs))


_Job = tuple[AnatomySource, tuple[str, ...], Path]


def _make(jobs: Sequence[_Job], *, workers: int, progress: bool) -> None:
    failures: list[StrokelabError] = []
    with bar(f"Preparing tissue maps of {len(jobs)} head{'s' * (len(jobs) > 1)}", len(jobs), shown=progress) as shown:
        for _, failure in outcomes(_write, jobs, workers):
            failures += [] if failure is None else [failure]
            shown.advance(shown.task_ids[0])
    if len(failures) == 1:
        raise failures[0]
    if failures:
        lines = "; ".join(f"{error.where}: {error.found}" for error in failures[:10])
        raise DataError(
            f"{len(failures)} of {len(jobs)} sets of tissue maps",
            found=lines + (" ..." if len(failures) > 10 else ""),
            expected="maps that are sound",
            remedy=failures[0].remedy,
        )


def _write(job: _Job) -> StrokelabError | None:
    """One entry, written by one process while others wait for it; an error is returned, for others go on."""
    source, channels, entry = job
    with locked(entry.parent / f".{entry.name}.lock"):
        if _whole(entry):
            return None
        try:
            anatomy = source.made()
        except StrokelabError as error:
            return error
        shutil.rmtree(entry, ignore_errors=True)  # of a store that was cut short
        with replacing(entry) as temporary:
            temporary.mkdir()
            _write_entry(temporary, anatomy, channels)
    return None


def _write_entry(folder: Path, anatomy: Anatomy, channels: tuple[str, ...]) -> None:
    shape = (len(channels), *anatomy.grid.shape)
    # What is never written are holes of the file: empty classes take no room on the disk.
    maps = np.lib.format.open_memmap(folder / "maps.npy", mode="w+", dtype=np.float32, shape=shape)
    for name, values in zip(anatomy.channels, anatomy.maps, strict=True):
        maps[channels.index(name)] = values
    maps.flush()
    np.save(folder / "brain.npy", np.ascontiguousarray(anatomy.brain, dtype=bool))
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    content = {"name": anatomy.name, "channels": list(channels), "grid": anatomy.grid.to_json(), "bytes": sizes}
    write_json(folder / DESCRIPTION, content)


def _whole(entry: Path) -> bool:
    try:
        content = json.loads((entry / DESCRIPTION).read_text(encoding="utf-8"))
        return all((entry / name).stat().st_size == size for name, size in content["bytes"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return False
