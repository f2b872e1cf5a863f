"""The prepared store: each case is prepared once and found again by the content of its inputs and the settings.

Knows folders, processes and locks; what a preparation does to voxels is ``recipe``'s, what an entry looks like on
disk is ``entry``'s. Layout: ``<store>/<two digits>/<key>/`` per entry, ``locks/`` and ``digests/`` beside them.

Any number of jobs may share a store: an entry is written under its lock into a temporary folder and then renamed, so
it is whole or absent; what a killed job left behind is removed by the next that holds the lock.
"""

from __future__ import annotations

import logging
import os
import shutil
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from strokelab.contract import Case, check_unique
from strokelab.errors import ConfigError, DataError, StrokelabError
from strokelab.files import DiskFullError, digest, disk_errors, locked, make_folder
from strokelab.preparation.digests import FileDigests
from strokelab.preparation.parallel import WorkerDiedError, outcomes
from strokelab.preparation.progress import bar
from strokelab.preparation.recipe import PREPARATION_VERSION, Preparation, prepare
from strokelab.preparation.register import RegistrationError
from strokelab.preparation.stored_case import StoredCase, Unregistered, open_entry, write_entry

__all__ = ["PreparedStore", "StoreError", "StoredCase", "Unregistered"]
log = logging.getLogger(__name__)


Preparing = Preparation | Callable[[Case], Preparation]
"""One preparation for all cases, or each case's own (``runs.Run.preparation_of``)."""


class StoreError(DataError):
    """The store itself cannot be written: no use in going on with other cases."""


