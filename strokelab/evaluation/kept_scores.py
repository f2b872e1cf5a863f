"""Case tables kept beside the prepared cases, under a digest of all that they depend on. Predicts nothing.

Layout: ``<store>/scores/<two digits>/<digest>/`` with the two tables of ``scoring`` and what the digest was made of.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strokelab import __version__
from strokelab.contract import Case
from strokelab.errors import DataError
from strokelab.evaluation.candidates import Candidate
from strokelab.files import digest, make_folder, replacing, write_json
from strokelab.preparation.digests import FileDigests
from strokelab.runs import CASES, CONFIG, PROBABILITIES, TRAINING_SCANS
from strokelab.runs.folder import TUNED, TUNING
from strokelab.scoring.tables import Scores, read_scores, write_scores
from strokelab.statistics.aggregate import has_failed

_VERSION = 3  # raise it whenever equal inputs would give other tables


class KeptScores:
    """The kept tables of a store.

    Args:
        store: folder of the prepared store.
    """

    def __init__(self, store: Path) -> None:
        self._folder = store / "scores"
        self._digests = FileDigests(store / "digests")

    def inputs(self, run: Candidate, cases: list[Case], how: Mapping[str, Any]) -> dict[str, Any]:
        """All that the table of a run on some cases depends on, as plain data.

        Args:
            run: that predicts.
            cases: that are scored.
            how: everything else that was asked for.

        Raises:
            DataError: a file cannot be read.
        """
        files = [run.folder / name for name in (CONFIG, TRAINING_SCANS, TUNING, TUNED)]
        return {
            "version": [_VERSION, __version__],
            "run": {path.name: self._digests.of(path) for path in (*files, run.checkpoint) if path.is_file()},
            "how": dict(how),
            "cases": [self._case(case) for case in cases],
        }

    def read(self, inputs: Mapping[str, Any]) -> Scores | None:
        """The table that was made of these inputs; None where there is none, or none that can be read."""
        place = self._place(inputs)
        if not place.is_dir():
            return None
        try:
            return read_scores(place / CASES, place / PROBABILITIES)
        except DataError:
            return None

    def write(self, inputs: Mapping[str, Any], scores: Scores) -> None:
        """Keep a table, unless a case failed: such a one is predicted again.

        Raises:
            DataError: the store cannot be written to.
        """
        if has_failed(scores.cases).any():
            return
        place = self._place(inputs)
        make_folder(place.parent)
        if place.exists():  # one that cannot be read, or that was asked for again
            shutil.rmtree(place, ignore_errors=True)
        try:
            with replacing(place) as temporary:
                temporary.mkdir()
                write_scores(scores, temporary / CASES, temporary / PROBABILITIES)
                write_json(temporary / "inputs.json", dict(inputs))
        except OSError:
            if not place.is_dir():  # else another call has just kept the same table
                raise

    def _place(self, inputs: Mapping[str, Any]) -> Path:
        name = digest(inputs)
        return self._folder / name[:2] / name

    def _case(self, case: Case) -> list[Any]:
        of = self._digests.of
        return [
            *(case.case_id, case.subject_id, case.site, case.reference_modality),
            {name: of(path) for name, path in case.images.items()},
            [[of(file.path), file.values, file.allowed, file.above] for file in case.lesions],
            None if case.brain is None else of(case.brain),
            {key: case.meta[key] for key in sorted(case.meta) if key.startswith("scanner")},
        ]
