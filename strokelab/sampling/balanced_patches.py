"""SUNet's training patches: as many with lesion as without, listed once per case. Knows masks; knows no grey values.

Clèrigues 2019, section 3.3 and released code. A case's patches follow from its masks, the seed and its id alone, so
that they do not depend on other cases, on folds, or on worker processes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.sampling.boxes import Crop, Drawing, Part, Sampled, Size, check_unweighted
from strokelab.sampling.order import Key, Order
from strokelab.sampling.turns import turns_of
from strokelab.seeding import stream

Integers = NDArray[np.int64]
_MOST = 200_000
"""Patches of a case: an untrusted config asks for lists as long as this, and for nothing longer."""
_LONGEST = 512
_MOST_COPIES = 5  # kinds of augmented copies that one case may get


def regular(count: int, wanted: int) -> Integers:
    """``wanted`` indices into a list of ``count``, evenly spread.

    A shorter list is repeated whole while it fits; the rest, and indices into a longer one, are ``floor(t n / m)``.
    """
    whole, rest = divmod(wanted, count) if count < wanted else (0, wanted)
    spread = np.arange(rest, dtype=np.int64) * count // max(rest, 1)
    return np.concatenate([np.tile(np.arange(count, dtype=np.int64), whole), spread])


@buildable("view", most={"per_case": _MOST, "least_voxels": _MOST})
@dataclass(frozen=True)
class BalancedPatches:
    """So many patches of every case, half of them around lesion voxels, half around healthy brain.

    Lesion half: every lesion voxel, tiny lesions repeated and large ones thinned in regular steps, each with an
    offset of its own that keeps the voxel in the patch; what is missing are copies turned in the axial plane. Healthy
    half: a regular grid of brain voxels off the lesion, as fine as their number asks for. Patches may hang over the
    volume by half their length, into background.

    Args:
        patch: voxels along (x, y, z); the centre c is followed by one voxel less than goes before it.
        per_case: patches of every case, in an epoch.
        lesion_ratio: share of them around lesion voxels.
        least_voxels: lesion voxels of a case that are taken at least, by repeating them: half the lesion patches.
        offset: "half": up to half the patch away from the voxel, near more often than far; "none".
        augment: fill the lesion half with turned copies; False: with the same voxels again.
        healthy: "off_lesion": centres of healthy patches are healthy; "brain": any brain voxel (released code).
        choose: "regular": as above; "random": voxels of the lesion, and centres of the grid, chosen at random, each at
            most once as long as there are enough (the paper's baseline).
        step: of the healthy grid, voxels along (x, y, z); made smaller until there are enough centres.
        resample_each_epoch: new offsets in every epoch; False: one list for the whole training, as the paper.

    Raises:
        ConfigError: a setting is out of range.
    """

    patch: Size
    per_case: int = 10_000
    lesion_ratio: float = 0.5
    least_voxels: int = 2500
    offset: Literal["half", "none"] = "half"
    augment: bool = True
    healthy: Literal["off_lesion", "brain"] = "off_lesion"
    choose: Literal["regular", "random"] = "regular"
    step: Size = (6, 6, 3)
    resample_each_epoch: bool = False

    def __post_init__(self) -> None:
        for name in ("patch", "step"):
            lengths: Any = tuple(getattr(self, name))
            object.__setattr__(self, name, lengths)
            if len(lengths) != 3 or not all(_is_count(one) and one <= _LONGEST for one in lengths):
                raise _setting(name, lengths, f"three whole numbers from 1 to {_LONGEST}, along x, y, z")
        for name, least in (("per_case", 2), ("least_voxels", 1)):
            if not (_is_count(getattr(self, name)) and least <= getattr(self, name) <= _MOST):
                raise _setting(name, getattr(self, name), f"a whole number from {least} to {_MOST:,}")
        if not 0 <= self.lesion_ratio <= 1:
            raise _setting("lesion_ratio", self.lesion_ratio, "a share from 0 to 1")
        words = {"offset": ("half", "none"), "healthy": ("off_lesion", "brain"), "choose": ("regular", "random")}
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise _setting(name, getattr(self, name), " or ".join(known))

    def places(self, cases: Sequence[Sampled], drawing: Drawing) -> BalancedPlaces:
        """Patches of every case, the same number of each.

        Raises:
            DataError: no case.
            ConfigError: cases with weights.
        """
        check_unweighted(drawing, self)
        return BalancedPlaces(self, cases, drawing.seed)

    def order(self, part: Part) -> Order | None:
        """Any."""
        return None

    def sample_shape(self, crop: Crop) -> Size:
        """(X, Y, Z) of the patch, whatever the grid."""
        return self.patch

    def of_case(
        self, lesion: NDArray[Any], brain: NDArray[Any], rng: np.random.Generator, case_id: str = ""
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """The patches of one case: lowest corners (``per_case``, 3) along (x, y, z), and turns (``per_case``,).

        A case without lesion has healthy patches alone; one without a healthy centre in its brain lesion patches
        alone; both, and a grid that is exhausted, are said in a ``DataWarning``.

        Args:
            lesion: (X, Y, Z), non-zero inside.
            brain: (X, Y, Z), non-zero inside.
            rng: of this case.
            case_id: for what is said.

        Raises:
            DataError: neither lesion nor brain.
        """
        voxels = np.argwhere(np.ascontiguousarray(lesion != 0))  # in array order
        wanted = round(self.per_case * self.lesion_ratio)
        if not len(voxels) and wanted:
            _warn(f"case {case_id}: no lesion on the prepared grid, all {self.per_case} of its patches are healthy")
        allowed = (brain != 0) & (lesion == 0) if self.healthy == "off_lesion" else brain != 0
        grid = self._healthy_grid(allowed, self.per_case - wanted)
        if not len(voxels) and not len(grid):
            raise DataError(
                f"case {case_id}",
                found="no voxel of brain or lesion on the prepared grid",
                expected="patches of both",
                remedy="check the masks, or leave the case out with data.exclude",
            )
        wanted = 0 if not len(voxels) else wanted if len(grid) else self.per_case
        centres, turns = self._around_lesion(voxels, wanted, rng)
        if wanted < self.per_case:
            chosen = grid[self._chosen(len(grid), self.per_case - wanted, rng)]
            centres = np.concatenate([centres, chosen])
            if len(grid) < self.per_case - wanted:
                _warn(f"case {case_id}: {len(grid)} healthy centres for {self.per_case - wanted} patches: repeated")
        half = np.asarray(self.patch) // 2
        centres = np.clip(centres, 0, np.asarray(lesion.shape) + 2 * half - self.patch)
        turns = np.concatenate([turns, np.zeros(self.per_case - wanted, np.uint8)])
        return (centres - half).astype(np.int16), turns

    def _around_lesion(
        self, voxels: Integers, wanted: int, rng: np.random.Generator
    ) -> tuple[Integers, NDArray[np.uint8]]:
        """Centres (wanted, 3) and turns (wanted,) of the lesion half."""
        if not wanted:
            return np.empty((0, 3), np.int64), np.empty(0, np.uint8)
        copied = self.augment and len(turns_of(self.patch)) > 0
        least = min(self.least_voxels, wanted) if copied else wanted
        count = max(least, min(len(voxels), wanted))
        centres = voxels[self._chosen(len(voxels), count, rng)]
        if self.offset == "half":
            centres = centres + np.trunc(rng.uniform(-1, 1, centres.shape) * (np.asarray(self.patch) // 2)).astype(int)
        turns, missing = np.zeros(count, np.uint8), wanted - count
        if missing:
            kinds = np.asarray(turns_of(self.patch), np.uint8)
            used = kinds[regular(len(kinds), min(math.ceil(wanted / count), _MOST_COPIES, len(kinds)))]
            sources = regular(count, -(-missing // len(used)))  # the last kind makes up for what does not divide
            centres = np.concatenate([centres, np.tile(centres[sources], (len(used), 1))[:missing]])
            turns = np.concatenate([turns, np.repeat(used, len(sources))[:missing]])
        return centres, turns

    def _healthy_grid(self, allowed: NDArray[np.bool_], wanted: int) -> Integers:
        """Centres (N, 3) on a regular grid from voxel 0 on, as coarse as gives all but one of those wanted."""
        step = list(self.step)
        while True:
            x, y, z = step
            found = np.argwhere(allowed[::x, ::y, ::z]) * step
            if len(found) >= wanted - 1 or max(step) == 1:
                return np.asarray(found, np.int64)
            step = [max(length - 1, 1) for length in step]

    def _chosen(self, count: int, wanted: int, rng: np.random.Generator) -> Integers:
        if self.choose == "regular":
            return regular(count, wanted)
        return rng.permutation(count)[regular(count, wanted) if count < wanted else slice(wanted)]


@dataclass
class BalancedPlaces:
    """The patches that ``BalancedPatches`` lists for some cases; case by case, ``per_case`` of each.

    Args:
        sampler: the settings.
        cases: of a part.
        seed: of the run.

    Raises:
        DataError: no case.
    """

    sampler: BalancedPatches
    cases: Sequence[Sampled]
    seed: int
    background = True
    """What hangs over the border is each channel's background, as dense inference pads it."""
    _epoch: int | None = field(default=None, init=False, repr=False)
    _lists: dict[int, tuple[NDArray[np.int16], NDArray[np.uint8]]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.cases:
            raise DataError(
                "split",
                found="no case to take patches from",
                expected="at least one labelled case",
                remedy="use another split, or a larger cohort",
            )
        if not self.sampler.resample_each_epoch:
            for row in range(len(self.cases)):
                self._list(row, 0)

    @property
    def size(self) -> Size:
        """Of every patch."""
        return self.sampler.patch

    @property
    def rows(self) -> Integers:
        """The case of each patch (N,)."""
        return np.repeat(np.arange(len(self.cases)), self.sampler.per_case)

    def __len__(self) -> int:
        """Patches of an epoch."""
        return len(self.cases) * self.sampler.per_case

    def at(self, keys: Sequence[Key]) -> tuple[Integers, Integers]:
        """As ``Places``."""
        addressed = self._addressed(keys)
        found = [self._list(row, epoch)[0][index] for epoch, row, index in addressed]
        return np.array([row for _, row, _ in addressed]), np.array(found, dtype=np.int64)

    def turns(self, keys: Sequence[Key]) -> NDArray[np.uint8]:
        """How each patch is turned (B,), numbers of ``sampling.turns.TURNS``."""
        return np.array([self._list(row, epoch)[1][index] for epoch, row, index in self._addressed(keys)], np.uint8)

    def _addressed(self, keys: Sequence[Key]) -> list[tuple[int, int, int]]:
        """(epoch, case, patch of that case) of each key."""
        return [(epoch, *divmod(index, self.sampler.per_case)) for epoch, index in keys]

    def _list(self, row: int, epoch: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """The patches of a case, kept as integers: 7 bytes each."""
        again = epoch if self.sampler.resample_each_epoch else 0
        if again != self._epoch:
            self._lists, self._epoch = {}, again
        if row not in self._lists:
            case = self.cases[row]
            arrays = case.load()
            assert arrays.lesion is not None  # samples are of labelled cases
            rng = stream(self.seed, "balanced patches", case.case_id, *([again] if again else []))
            self._lists[row] = self.sampler.of_case(arrays.lesion, arrays.brain, rng, case.case_id)
        return self._lists[row]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _setting(name: str, found: Any, expected: str) -> ConfigError:
    where = f"view.sampler.{name}"
    return ConfigError(where, found=repr(found), expected=expected, remedy=f"change {where}")


def _warn(message: str) -> None:
    warnings.warn(message, DataWarning, stacklevel=2)
