"""Rows of each run beside its own: the mean of its snapshots, its averaged weights. Predicts nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from strokelab.configuration import Settings
from strokelab.errors import ConfigError, RunError
from strokelab.evaluation.entries import Entry
from strokelab.runs import SNAPSHOTS, each_named, find_checkpoint
from strokelab.scoring.cases import recipe_of


@dataclass(frozen=True)
class OwnMeans:
    """What each run is evaluated by besides the checkpoint it was configured with: ``conf/ensemble/snapshots.yaml``.

    Args:
        rows: what is put to a run's name -> the checkpoint, or the checkpoints that are averaged: names, ``snapshots``
            for all of the run. ``{e: snapshots}`` makes of every run ``resunet3d`` a row of the model ``resunet3d_e``.
        alone: leave the runs' own rows out.

    Raises:
        ConfigError: no row.
    """

    rows: Mapping[str, str | Sequence[str]]
    alone: bool = False

    def __post_init__(self) -> None:
        if not self.rows or not all(self.rows.values()):
            raise ConfigError(
                "ensemble.rows",
                found=str(self.rows),
                expected="endings of names, each with checkpoints",
                remedy="set ensemble.rows={e:snapshots}",
            )

    def beside(self, entries: Sequence[Entry], settings: Settings) -> tuple[list[Entry], list[str]]:
        """The rows of an evaluation, and in words which runs have none of a kind that others have.

        A row whose model is that of a run is left out: the run's own stands for it.

        Args:
            entries: the runs.
            settings: of the evaluation.

        Raises:
            RunError: a checkpoint cannot be loaded, or no row is left.
        """
        made = [(ending, entry, row) for entry in entries for ending, row in self._rows(entry, settings)]
        notes = []
        for ending, names in self.rows.items():
            having = [entry for found, entry, _ in made if found == ending]
            without = [entry.label for entry in entries if entry not in having]
            words = names if isinstance(names, str) else ", ".join(names)
            if without and (having or words == SNAPSHOTS):
                notes.append(f"No row *_{ending}, without {words}: {', '.join(without)}.")
        if self.alone and not made:
            raise RunError(
                ", ".join(str(entry.folder) for entry in entries),
                found="; ".join(notes) or f"none of {self.rows}",
                expected="checkpoints for one row at least",
                remedy="set ensemble.alone=false, or name checkpoints of the runs with ensemble.rows",
            )
        trained = set() if self.alone else {entry.model for entry in entries}
        notes += [f"No row {row.label}: runs are called {row.model}." for *_, row in made if row.model in trained]
        made = [one for one in made if one[-1].model not in trained]
        own = [] if self.alone else [(entry, entry) for entry in entries]
        rows = [*own, *((entry, row) for _, entry, row in made)]
        return [row for entry in entries for one, row in rows if one is entry], notes

    def _rows(self, entry: Entry, settings: Settings) -> Iterator[tuple[str, Entry]]:
        for ending, names in self.rows.items():
            try:
                found = each_named(entry.folder, [names] if isinstance(names, str) else list(names))
                for name in found:
                    find_checkpoint(entry.folder, str(name))
            except RunError:
                continue  # the run has none; what cannot be read is an error below
            several = f"mean of {len(found)} checkpoints" if len(found) > 1 else f"checkpoint {found[0]}"
            row = replace(
                entry,
                name=f"{entry.name}_{ending}",
                label=f"{entry.label}_{ending}",
                model=_with_ending(entry, ending),
                averaged=tuple(map(str, found)),
                made_of=f"{entry.folder.name}, {several}",
                published=f"{entry.published}_{ending}" if entry.published else "",
                tuning=None,
                epoch=None,
            )
            yield ending, replace(row, recipe=recipe_of(row.load(settings), settings["profile"]))


def _with_ending(entry: Entry, ending: str) -> str:
    """The model's name with the ending; what else distinguishes it from others stays behind it."""
    words = entry.model.removeprefix(entry.name)
    return f"{entry.name}_{ending}{words}" if entry.model.startswith(entry.name) else f"{entry.model}_{ending}"
