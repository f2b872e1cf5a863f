"""A run that computes the scores of a case once, for a search and for the test after it. Writes below one folder."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from strokelab.contract import PreparedCase
from strokelab.files import digest, replacing
from strokelab.inference.scores import Kind, Scores
from strokelab.runs.predictor import Forms
from strokelab.runs.trained import Run

MAPS = ".maps"


@dataclass
class KeptRun(Run):
    """As the run, to the last bit; a case whose scores lie in ``maps`` is not computed again."""

    maps: Path = Path(MAPS)

    @classmethod
    def of(cls, run: Run, folder: Path) -> KeptRun:
        """A run whose scores are kept below a folder, from process to process and over a kill."""
        return cls(**{part.name: getattr(run, part.name) for part in fields(Run)}, maps=folder / MAPS)

    def average(self, forms: Forms, *, disagreement: bool = False, classes: bool = False) -> Scores:
        """See ``Run.average``; what is asked for besides the lesion is computed as ever."""
        if disagreement or classes or len(self.preparation_of.part(forms)) > 1:
            return super().average(forms, disagreement=disagreement, classes=classes)
        ((_, prepared),) = self.preparation_of.part(forms).items()
        path = self.maps / f"{digest([self.digest, self.provenance['inference'], prepared.case_id])}.npy"
        kept = self._read(path, prepared)
        if kept is not None:
            return kept
        scores = super().average(forms)
        with suppress(OSError), replacing(path) as temporary:  # no room: it is computed again
            np.save(temporary, scores.values)
        return scores

    def _read(self, path: Path, prepared: PreparedCase) -> Scores | None:
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if values.dtype != np.float32 or values.shape[-3:] != prepared.grid.shape or values.ndim not in (3, 4):
            return None
        kind: Kind = getattr(self.view.windows, "scores", "probabilities")
        return Scores(values, kind, self.model.lesion_channel)


def forget(folder: Path) -> None:
    """Remove the scores kept below a folder."""
    shutil.rmtree(folder / MAPS, ignore_errors=True)
