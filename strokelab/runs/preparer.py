"""How a run prepares a scan: as its training's scans were, or brought to them; at once, or one image alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from strokelab.contract import Case, PreparedCase
from strokelab.grid import Grid, Orient, Resample, Step
from strokelab.nifti import read_grid
from strokelab.preparation.adaptation import done_to, preparation_for
from strokelab.preparation.intake import Intake
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.trained_on import TrainedOn
from strokelab.runs.training_scans import check_contrasts, depends, on_one_grid, united


@dataclass(frozen=True, eq=False)
class Preparer:
    """How a run, or several that see scans alike, prepares a scan; see ``preparation.adaptation.preparation_for``.

    Args:
        own: the preparation of the training.
        where: the run, for messages.
        halves: the model parts the volume at its middle.
        read: gives what was trained on, None where that is unknown; called once, and only where it matters.
        any_contrast: whatever images a case has are given to the model, each alone (``Alone``).
        intake: whether scans are registered, and how their brains are found.
        base: of which this is the preparation of one image alone; None: of all that the model is given at once.
    """

    own: Preparation
    where: str | Path
    halves: bool
    read: Callable[[], TrainedOn | None]
    any_contrast: bool = False
    intake: Intake = field(default_factory=Intake)
    base: Preparer | None = None
    _alone: dict[str, Preparer] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def trained_on(self) -> TrainedOn | None:
        """The scans of the training; None where they are unknown.

        Raises:
            RunError: the folder's record of them is damaged.
        """
        return self.read()

    def __call__(self, case: Case, store: Path | None = None) -> Preparation:
        """The preparation of a scan: as the training's scans were prepared, or brought to them.

        Args:
            case: the scan.
            store: folder of a prepared store, which remembers where brains lie.

        Raises:
            RunError: the scan has other contrasts than the training's.
            DataError: it cannot be read, or is no head like those of the training.
            ConfigError: it is to be registered for a run of native scans.
        """
        check_contrasts([*case.images], self.own.modalities, where=self.where, data=f"case {case.case_id}")
        return preparation_for(
            case,
            self.intake.applied(self.own),
            self.trained_on,
            halves=self.halves,
            store=store,
            register=self.intake.register,
            any_contrast=(self.base or self).any_contrast,
        )

    def each(self, modalities: Iterable[str]) -> tuple[Preparer, ...]:
        """How a case with these images is prepared: at once, or by a model of any contrast image by image."""
        return tuple(self.alone(name) for name in modalities) if self.any_contrast else (self,)

    def alone(self, modality: str) -> Preparer:
        """How one image of a case is prepared on a grid of its own (``Alone``); equal calls give one object."""
        return self._alone.setdefault(modality, Alone.of(self, modality))

    def part(self, forms: Mapping[Preparer, PreparedCase]) -> dict[Preparer, PreparedCase]:
        """Of the forms of a case those that were made by this, or by it image by image; of a run loaded again, too."""
        return {one: form for one, form in forms.items() if self._like(one) or self._like(one.base)}

    def _like(self, other: Preparer | None) -> bool:
        if other is None or other is self:
            return other is self
        mine, theirs = ((one.own, one.where, one.any_contrast) for one in (self, other))
        return mine == theirs

    def seen(self, case: Case) -> Case:
        """What is looked at of a case: all of it."""
        return case

    def home(self, prepared: PreparedCase, case: Case) -> PreparedCase:
        """A prepared case whose scores end on the grid of the case's reference image: as it is."""
        return prepared

    def ready(self) -> Preparer:
        """Itself, once its record has been read: what is wrong with that is found before anything is predicted."""
        _ = self.trained_on
        return self

    def fed_with(self, modality: str) -> Preparer:
        """The same for the only modality fed with another image of the case; its channels keep their normalisation."""
        rules = self.own.normalize
        fed = replace(
            self.own,
            modalities=(modality,),
            normalize=rules if isinstance(rules, str) else "none",
            mirror=replace(self.own.mirror, reference=None),
        )
        if not isinstance(rules, str):
            named = zip(fed.channels, self.own.channels, strict=True)
            each: Any = {now: self.own.normalization_of(before) for now, before in named}
            fed = replace(fed, normalize=each)
        return replace(self, own=fed, read=lambda: self.trained_on)

    def done(self, prepared: PreparedCase) -> str:
        """What was done to a prepared scan, in words; see ``preparation.adaptation.done_to``."""
        needed = depends(self.own, self.halves)
        return done_to(prepared, self.own, lambda: self.trained_on if needed else None)