class PreparedStore:
    """A folder of prepared cases.

    Args:
        folder: made when the first case is prepared.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()

    def prepare(
        self,
        cases: Sequence[Case],
        preparation: Preparing,
        *,
        workers: int = 1,
        progress: bool = True,
        left_out: dict[str, RegistrationError] | None = None,
    ) -> list[StoredCase]:
        """The cases, prepared: from the store where their inputs and settings are known, else made now.

        Args:
            cases: ids must differ.
            preparation: what to do, with all cases or with each.
            workers: processes that prepare; 1 works in this process.
            progress: show a bar on stderr while cases are prepared.
            left_out: takes the cases that cannot be registered, with why, so that they do not stop the others.

        Returns:
            One stored case per case, in their order.

        Raises:
            DataError: some cases cannot be prepared; the message names each with its file. All others are in the
                store by then. Also when the store cannot be written to.
        """
        check_unique(cases, "cohort")
        ready: dict[str, StoredCase] = {}
        failures: dict[str, StrokelabError] = {}
        requests: list[_Request] = []
        for case, found in zip(cases, self._keys(cases, preparation, workers), strict=True):
            if isinstance(found, StrokelabError):
                failures[case.case_id] = found
            elif (stored := open_entry(self._entry(found[1]), case)) is not None:
                ready[case.case_id] = stored
            else:
                requests.append(_Request(self, case, *found))
        if requests:
            make_folder(self.folder)
            try:
                self._run(requests, ready, failures, workers=workers, progress=progress)
            except WorkerDiedError as error:
                raise _died(self.folder, error, workers) from error
        if left_out is not None:
            left_out |= {name: error for name, error in failures.items() if isinstance(error, RegistrationError)}
            failures = {name: error for name, error in failures.items() if name not in left_out}
        if failures:
            raise _summary(failures, len(cases))
        sources = Counter(stored.brain_source for stored in ready.values())
        brains = ", ".join(f"{source} {count}" for source, count in sorted(sources.items()))
        log.info(
            "%d cases: %d prepared now, brain masks: %s; store: %s", len(cases), len(requests), brains, self.folder
        )
        return [ready[case.case_id] for case in cases if case.case_id in ready]

    def prepare_each(
        self, cases: Sequence[Case], preparation: Preparing, *, workers: int = 1, progress: bool = True
    ) -> list[StoredCase | Unregistered]:
        """As ``prepare``, for cases that are scored one by one: a case that cannot be registered says why instead."""
        left_out: dict[str, RegistrationError] = {}
        made = self.prepare(cases, preparation, workers=workers, progress=progress, left_out=left_out)
        ready = {one.case_id: one for one in made}
        ids = [case.case_id for case in cases]
        return [Unregistered(name, left_out[name]) if name in left_out else ready[name] for name in ids]

    def key(self, case: Case, preparation: Preparation) -> str:
        """The address of a case in the store: a digest of all input files, the settings and the code's version.

        Raises:
            DataError: a modality or a file is missing or unreadable.
        """
        return digest(self._inputs(case, preparation))

    def unlabelled(self, case: Case, preparation: Preparation) -> StoredCase | None:
        """The entry of a labelled case as if it were unlabelled, if there is one; its image and brain are the same.

        Pseudo-labels have several masks for one image, which is therefore not stored several times.
        """
        bare = replace(case, lesions=())
        return open_entry(self._entry(self.key(bare, preparation)), bare) if case.labelled else None

    def _inputs(self, case: Case, preparation: Preparation) -> dict[str, object]:
        of = FileDigests(self.folder / "digests").of
        maps = {
            name: [asdict(case.maps[name].layout), *(of(path) for path in case.maps[name].files)]
            for name in preparation.maps
            if name in case.maps
        }
        return {
            "version": PREPARATION_VERSION,
            "preparation": preparation.to_json(),
            "images": {name: of(case.images[name]) for name in preparation.modalities if name in case.images},
            "reference": of(case.reference_image),
            "lesions": [[of(f.path), f.values, f.allowed, f.above] for f in case.lesions],
            "brain": None if case.brain is None else of(case.brain),
            **({"further maps": maps} if maps else {}),
        }

    def _keys(
        self, cases: Sequence[Case], preparation: Preparing, workers: int
    ) -> Iterator[tuple[Preparation, str] | StrokelabError]:
        def key(case: Case) -> tuple[Preparation, str] | StrokelabError:
            try:
                own = preparation if isinstance(preparation, Preparation) else preparation(case)
                return own, self.key(case, own)
            except DiskFullError as error:
                raise _full(self.folder, error) from error
            except StrokelabError as error:
                return error
            except OSError as error:
                raise _unwritable(self.folder, error) from error

        with ThreadPoolExecutor(max(1, workers)) as threads:  # hashing lets other threads run
            yield from threads.map(key, cases)

    def _entry(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _run(
        self,
        requests: Sequence[_Request],
        ready: dict[str, StoredCase],
        failures: dict[str, StrokelabError],
        *,
        workers: int,
        progress: bool,
    ) -> None:
        busy: list[_Request] = []
        with bar(f"Preparing {len(requests)} case{'s' * (len(requests) > 1)}", len(requests), shown=progress) as shown:
            # Cases that another job is at are left to it and waited for at the end, so that jobs share the work.
            for patient in (False, True):
                todo = [replace(request, patient=True) for request in busy] if patient else requests
                for request, outcome in outcomes(_work, todo, workers):
                    for message, category in outcome.warnings:
                        warnings.warn(message, category, stacklevel=3)
                    if isinstance(outcome.failure, StoreError):
                        raise outcome.failure
                    if outcome.failure is not None:
                        failures[request.case.case_id] = outcome.failure
                    elif outcome.stored is not None:
                        ready[request.case.case_id] = outcome.stored
                    else:
                        busy.append(request)
                        continue
                    shown.advance(shown.task_ids[0])


@dataclass(frozen=True)
class _Request:
    store: PreparedStore
    case: Case
    preparation: Preparation
    key: str
    patient: bool = False  # wait for another process that is at the same case


@dataclass(frozen=True)
class _Outcome:
    """Metadata only, so that memory stays flat: the arrays are on disk. Neither stored nor failure: busy."""

    stored: StoredCase | None = None
    failure: StrokelabError | None = None
    warnings: tuple[tuple[str, type[Warning]], ...] = ()


def _work(request: _Request) -> _Outcome:
    """Prepare one case under its lock; runs in a worker process or in the caller's."""
    stored: StoredCase | None = None
    failure: StrokelabError | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            stored = _prepare_locked(request)
        except DiskFullError as error:
            failure = _full(request.store.folder, error)
        except StrokelabError as error:
            failure = error
        except OSError as error:  # inputs raise DataError, so this is the store
            failure = _unwritable(request.store.folder, error)
        except Exception as error:
            error.add_note(f"while preparing case {request.case.case_id}")
            raise
    return _Outcome(stored, failure, tuple((str(warning.message), warning.category) for warning in caught))


