"""What a run and a mean of members have in common: a scan in, a prediction out. Loads nothing, writes nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case, Prediction, PreparedCase, Registered
from strokelab.errors import RunError
from strokelab.inference.postprocess import asks_classes, check_settled
from strokelab.inference.predict import Where, covered_by, padding_of, to_native
from strokelab.inference.progress import shown_in
from strokelab.inference.scores import Scores
from strokelab.preparation.progress import bar
from strokelab.preparation.recipe import prepare
from strokelab.runs.given import Given, given_case, image_of
from strokelab.runs.preparer import Preparer

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
        """The images a case must have, in channel order; none for a model that takes any contrast."""
        fixed = [preparer for preparer in self.preparers if not preparer.any_contrast]
        return tuple(dict.fromkeys(name for preparer in fixed for name in preparer.own.modalities))

    @property
    def any_contrast(self) -> bool:
        """Whether a member takes whatever images a case has, each alone on its own grid."""
        return any(preparer.any_contrast for preparer in self.preparers)

    @property
    def finish(self) -> Where:
        """On which grid scores become a mask: the prepared one, unless the family's view says otherwise."""
        return self.view.finish

    def predict(
        self,
        item: Given,
        *,
        disagreement: bool = False,
        classes: bool = False,
        as_modality: str | None = None,
        progress: bool = False,
    ) -> Prediction:
        """Lesion mask and probability of one case on the grid of its input.

        Args:
            item: a ``Case``; the file(s) or folder of one scan session, one file per modality of the run; an image of
                nibabel; (array, affine); or a mapping from modality to file or image. Neither labels nor a site are
                needed. A model of any contrast takes the images there are, each alone; results lie on the grid of the
                first.
            disagreement: also the standard deviation of the members' lesion probabilities.
            classes: also the probabilities of all classes.
            as_modality: take the file for this modality, the run's, although its name says another contrast.
            progress: show how far it is, in a terminal or a notebook.

        Raises:
            DataError: the files are not readable, masks, of another contrast, or no scan like those of the training.
            RunError: they are not exactly one case with the run's modalities, or members have different classes.
        """
        with given_case(item, None if self.any_contrast else self.modalities, as_modality) as case:
            forms, scan = self.forms_of(case), image_of(item, case)
        with bar("Predicting", 1, shown=progress) as shown, shown_in(shown):
            made = self.predict_prepared(forms, disagreement=disagreement, classes=classes)
            shown.advance(shown.task_ids[0])
        return replace(made, scan=scan)

    def forms_of(self, case: Case) -> Forms:
        """A case, prepared for all members; arguments and errors as ``Preparer``."""
        each = [one for preparer in self.preparers for one in preparer.each(case.images)]
        return {one: one.home(prepare(one.seen(case), one(case)), case) for one in each}

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
        check_settled(self.postprocess)
        forms = self.as_forms(prepared)
        every = classes or asks_classes(self.postprocess)
        return self.finished(forms, self.average(forms, disagreement=disagreement, classes=every), classes)

    def as_forms(self, prepared: PreparedCase | Forms) -> Forms:
        """A case in every form that members look at, from its only form where there is one.

        Raises:
            RunError: one form for members that need several.
        """
        if isinstance(prepared, Mapping):
            return prepared
        preparers = [one for preparer in self.preparers for one in preparer.each(prepared.channels[:1])]
        if len(preparers) > 1:
            raise RunError(
                f"case {prepared.case_id}",
                found="one prepared form of the case",
                expected=f"{len(preparers)} forms: members prepare it differently",
                remedy="call predict with the case itself",
            )
        return {preparers[0]: prepared}

    def finished(self, forms: Forms, scores: Scores, classes: bool = False) -> Prediction:
        """The prediction that scores make: post-processed, on the case's own grid.

        Args:
            forms: the case.
            scores: of ``average``.
            classes: hand out the probabilities of all classes, too.
        """
        own = {one: form for preparer in self.preparers for one, form in preparer.part(forms).items()}
        seen = [(form, windows) for preparer, windows in self.plans for form in preparer.part(forms).values()]
        done = dict.fromkeys(preparer.done(form) for preparer, form in own.items())
        done |= dict.fromkeys(filter(None, (padding_of(form.grid.shape, windows) for form, windows in seen)))
        images = {"modalities": ", ".join(named)} if (named := modalities_of(own)) else {}
        return to_native(
            next(iter(own.values())),
            scores,
            postprocess=self.postprocess,
            provenance={**self.provenance, **images, "preparation": " | ".join(done)},
            where=self.finish,
            classes=classes,
            covered=covered_by(seen),
            class_names=self.view.classes or (),
            registered=registrations_of(own.values()),
        )


def modalities_of(forms: Iterable[Preparer]) -> tuple[str, ...]:
    """The images of a case that were given to a model each alone; none for other models."""
    names = [preparer.own.modalities[0] for preparer in forms if preparer.base is not None]
    return tuple(dict.fromkeys(names))


def registrations_of(forms: Iterable[PreparedCase]) -> tuple[Registered, ...]:
    """How a case was registered, once for each of its images that was."""
    found = {form.registered.image: form.registered for form in forms if form.registered is not None}
    return tuple(found.values())
