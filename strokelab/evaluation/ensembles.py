"""Ensembles, scored: each case's maps averaged one after the other, the mean scored once per post-processing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab import runs
from strokelab.configuration import Settings, build
from strokelab.contract import Prediction
from strokelab.data.splits import Split
from strokelab.errors import DataError
from strokelab.evaluation.averaging import Assignment, Averaging, shared
from strokelab.evaluation.cohort import store_of
from strokelab.evaluation.entries import Entry, intake_of
from strokelab.evaluation.outcomes import Keeper, Outcome, own_metrics
from strokelab.inference.postprocess import asks_classes
from strokelab.inference.precision import AS_TRAINED
from strokelab.inference.progress import shown_in
from strokelab.preparation.progress import advancing, bar
from strokelab.preparation.store import StoredCase, Unregistered
from strokelab.runs import Ensemble
from strokelab.runs.preparer import Preparer
from strokelab.runs.tuning import filled_of_all
from strokelab.scoring import Scorer
from strokelab.scoring.cases import recipe_of


@dataclass(frozen=True)
class Row:
    """One row of the tables: the mean with a post-processing, or a scheme's own mean."""

    entry: Entry
    node: Mapping[str, Any]
    postprocess: Callable[..., NDArray[np.uint8]]
    scheme: str = ""  # whose runs are averaged; "" = those of all

    def of(self, part: Ensemble) -> Ensemble:
        """The members of a case as this row averages and finishes them."""
        own = replace(part, name=self.entry.label, postprocess=self.postprocess, postprocess_node=self.node)
        return own.part([member.folder for member in part.members if self.scheme in ("", member.scheme)])


def ensemble_outcomes(assignment: Assignment, averaging: Averaging, settings: Settings, out: Path) -> list[Outcome]:
    """Score an ensemble: a row per post-processing; where schemes have several runs of each case, also their means.

    Every member's map is made once for all rows, and of sums of maps there are never more than two.

    Raises:
        StrokelabError: members cannot be averaged, cases not be prepared, or predictions not be written.
    """
    searches = [entry.tuned_in or entry.folder for entry in assignment.entries]
    averaging = replace(averaging, rows={key: filled_of_all(row, searches) for key, row in averaging.rows.items()})
    ensemble = runs.load_ensemble(
        [entry.folder for entry in assignment.entries],
        name=averaging.name,
        schemes={entry.folder: entry.model for entry in assignment.entries},
        checkpoint=settings["checkpoint"],
        device=settings["device"],
        allow=settings["allow"],
        postprocess=next(iter(averaging.rows.values())),
        weights=averaging.weights,
        memory_gb=averaging.memory_gb,
        precision=settings.get("precision") or AS_TRAINED,
        windows=settings.get("windows"),
        **intake_of(settings),
    )
    rows = _rows(assignment, averaging, ensemble, settings, out)
    store, own = store_of(settings), own_metrics(settings)
    as_trained = all(entry.cohort.own for entry in assignment.entries)
    cases = [one.case for one in assignment.cases]
    stored = {
        preparer: store.prepare_each(cases, preparer.own if as_trained else partial(preparer, store=store.folder))
        for preparer in ensemble.preparers
    }
    phantom = any(entry.cohort.phantom for entry in assignment.entries)
    keepers = [Keeper(row.entry, settings, out, {**ensemble.provenance, "model": row.entry.label}) for row in rows]
    with ExitStack() as stack:
        scorers = [
            stack.enter_context(Scorer(row.entry.label, keep=keeper.keep, phantom=phantom, own=own))
            for row, keeper in zip(rows, keepers, strict=True)
        ]
        title = f"Averaging {len(ensemble.members)} maps"
        shown = stack.enter_context(bar(title, len(assignment.cases), shown=True))
        stack.enter_context(shown_in(shown))
        for place, one in enumerate(advancing(shown, assignment.cases)):
            part = ensemble.part([entry.folder for entry in one.members])
            forms = {preparer: stored[preparer][place] for preparer in part.preparers}
            for index, its, prediction in _predictions(part, forms, rows, disagreement=averaging.disagreement):
                recipe = recipe_of(its, settings["profile"])
                scorers[index].add(one.case, prediction, settings=its.settings, recipe=recipe)
    return [
        Outcome(row.entry, scorer.scores(), again="maps are averaged", masks=keeper.finish())
        for row, scorer, keeper in zip(rows, scorers, keepers, strict=True)
    ]


def _rows(assignment: Assignment, averaging: Averaging, ensemble: Ensemble, settings: Settings, out: Path) -> list[Row]:
    def row(label: str, node: Mapping[str, Any], scheme: str = "") -> Row:
        members = [entry for entry in assignment.entries if scheme in ("", entry.model)]
        entry = _entry(label, members, ensemble, assignment, out)
        made = Row(entry, node, build(node), scheme)
        recipe = recipe_of(made.of(ensemble), settings["profile"])
        entry = replace(entry, recipe=recipe, published="" if scheme else averaging.name)
        return replace(made, entry=replace(entry, made_of=f"mean of {len(members)} runs") if scheme else entry)

    rows = [row(averaging.label(name), node) for name, node in averaging.rows.items()]
    plain = next(iter(averaging.rows.values()))
    schemes = list(dict.fromkeys(entry.model for entry in assignment.entries))
    for scheme in schemes if len(schemes) > 1 else []:
        counts = {sum(entry.model == scheme for entry in one.members) for one in assignment.cases}
        if min(counts) > 1:
            rows.append(row(f"{scheme} (mean of {max(counts)})", plain, scheme))
    return rows


def _entry(label: str, members: Sequence[Entry], ensemble: Ensemble, assignment: Assignment, out: Path) -> Entry:
    """A row as the tables and the report know runs."""
    first = members[0]
    known = [member.settings for member in members]
    cohort = replace(
        first.cohort,
        dataset=", ".join(dict.fromkeys(member.cohort.dataset for member in members)),
        cases=tuple(one.case for one in assignment.cases),
    )
    return Entry(
        folder=out / label,  # nothing lies there
        name=label,
        settings={
            "seed": shared(known, "seed"),
            "split": {"_target_": shared(known, "split", "_target_")},
            "cohort": {},
            "model": {},
            "view": {},
        },
        view=ensemble.view,
        split=Split((), (), ()),
        sites={site: index for index, site in enumerate(dict.fromkeys(s for m in members for s in m.sites))},
        recipe={},
        cohort=cohort,
        label=label,
        model=label,
        members=tuple(members),
        made_of=assignment.words,
    )


def _predictions(
    part: Ensemble, stored: Mapping[Preparer, StoredCase | Unregistered], rows: Sequence[Row], *, disagreement: bool
) -> Iterator[tuple[int, Ensemble, Prediction | DataError]]:
    """For one case: index of the row, the ensemble that is its own, its prediction. A map is made once for all rows."""
    own = [row.of(part) for row in rows]
    try:
        forms = {preparer: case.load() for preparer, case in stored.items()}
    except DataError as error:
        yield from ((index, ensemble, error) for index, ensemble in enumerate(own))
        return
    groups = {"": part.shares} | {
        row.scheme: dict.fromkeys(ensemble.members, 1.0) for row, ensemble in zip(rows, own, strict=True) if row.scheme
    }
    classes = any(asks_classes(row.postprocess) for row in rows)
    for scheme, scores in part.means(forms, groups, disagreement=disagreement, classes=classes):
        for index, (row, ensemble) in enumerate(zip(rows, own, strict=True)):
            if row.scheme == scheme:
                yield index, ensemble, ensemble.finished(forms, scores)