def _prepare_locked(request: _Request) -> StoredCase | None:
    entry = request.store._entry(request.key)
    with locked(request.store.folder / "locks" / f"{request.key}.lock", -1 if request.patient else 0) as mine:
        if not mine:
            return None
        stored = open_entry(entry, request.case)
        if stored is not None:  # another job was faster
            return stored
        for left_over in [*entry.parent.glob(f".*-{request.key}"), entry]:  # of killed jobs, and a damaged entry
            if left_over.exists():
                shutil.rmtree(left_over)
        prepared = prepare(request.case, request.preparation)
        inputs = request.store._inputs(request.case, request.preparation)
        if digest(inputs) != request.key:
            raise DataError(
                request.case.reference_image,
                found=f"files of case {request.case.case_id} that changed while they were prepared",
                expected="input files at rest",
                remedy="start again when nothing writes to them any more",
            )
        temporary = entry.with_name(f".{uuid.uuid4().hex[:8]}-{request.key}")
        try:
            with disk_errors(entry):
                write_entry(
                    temporary, prepared, inputs, unlabelled=request.store.unlabelled(request.case, request.preparation)
                )
                os.replace(temporary, entry)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        log.debug("case %s prepared, brain mask: %s", request.case.case_id, prepared.brain_source)
        stored = open_entry(entry, request.case)
        if stored is None:
            raise OSError("what was written cannot be read back")
        return stored


def _summary(failures: dict[str, StrokelabError], total: int) -> StrokelabError:
    if len(failures) == 1:
        return next(iter(failures.values()))
    lines = (f"\n  - case {case_id}: {error.where}: {error.found}" for case_id, error in failures.items())
    return DataError(
        f"{len(failures)} of {total} cases",
        found="cases that cannot be prepared:" + "".join(lines),
        expected=f"{total} cases that can (the other {total - len(failures)} are in the store)",
        remedy="mend their files, or leave them out with data.exclude",
    )


def _died(folder: Path, error: WorkerDiedError, workers: int) -> StoreError:
    names = ", ".join(request.case.case_id for request in error.jobs if isinstance(request, _Request))
    return StoreError(
        folder,
        found=f"a worker process that ended abruptly while at one of the cases {names}",
        expected=f"{workers} workers that finish (they are usually ended for want of memory)",
        remedy="start again with fewer workers (data.workers=1); what is prepared is kept",
    )


def _full(folder: Path, error: DiskFullError) -> StoreError:
    return StoreError(
        folder,
        found=error.found,
        expected="room for the prepared cases; those that are whole stand",
        remedy="free disk space, or put the store elsewhere: data.store=DIR or the variable STROKELAB_STORE",
    )


def _unwritable(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        folder,
        found=f"{type(error).__name__}: {error.strerror or error}",
        expected="a prepared store that can be written to",
        remedy="free disk space, mend permissions, or put the store elsewhere: data.store=DIR, or STROKELAB_STORE=DIR",
    )


def default_store() -> Path:
    """Where prepared cases go by default: ``STROKELAB_STORE``, else the user's cache.

    Raises:
        ConfigError: there is neither the variable nor a home folder.
    """
    try:
        return Path(os.environ.get("STROKELAB_STORE") or "~/.cache/strokelab/prepared").expanduser()
    except RuntimeError as error:
        raise ConfigError(
            "STROKELAB_STORE",
            found=f"no such variable, and no home folder for prepared cases ({error})",
            expected="a folder for prepared cases",
            remedy="set the variable, e.g. export STROKELAB_STORE=/scratch/strokelab, or data.store=DIR",
        ) from error
