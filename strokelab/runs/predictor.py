"""What a run and a mean of members have in common: a scan in, a prediction out. Loads nothing, writes nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case, Prediction, PreparedCase
from strokelab.errors import RunError
from strokelab.inference.postprocess import asks_classes, check_settled
from strokelab.inference.predict import Where, covered_by, to_native
from strokelab.inference.scores import Scores
from strokelab.preparation.recipe import prepare
from strokelab.runs.given import Given, given_case
from strokelab.runs.training_scans import Preparer

if TYPE_CHECKING:
    from strokelab.view import View, Windows

Forms = Mapping[Preparer, PreparedCase]
"""One case in every form in which members look at it."""


class Predictor(ABC):
    """Predicts cases: makes scores of them in its own way, post-processes and restores them in the one way."""

    if TYPE_CHECKING:  # fields of some predictors, computed by others

        @property
        def view(self) -> View:
            """How its family sees a brain."""

        @property
        def postprocess(self) -> Callable[..., NDArray[np.uint8]]:
            """What makes a mask of scores."""

        @property
        def provenance(self) -> Mapping[str, str]:
            """What made a prediction, in words."""

    @property
    @abstractmethod
    def preparers(self) -> tuple[Preparer, ...]:
        """How a scan is prepared; one for all members that see it alike."""

    @property
    @abstractmethod
    def plans(self) -> tuple[tuple[Preparer, Windows], ...]:
        """How a volume is cut, for each way of preparing it; one for all members that do it alike."""

    @abstractmethod
    def average(self, forms: Forms, *, disagreement: bool = False, classes: bool = False) -> Scores:
        """The mean scores of its members, on their prepared grid where that is one, else on the case's own.

        Args:
            forms: the case.
            disagreement: also the standard deviation of the members' lesion probabilities.
            classes: of all classes, not of the lesion alone.
        """

    @property
    def modalities(self) -> tuple[str, ...]:
        """The images a case must have, in channel order."""
        return tuple(dict.fromkeys(name for preparer in self.preparers for name in preparer.own.modalities))

    @property
    def finish(self) -> Where:
        """On which grid scores become a mask: the prepared one, unless the family's view says otherwise."""
        return self.view.finish

    def predict(
        self, item: Given, *, disagreement: bool = False, classes: bool = False, as_modality: str | None = None
    ) -> Prediction:
        """Lesion mask and probability of one case on the grid of its input.

        Args:
            item: a ``Case``; the file(s) or folder of one scan session, one file per modality of the run; an image of
                nibabel; or a mapping from modality to file or image. Neither labels nor a site are needed.
            disagreement: also the standard deviation of the members' lesion probabilities.
            classes: also the probabilities of all classes.
            as_modality: take the file for this modality, the run's, although its name says another contrast.

        Raises:
            DataError: the files are not readable, masks, of another contrast, or no scan like those of the training.
            RunError: they are not exactly one case with the run's modalities, or members have different classes.
        """
        with given_case(item, self.modalities, as_modality) as case:
            forms = self.forms_of(case)
        return self.predict_prepared(forms, disagreement=disagreement, classes=classes)

    def forms_of(self, case: Case) -> Forms:
        """A case, prepared for all members; arguments and errors as ``Preparer``."""
        return {preparer: prepare(case, preparer(case)) for preparer in self.preparers}

    def predict_prepared(
        self, prepared: PreparedCase | Forms, *, disagreement: bool = False, classes: bool = False
    ) -> Prediction:
        """As ``predict``, from a case that is prepared already.

        Args:
            prepared: the case; in several forms where members prepare it differently.
            disagreement: as for ``predict``.
            classes: as for ``predict``.

        Raises:
            RunError: one form for members that need several, or members have different classes.
            ConfigError: the pair of a tuned post-processing is not known.
        """
        if not isinstance(prepared, Mapping):
            if len(self.preparers) > 1:
                raise RunError(
                    f"case {prepared.case_id}",
                    found="one prepared form of the case",
                    expected=f"{len(self.preparers)} forms: members prepare it differently",
                    remedy="call predict with the case itself",
                )
            prepared = {self.preparers[0]: prepared}
        check_settled(self.postprocess)
        every = classes or asks_classes(self.postprocess)
        return self.finished(prepared, self.average(prepared, disagreement=disagreement, classes=every), classes)

    def finished(self, forms: Forms, scores: Scores, classes: bool = False) -> Prediction:
        """The prediction that scores make: post-processed, on the case's own grid.

        Args:
            forms: the case.
            scores: of ``average``.
            classes: hand out the probabilities of all classes, too.
        """
        done = dict.fromkeys(preparer.done(forms[preparer].steps) for preparer in self.preparers)
        return to_native(
            forms[self.preparers[0]],
            scores,
            postprocess=self.postprocess,
            provenance={**self.provenance, "preparation": " | ".join(done)},
            where=self.finish,
            classes=classes,
            covered=covered_by((forms[preparer], windows) for preparer, windows in self.plans),
        )
