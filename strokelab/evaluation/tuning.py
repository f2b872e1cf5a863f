"""Pairs of threshold and smallest component for runs that are to have one and have none of their own.

They are found on the validation part of the run's split and written below ``out``: a run folder is only read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from strokelab import terminal
from strokelab.configuration import Settings, build
from strokelab.evaluation.cohort import Cohorts, part_of, store_of
from strokelab.files import digest
from strokelab.inference.postprocess import no_pair, search_of, with_pair
from strokelab.inference.tune import Found, Pair, Search
from strokelab.runs import Run
from strokelab.runs.alone import as_looked_at
from strokelab.runs.tuning import read_found, read_pair, write_found
from strokelab.scoring.tuning import found_of, tune_cases


class Tuning:
    """The searches of an evaluation, each made once.

    Args:
        settings: of the evaluation.
        cohorts: where the cases of runs are read.
    """

    def __init__(self, settings: Settings, cohorts: Cohorts) -> None:
        self._settings, self._cohorts = settings, cohorts

    def settled(self, run: Run) -> Run:
        """The run with a pair, where its post-processing asks for one that it did not find when it was trained.

        Raises:
            ConfigError: it has no labelled validation case to find one on.
            DataError: its cases are not at hand.
        """
        search = search_of(run.postprocess_node)
        if search is None:
            return run
        pair = read_pair(self._below_out(run), search, run.digest[:16]) or self._find(run, search)
        node = with_pair(run.postprocess_node, search, pair)
        provenance = {**run.provenance, "postprocess": json.dumps(node)}
        return replace(run, postprocess=build(node), postprocess_node=node, provenance=provenance)

    def place(self, run: Run) -> tuple[Path, Found] | None:
        """Where the search of a run that is ``settled`` lies, and what it found; None: there was nothing to find."""
        search = search_of(self._settings.get("postprocess") or run.settings["postprocess"])
        for folder in (run.folder, self._below_out(run)) if search else ():
            if search and (found := read_found(folder, search)):
                return folder, found
        return None

    def _find(self, run: Run, search: Search) -> Pair:
        cohort = run.settings["cohort"]
        validating = bool(run.split.val)
        every = self._cohorts.recorded(cohort, run.folder) if validating else []
        cases = [case for case in part_of(run, every, "val", where=str(cohort["root"])) if case.labelled]
        if not cases:
            raise no_pair(run.folder, "no search of its own training, and no labelled case in its validation part")
        store = store_of(self._settings)
        seen = as_looked_at(run, cases, store.prepare(cases, run.view.preparation), store)
        found = found_of(tune_cases(run, cases, seen, search), search, run.split.test)
        place = self._below_out(run)
        place.mkdir(parents=True, exist_ok=True)
        write_found(place, found, run.digest[:16])
        terminal.console().print(
            f"{run.name}: threshold and smallest component found on {found.pair.cases} validation cases, {place}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return found.pair

    def _below_out(self, run: Run) -> Path:
        out = Path(str(self._settings["out"])).expanduser().resolve()
        return out / "tuning" / f"{run.folder.name}-{digest(str(run.folder))[:8]}"
