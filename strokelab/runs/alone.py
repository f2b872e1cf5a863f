"""One image of a case alone: prepared on a grid of its own, its scores brought to the case's grid in one interpolation.

So is a scan predicted by a model that takes any contrast, and a model of one modality where it is applied to others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case, PreparedCase
from strokelab.errors import DataError
from strokelab.inference.ensemble import MeanScores
from strokelab.inference.scores import Scores
from strokelab.preparation.restore import restore
from strokelab.preparation.store import PreparedStore, Preparing, StoredCase, Unregistered
from strokelab.runs.preparer import Preparer

if TYPE_CHECKING:
    from strokelab.runs.predictor import Forms, Predictor


def each_and_mean(
    forms: Forms, score: Callable[[PreparedCase], Scores], *, disagreement: bool = False
) -> Iterator[tuple[Forms, Scores]]:
    """The scores of every image of a case as a model gives them, then their mean; each image is predicted once.

    The mean is taken on the prepared grid where all images have one, else on the case's own. An image says nothing of
    voxels outside its field of view: there the mean is that of the others.

    Args:
        forms: the case, image by image.
        score: a prepared image -> its scores.
        disagreement: also the standard deviation of the lesion probabilities, of the mean.
    """
    together = len({form.steps for form in forms.values()}) == 1
    mean: MeanScores | None = None
    for preparer, form in forms.items():
        scores = score(form)
        yield {preparer: form}, scores
        placed = scores if together else on_case(form, scores)
        mean = mean or MeanScores(placed, disagreement)
        mean.add(placed)
    assert mean is not None  # a case has an image
    yield forms, mean.scores()


def on_case(prepared: PreparedCase, scores: Scores) -> Scores:
    """Scores on the case's own grid, with the voxels that the image covers, unless it covers all."""
    seen: NDArray[np.bool_] = restore(np.ones(prepared.grid.shape, np.uint8), prepared.steps, "nearest") != 0
    return replace(scores.restored(prepared.steps), seen=None if seen.all() else seen)


@dataclass(frozen=True)
class Whole:
    """The image that a model of one channel was trained on, as the training looked at it: on the case's grid.

    Args:
        name: of the image, in the dataset.
        seen: the case as the training looked at it, with the image under the channel's name.
    """

    name: str
    seen: Callable[[Case], Case]


@dataclass(frozen=True)
class StoredImages:
    """A case of which every image is in the store by itself."""

    case: Case
    images: Mapping[Preparer, StoredCase | Unregistered]
    whole: str = ""  # the image that lies on the case's grid, as the training had it, not on a grid of its own

    @property
    def case_id(self) -> str:
        """Of the case."""
        return self.case.case_id

    def name_of(self, preparer: Preparer) -> str:
        """Which image of the case is prepared so."""
        return self.whole if preparer.base is None else preparer.own.modalities[0]

    def load(self) -> dict[Preparer, PreparedCase]:
        """The arrays, memory-mapped; scores end on the grid of the case's reference image.

        Raises:
            DataError: the files have gone or shrunk since, or an image could not be registered.
        """
        return {preparer: preparer.home(stored.load(), self.case) for preparer, stored in self.images.items()}


def store_images(
    preparer: Preparer,
    cases: Sequence[Case],
    store: PreparedStore,
    *,
    modalities: Sequence[str],
    as_trained: bool | Collection[str],
    whole: Whole | None = None,
    workers: int = 1,
    progress: bool = True,
) -> list[StoredImages]:
    """Cases of which every image is prepared by itself, from the store where it is known.

    Args:
        preparer: of a model of one channel.
        cases: ids must differ; each has one of the modalities.
        store: where prepared images lie.
        modalities: the images that are wanted, in this order, as far as a case has them.
        as_trained: with the preparation of the training, not brought to it; ids of cases: of these alone.
        whole: the one of the modalities that the model was trained on, where it is given as the training gave it.
            ``as_trained`` then is of it alone: other images are none of the training.
        workers: as for ``PreparedStore.prepare``.
        progress: as for ``PreparedStore.prepare``.

    Raises:
        DataError: a case has none of the modalities, or cannot be prepared.
    """
    found: dict[str, dict[Preparer, StoredCase | Unregistered]] = {case.case_id: {} for case in cases}
    for name in modalities:
        own = whole is None or name == whole.name
        one = preparer if whole is not None and own else preparer.alone(name)
        look = whole.seen if whole is not None and own else one.seen
        how = preparing(one, store, as_trained=as_trained if own else False)
        seen = [look(case) for case in cases if name in case.images]
        for stored in store.prepare_each(seen, how, workers=workers, progress=progress) if seen else ():
            found[stored.case_id][one] = stored
    for case in cases:
        if not found[case.case_id]:
            raise DataError(
                f"case {case.case_id}",
                found=f"images of {', '.join(case.images) or 'no modality'}",
                expected=f"one of {', '.join(modalities)}",
                remedy="set data.modalities to what the cases have",
            )
    return [StoredImages(case, found[case.case_id], whole.name if whole else "") for case in cases]


def preparing(preparer: Preparer, store: PreparedStore, *, as_trained: bool | Collection[str]) -> Preparing:
    """How cases are prepared: as those of the training were, or brought to them.

    Args:
        preparer: of a run.
        store: remembers where brains lie.
        as_trained: none is brought to the training's; ids of cases: these are not.
    """
    brought = partial(preparer, store=store.folder)
    if isinstance(as_trained, bool):
        return preparer.own if as_trained else brought
    return lambda case: preparer.own if case.case_id in as_trained else brought(case)


def as_looked_at(
    run: Predictor, cases: Sequence[Case], stored: Sequence[StoredCase], store: PreparedStore, *, progress: bool = True
) -> Sequence[StoredCase | StoredImages]:
    """The prepared cases of a training as the run looks at them when it predicts: as they are, or image by image.

    Args:
        run: that was trained on them.
        cases: on disk.
        stored: the same cases, same order, prepared for its training.
        store: where they lie.
        progress: as for ``PreparedStore.prepare``.

    Raises:
        DataError: an image cannot be prepared by itself.
    """
    if not run.any_contrast:
        return stored
    (preparer,) = run.preparers
    names = run.view.preparation.modalities
    return store_images(preparer, cases, store, modalities=names, as_trained=True, progress=progress)
