"""Random patches, a third of them on a lesion (nnU-Net). Knows shapes and lesion voxels; knows no grey values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError, DataError
from strokelab.sampling.boxes import Crop, Drawing, Part, Sampled, Size, checked_size
from strokelab.sampling.order import InOrder, Key, Order
from strokelab.seeding import stream

_LEAST_SHARE = 0.01
_MOST_ITERATIONS = 1_000_000
_MOST_LISTED = 32_768  # batches of an epoch that an untrusted config may ask for: their order is an array


@buildable("view", most={"iterations_per_epoch": _MOST_LISTED, "validation_iterations": _MOST_LISTED})
@dataclass(frozen=True)
class ForegroundPatches:
    """Patches sampled with replacement, so many batches an epoch; some of each batch are forced onto a lesion.

    Isensee 2021 (nnU-Net), Huo 2022 (MAPPING). A forced patch is centred on a lesion voxel as far as the volume
    reaches: unlike nnU-Net, which lets patches hang over the upper ends but not the lower ones, no patch sticks out of
    a volume that it fits into. Where it does not fit, it stands in the middle, with background around the volume.

    Args:
        patch: voxels along (x, y, z).
        iterations_per_epoch: training batches that count as an epoch.
        validation_iterations: validation batches.
        foreground: share of forced patches.
        foreground_mode: "last": sample j of a batch of b is forced when j >= round(b (1 - foreground)), which is one
            of two, three of nine, and none of one; "random": each with probability ``foreground``.
        voxels_per_case: lesion voxels kept of a case to choose from, but at least 1 % of them.
        fixed_validation: sample the validation patches once, so that epochs can be compared; nnU-Net samples new ones.

    Raises:
        ConfigError: a setting is out of range.
    """

    patch: tuple[int, int, int]
    iterations_per_epoch: int = 250
    validation_iterations: int = 50
    foreground: float = 0.33
    foreground_mode: Literal["last", "random"] = "last"
    voxels_per_case: int = 10_000
    fixed_validation: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", checked_size("view.sampler.patch", self.patch))
        if not _is_count(self.voxels_per_case):
            raise _setting("voxels_per_case", self.voxels_per_case, "a whole number of at least 1")
        check_epochs(self)

    def places(self, cases: Sequence[Sampled], drawing: Drawing) -> ForegroundPlaces:
        """Cases sampled at random, and a patch of each.

        Raises:
            DataError: no case, or weights that no case can be sampled by.
        """
        return ForegroundPlaces(self, cases, drawing)

    def order(self, part: Part) -> Order:
        """First to last: there is nothing to shuffle, and the place in a batch decides who is forced."""
        return InOrder(fixed=part == "val" and self.fixed_validation)

    def sample_shape(self, crop: Crop) -> Size:
        """(X, Y, Z) of the patch, whatever the grid."""
        return self.patch

    def batches(self, part: Part) -> int:
        """Batches of an epoch."""
        return self.iterations_per_epoch if part == "train" else self.validation_iterations

    def is_forced(self, place: int, batch_size: int, stream: np.random.Generator) -> bool:
        """Whether sample ``place`` of a batch must hold lesion; the stream serves mode "random" alone."""
        return is_forced(self, place, batch_size, stream)

    def kept_voxels(self, lesion: NDArray[np.uint8], stream: np.random.Generator) -> NDArray[np.int64]:
        """Lesion voxels to choose from, as indices into the flat mask in memory order (Z, Y, X).

        Args:
            lesion: (X, Y, Z) 0/1, lying in memory as (Z, Y, X), as the store has it.
            stream: chooses where there are more than are kept.
        """
        voxels = np.flatnonzero(lesion.T.reshape(-1).view(np.bool_))
        count = max(min(self.voxels_per_case, len(voxels)), math.ceil(_LEAST_SHARE * len(voxels)))
        return voxels if count == len(voxels) else np.sort(stream.choice(voxels, count, replace=False))

    def start(
        self,
        shape: tuple[int, int, int],
        stream: np.random.Generator,
        lesion_voxels: Callable[[], NDArray[np.int64]] | None = None,
    ) -> NDArray[np.int64]:
        """The lowest corner (x, y, z) of one patch.

        Args:
            shape: of the volume along (x, y, z).
            stream: of this sample.
            lesion_voxels: of a forced patch: gives ``kept_voxels``; None, or where it gives none: uniform over all
                places.
        """
        patch, size = np.asarray(self.patch), np.asarray(shape)
        low = -(np.maximum(patch - size, 0) // 2)
        high = np.maximum(size - patch, low)
        voxels = None if lesion_voxels is None else lesion_voxels()
        if voxels is None or len(voxels) == 0:
            return np.asarray(stream.integers(low, high, endpoint=True), dtype=np.int64)
        chosen = voxels[stream.integers(len(voxels))]
        centre = np.array(np.unravel_index(chosen, shape[::-1])[::-1])
        return np.asarray(np.clip(centre - patch // 2, low, high), dtype=np.int64)


class ForegroundPlaces:
    """Patches that ``ForegroundPatches`` samples from some cases; index counts through the batches of an epoch.

    A place is a pure function of (seed, part, epoch, index); training and validation draw from different streams.

    Args:
        sampler: the settings.
        cases: of a part.
        drawing: for what.

    Raises:
        DataError: no case, or weights that no case can be sampled by.
    """

    rows = None

    def __init__(self, sampler: ForegroundPatches, cases: Sequence[Sampled], drawing: Drawing) -> None:
        if not cases:
            raise DataError(
                "split",
                found=f"no case to sample {drawing.part} patches from",
                expected="at least one labelled case",
                remedy="use another split, or a larger cohort",
            )
        self.sampler, self.cases, self.drawing = sampler, list(cases), drawing
        self.size = sampler.patch
        self.shares = shares_of(drawing.weights, self.cases)
        self._lesions: dict[int, NDArray[np.int32]] = {}

    def __len__(self) -> int:
        return self.sampler.batches(self.drawing.part) * self.drawing.batch_size

    def at(self, keys: Sequence[Key]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As ``Places``."""
        found = [self._place(key) for key in keys]
        return np.array([row for row, _ in found], dtype=np.int64), np.stack([start for _, start in found])

    def _place(self, key: Key) -> tuple[int, NDArray[np.int64]]:
        rng = stream(self.drawing.seed, "patch", self.drawing.part, *key)
        row = int(np.searchsorted(self.shares, rng.random(), side="right"))
        size = self.drawing.batch_size
        forced = self.sampler.is_forced(key[1] % size, size, rng)
        voxels = (lambda: self._lesion_voxels(row)) if forced and self.cases[row].lesion_voxels else None
        return row, self.sampler.start(self.cases[row].grid.shape, rng, voxels)

    def _lesion_voxels(self, row: int) -> NDArray[np.int64]:
        if row not in self._lesions:  # once per case and process; which ones are kept is a function of the seed
            chosen = stream(self.drawing.seed, "lesion voxels", self.cases[row].case_id)
            lesion = self.cases[row].load().lesion
            assert lesion is not None  # it has lesion voxels
            self._lesions[row] = self.sampler.kept_voxels(lesion, chosen).astype(np.int32)
        return self._lesions[row].astype(np.int64, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lesions": {}}  # a loader worker finds them anew


class Epochs(Protocol):
    """Settings of a sampler that samples with replacement, so many batches an epoch: as ``ForegroundPatches``."""

    @property
    def iterations_per_epoch(self) -> int:
        """Training batches of an epoch."""

    @property
    def validation_iterations(self) -> int:
        """Validation batches."""

    @property
    def foreground(self) -> float:
        """Share of forced samples."""

    @property
    def foreground_mode(self) -> str:
        """Which samples of a batch are forced."""


def check_epochs(sampler: Epochs) -> None:
    """Raise for a setting out of range.

    Raises:
        ConfigError: it names the setting.
    """
    for name in ("iterations_per_epoch", "validation_iterations"):
        if not _is_count(getattr(sampler, name)):
            raise _setting(name, getattr(sampler, name), "a whole number of at least 1")
        if getattr(sampler, name) > _MOST_ITERATIONS:
            raise _setting(name, getattr(sampler, name), f"at most {_MOST_ITERATIONS:,}: batches of one epoch")
    if not 0 <= sampler.foreground <= 1:
        raise _setting("foreground", sampler.foreground, "a share from 0 to 1")
    if sampler.foreground_mode not in ("last", "random"):
        raise _setting("foreground_mode", sampler.foreground_mode, "last or random")


def is_forced(sampler: Epochs, place: int, batch_size: int, stream: np.random.Generator) -> bool:
    """Whether sample ``place`` of a batch must hold lesion; the stream serves mode "random" alone."""
    if sampler.foreground_mode == "random":
        return bool(stream.random() < sampler.foreground)
    return place >= round(batch_size * (1 - sampler.foreground))


def shares_of(weights: Sequence[float] | None, cases: Sequence[Sampled]) -> NDArray[np.float64]:
    """Upper ends (N,) of the cases' parts of [0, 1)."""
    each = np.ones(len(cases)) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(each) != len(cases):
        raise ValueError(f"{len(each)} weights for {len(cases)} cases")
    if not np.isfinite(each).all() or (each < 0).any() or not each.any():
        wrong = int(np.argmin(np.where(np.isfinite(each), each, -np.inf)))
        raise DataError(
            cases[wrong].case_id,
            found=f"a weight of {each[wrong]:g} among those that cases are sampled by",
            expected="weights of 0 or more, not all 0",
            remedy="correct data.pseudo.weight",
        )
    ends = np.cumsum(each) / each.sum()
    ends[np.flatnonzero(each)[-1] :] = 1.0  # rounding must not leave a gap at the end
    return np.asarray(ends, dtype=np.float64)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _setting(name: str, found: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"view.sampler.{name}", found=repr(found), expected=expected, remedy=f"change view.sampler.{name}"
    )