@dataclass(frozen=True, eq=False)
class Alone(Preparer):
    """How one image of a case is prepared by itself.

    Args:
        modality: of the image.
    """

    modality: str = ""

    @classmethod
    def of(cls, base: Preparer, modality: str) -> Alone:
        """The same for one image of a case, whichever it is.

        Args:
            base: of a model of one channel.
            modality: of the image. Its rule of normalisation is its own where the training had this modality, else
                that of the first.
        """
        own = base.own if base.own.modalities == (modality,) else base.fed_with(modality).own
        alone = cls(own, base.where, base.halves, lambda: base.trained_on, base=base, modality=modality)
        return replace(alone, intake=base.intake)

    def __call__(self, case: Case, store: Path | None = None) -> Preparation:
        """As ``Preparer``, for the image alone."""
        return super().__call__(self.seen(case), store)

    def seen(self, case: Case) -> Case:
        """The case as if it had no other image; lesion and further maps lie on the grid of the reference image."""
        if self.modality not in case.images or [*case.images] == [self.modality]:
            return case
        only = replace(case, images={self.modality: case.images[self.modality]}, label_modality=self.modality)
        if self.modality == case.reference_modality:
            return only
        same = read_grid(only.reference_image).matches(read_grid(case.reference_image))
        return replace(only, lesions=(), maps={}, brain=case.brain if same else None)

    def home(self, prepared: PreparedCase, case: Case) -> PreparedCase:
        """The image's prepared form, whose scores end on the grid of the case's reference image."""
        if self.modality == case.reference_modality:
            return prepared
        native = read_grid(case.reference_image)
        return replace(prepared, native=native, steps=_onto(prepared.steps, native))

    def done(self, prepared: PreparedCase) -> str:
        """What was done to the image, in words, behind its modality."""
        last = _last_resample(prepared.steps)
        whole = last is None or last.target.matches(last.source.resized(last.target.spacing))
        if last is None or whole or prepared.registered is not None:
            return f"{self.modality}: {super().done(prepared)}"
        size = "x".join(f"{side:.3g}" for side in last.target.spacing)
        return f"{self.modality}: at {size} mm on its own grid, scores resampled"


def shared(preparers: Sequence[Preparer], where: str) -> Preparer | None:
    """One preparer for several of one preparation; None where their trainings saw scans on different grids.

    Args:
        preparers: of members whose ``own`` is equal.
        where: the ensemble, for messages.
    """
    own, records = preparers[0].own, [one.trained_on for one in preparers]
    if not on_one_grid([record for record in records if record is not None], own):
        return None
    together = united(records, own)
    halves = any(one.halves for one in preparers)
    return replace(preparers[0], where=where, halves=halves, read=lambda: together)


def _onto(steps: Sequence[Step], native: Grid) -> tuple[Step, ...]:
    """The steps of an image whose way back ends on another grid, in one interpolation; unchanged on an equal grid."""
    if steps[0].source.matches(native):
        return tuple(steps)
    last = _last_resample(steps)
    before, rest = (steps[0], steps[1:]) if last is None else (last, steps[[*steps].index(last) + 1 :])
    orient = Orient(native)
    return (orient, Resample(orient.target, before.target), *rest)


def _last_resample(steps: Sequence[Step]) -> Resample | None:
    return next((step for step in reversed(steps) if isinstance(step, Resample)), None)
