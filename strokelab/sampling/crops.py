"""One crop of every case in an epoch, at a random place (Tomita 2020, SynthStroke). Knows shapes and lesion masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError, DataError
from strokelab.sampling.boxes import Crop, Drawing, Part, Sampled, Size, check_unweighted, checked_size
from strokelab.sampling.order import Key, Order
from strokelab.sampling.turns import FLIPS
from strokelab.seeding import stream

Integers = NDArray[np.int64]
Validation = Literal["lesion", "centre", "random"]


@buildable("view")
@dataclass(frozen=True)
class Crops:
    """One crop of every case in an epoch, each start as likely as any other, the last one of an axis included.

    No crop is rejected for lack of lesion, unless ``lesion_voxels`` says so. Along an axis on which a case is shorter
    than the crop, it lies in the middle of zeros, the larger half of them above. A start depends on the seed, the
    epoch and the case's id alone: not on the order of the cases, on worker processes, or on ranks.

    Args:
        size: voxels along (x, y, z).
        validation: "lesion": around the median of the lesion's voxel indices, as far as the grid reaches; a case
            without lesion around the grid's middle. "centre": around the grid's middle. "random": as in training, but
            the same in every epoch.
        flips: reflect each training crop along each axis with probability one half.
        within: voxels along (x, y, z) of a box with the middle of the grid as its own, in which crops lie instead
            (SynthStroke: 256 each): they may hang over the grid, where each channel's background is
            (``preparation.background``), and miss what of the grid is outside the box. None: in the grid itself.
        lesion_voxels: a training crop of a case with lesion that holds fewer voxels of it is sampled once more with
            probability one half, so that empty crops remain possible; 0: never.

    Raises:
        ConfigError: a setting is out of range.
    """

    size: Size
    validation: Validation = "lesion"
    flips: bool = False
    within: Size | None = None
    lesion_voxels: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", checked_size("view.sampler.size", self.size))
        if self.within is not None:
            box = checked_size("view.sampler.within", self.within)
            object.__setattr__(self, "within", box)
            if any(side < own for side, own in zip(box, self.size, strict=True)):
                raise ConfigError(
                    "view.sampler.within",
                    found=f"{list(box)} for crops of {list(self.size)}",
                    expected="no side shorter than that of the crop",
                    remedy="change view.sampler.within or view.sampler.size",
                )
        if self.validation not in get_args(Validation):
            raise ConfigError(
                "view.sampler.validation",
                found=repr(self.validation),
                expected=f"one of {', '.join(get_args(Validation))}",
                remedy="set view.sampler.validation=lesion",
            )

    def places(self, cases: Sequence[Sampled], drawing: Drawing) -> CropPlaces:
        """One crop of every case.

        Raises:
            DataError: no case.
            ConfigError: cases with weights.
        """
        check_unweighted(drawing, self)
        return CropPlaces(self, cases, drawing)

    def order(self, part: Part) -> Order | None:
        """Any."""
        return None

    def sample_shape(self, crop: Crop) -> Size:
        """(X, Y, Z) of the crop, whatever the grid."""
        return self.size

    def start(self, shape: Size, rng: np.random.Generator) -> Integers:
        """The lowest corner (x, y, z) of a random crop of a grid of ``shape``."""
        low, high = self._range(shape)
        return rng.integers(low, high, endpoint=True)

    def centre(self, shape: Size, lesion: NDArray[np.uint8] | None = None) -> Integers:
        """The lowest corner (x, y, z) of the crop around a lesion, or around the middle of the grid.

        Args:
            shape: of the grid.
            lesion: (X, Y, Z), non-zero inside; None or all zero: the middle of the grid.
        """
        low, high = self._range(shape)
        voxels = () if lesion is None else np.nonzero(lesion)
        if not len(voxels) or not len(voxels[0]):
            return np.asarray(low + (high - low) // 2, dtype=np.int64)
        middle = np.array([int(np.median(along)) for along in voxels])
        return np.asarray(np.clip(middle - np.asarray(self.size) // 2, low, high), dtype=np.int64)

    def _range(self, shape: Size) -> tuple[Integers, Integers]:
        """The first and the last start; both are the same where the grid is no longer than the crop."""
        if self.within is not None:
            box = np.asarray(self.within, dtype=np.int64)
            first: Integers = (np.asarray(shape) - box) // 2  # of the box, as ``preparation.crop`` centres it
            return first, first + box - self.size
        rest = np.asarray(shape) - self.size
        low = np.minimum(-(-rest // 2), 0)
        return low, np.maximum(rest, low)


@dataclass
class CropPlaces:
    """The crops of some cases; the sample of an index is of the case of this index.

    Args:
        sampler: the settings.
        cases: of a part.
        drawing: for what.

    Raises:
        DataError: no case.
    """

    sampler: Crops
    cases: Sequence[Sampled]
    drawing: Drawing
    _fixed: dict[int, Integers] = field(default_factory=dict, init=False, repr=False)  # of validation, by case

    def __post_init__(self) -> None:
        if not self.cases:
            raise DataError(
                "split",
                found=f"no case to take {self.drawing.part} crops from",
                expected="at least one labelled case",
                remedy="use another split, or a larger cohort",
            )

    @property
    def size(self) -> Size:
        """Of every crop."""
        return self.sampler.size

    @property
    def background(self) -> bool:
        """Whether what hangs over the grid is each channel's background."""
        return self.sampler.within is not None

    @property
    def rows(self) -> Integers:
        """The case of each sample."""
        return np.arange(len(self.cases))

    def __len__(self) -> int:
        return len(self.cases)

    def at(self, keys: Sequence[Key]) -> tuple[Integers, Integers]:
        """As ``Places``."""
        return np.array([index for _, index in keys], dtype=np.int64), np.stack([self._start(key) for key in keys])

    def turns(self, keys: Sequence[Key]) -> NDArray[np.uint8]:
        """How each crop is reflected (B,), numbers of ``sampling.turns.TURNS``."""
        if not self.sampler.flips or self.drawing.part == "val":
            return np.zeros(len(keys), np.uint8)
        return np.array([self._stream("flip", key).choice(FLIPS) for key in keys], np.uint8)

    def _start(self, key: Key) -> Integers:
        epoch, index = key
        if self.drawing.part == "train":
            return self._training(index, self._stream("crop", (epoch, index)))
        if index not in self._fixed:
            self._fixed[index] = self._validating(index)
        return self._fixed[index]

    def _training(self, index: int, rng: np.random.Generator) -> Integers:
        case, least = self.cases[index], self.sampler.lesion_voxels
        start = self.sampler.start(case.grid.shape, rng)
        if not (least and case.lesion_voxels) or self._lesion_in(case, start) >= least or rng.random() >= 0.5:
            return start
        return self.sampler.start(case.grid.shape, rng)

    def _lesion_in(self, case: Sampled, start: Integers) -> int:
        """Lesion voxels of a case in the crop that starts there."""
        lesion = case.load().lesion
        box = tuple(slice(max(0, low), max(0, low + side)) for low, side in zip(start, self.size, strict=True))
        return 0 if lesion is None else int(np.count_nonzero(lesion[box]))

    def _validating(self, index: int) -> Integers:
        case, shape = self.cases[index], self.cases[index].grid.shape
        if self.sampler.validation == "random":
            return self.sampler.start(shape, self._stream("validation crop", (0, index)))
        looks = self.sampler.validation == "lesion" and case.lesion_voxels
        return self.sampler.centre(shape, case.load().lesion if looks else None)

    def _stream(self, purpose: str, key: Key) -> np.random.Generator:
        return stream(self.drawing.seed, purpose, key[0], self.cases[key[1]].case_id)
