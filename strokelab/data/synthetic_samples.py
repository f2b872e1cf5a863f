"""Samples that are made, not read, in the form of the cohort's. Knows a generator, healthy heads and lesion masks.

A sample is a pure function of (seed, epoch, index): everything random is sampled from a stream of that address.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from strokelab.contract import BACKGROUND, LESION, Batch, plane_axis
from strokelab.grid import Grid
from strokelab.preparation.normalize import normalize
from strokelab.preparation.store import StoredCase
from strokelab.preparation.template import MNI
from strokelab.sampling.boxes import Part, Size
from strokelab.sampling.order import Key
from strokelab.seeding import stream
from strokelab.synthesis.anatomy import Anatomy
from strokelab.synthesis.fractions import TISSUES
from strokelab.synthesis.generator import Generator, Made
from strokelab.synthesis.lesions import LesionMask, check_lesions, lesion_on
from strokelab.view import View

CASE_ID = "synthetic"
"""What every synthetic sample is called; its site is unknown, and it has no place on a case's grid."""
_ATTEMPTS = 20  # at a slab with a slice that the sampler takes
_UNIT = ("scale255", "max255", "none")  # rules that leave an image of 0..1 as it is, counted in 255ths
Corners = tuple[slice, slice, slice]


class SyntheticSamples(Dataset[Batch]):
    """What a loader asks of samples (``samples.SampleSet``), made when asked for.

    Of models of volumes each sample is an image of its own, a crop at a random place of the generator's grid. Of models
    of slices, ``slices`` consecutive samples come of one slab that is as wide as a slice and centred on the head, at a
    random height; only slices that the sampler would take of a case are taken, again from the first where they are few.

    Args:
        generator: how an image is made; its grid is in voxels of 1 mm.
        heads: healthy anatomies of one voxel size.
        lesions: prepared cases with a lesion.
        view: of the cohort.
        size: voxels of a sample along (x, y, z); 1 along z: slices.
        seed: of the stream.
        part: training or validation, whose samples are others.
        slices: of one slab.
        length: samples of an epoch, for validation.
    """

    def __init__(
        self,
        generator: Generator,
        heads: Sequence[Anatomy],
        lesions: Sequence[StoredCase],
        *,
        view: View,
        size: Size,
        seed: int,
        part: Part = "train",
        slices: int = 16,
        length: int = 0,
    ) -> None:
        self.heads, self.cases, self.view = heads, list(lesions), view
        self.axis = plane_axis(size)
        self.size: Size = size if self.axis is None else (size[0], size[1], slices)
        self.generator = replace(generator, grid=self._grid(generator, heads[0].grid))
        self.seed, self.part, self.length = seed, part, length
        self._last: tuple[Key, Batch] | None = None

    def __len__(self) -> int:
        """Samples of an epoch; 0 in training, where there are as many as are asked for."""
        return self.length

    @property
    def sites(self) -> NDArray[np.int64] | None:
        """All unknown."""
        return None

    @property
    def sample_bytes(self) -> int:
        """Memory of what one sample is made of."""
        return 4 * math.prod(self.size) * (self.view.input_channels + 2 * len(TISSUES))

    @property
    def in_thread(self) -> bool:
        """Making an image is worth a thread."""
        return True

    @property
    def deferred(self) -> bool:
        """Nothing is left to the device."""
        return False

    def rows_of(self, keys: Sequence[Key]) -> list[int]:
        """The case whose lesion each sample has, by its place in ``cases``."""
        return [self._chosen(self._stream(*self._volume_of(key)[0], 0))[1] for key in keys]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """One sample (``contract.Sample``)."""
        return {name: value[0] for name, value in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these samples."""
        made = [self._sample(key) for key in keys]
        batch: Batch = {name: torch.stack([one[name] for one in made]) for name in made[0]}
        return batch | {
            "site": torch.full((len(keys),), -1, dtype=torch.int64),
            "case_id": [CASE_ID] * len(keys),
            "origin": torch.zeros(len(keys), 3, dtype=torch.int64),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_last": None}

    def _grid(self, generator: Generator, head: Grid) -> Size:
        """The generator's grid in voxels of the heads; of slices, that of the slice and the height of the heads."""
        if self.axis is not None:
            return self.size[0], self.size[1], max(head.shape[2], self.size[2])
        x, y, z = (
            max(round(side / mm), least)
            for side, mm, least in zip(generator.grid, head.spacing, self.size, strict=True)
        )
        return x, y, z

    def _volume_of(self, key: Key) -> tuple[Key, int]:
        """The image that a sample is of, and its number among the samples of that image."""
        epoch, index = key
        if self.axis is None:
            return key, 0
        number, place = divmod(index, self.size[2])
        return (epoch, number), place

    def _sample(self, key: Key) -> dict[str, Tensor]:
        volume, place = self._volume_of(key)
        if self.axis is None:
            return self._maps(self._made(volume, 0))
        if self._last is None or self._last[0] != volume:
            self._last = volume, self._slab(volume)
        slab = self._last[1]
        at = int(slab["slices"][place % len(slab["slices"])])
        return {name: maps[..., at].transpose(-1, -2).contiguous() for name, maps in slab.items() if name != "slices"}

    def _slab(self, volume: Key) -> Batch:
        """The maps of a slab and, in random order, its slices that the sampler would take."""
        for attempt in range(_ATTEMPTS):
            maps = self._maps(self._made(volume, attempt))
            kept = self._taken(maps)
            if len(kept):
                break
        else:
            kept = np.arange(self.size[2])
        order = stream(self.seed, "slices", self.part, *volume).permutation(kept)
        return {**maps, "slices": torch.from_numpy(order)}

    def _taken(self, maps: dict[str, Tensor]) -> NDArray[np.int64]:
        """The slices with as much brain as the sampler asks for, and with lesion where it asks for that."""
        sampler: Any = self.view.sampler
        taken = maps["brain"].sum(dim=(0, 1, 2)) >= max(getattr(sampler, "min_brain_pixels", 0), 1)
        if not getattr(sampler, "keep_empty", True):
            taken &= maps["lesion"].flatten(0, 2).any(dim=0)
        return np.flatnonzero(taken.numpy())

    def _stream(self, epoch: int, number: int, attempt: int) -> np.random.Generator:
        return stream(self.seed, "synthetic", self.part, epoch, number, attempt)

    def _chosen(self, rng: np.random.Generator) -> tuple[int, int]:
        """A head and a lesion, by their places."""
        return int(rng.integers(len(self.heads))), int(rng.integers(len(self.cases)))

    def _made(self, volume: Key, attempt: int) -> Made:
        rng = self._stream(*volume, attempt)
        head, row = self._chosen(rng)
        anatomy, case = self.heads[head], self.cases[row]
        images, channels = self.view.input_channels, len(anatomy.channels)
        plan = self.generator.sampled(rng, size=self.size, images=images, channels=channels)
        lesion = torch.from_numpy(placed(_lesion(case), anatomy.grid))
        return self.generator.made(_tensor(anatomy.maps), _tensor(anatomy.brain), lesion, plan, tissues=len(TISSUES))

    def _maps(self, made: Made) -> dict[str, Tensor]:
        """The maps of a sample, without batch axis."""
        maps = {"image": self._normalized(made), "lesion": made.lesion, "brain": made.brain}
        return maps if self.view.classes is None else maps | {"target": target_of(made.target, self.view.classes)}

    def _normalized(self, made: Made) -> Tensor:
        """Each channel by the view's rule for it; z-scores that follow an equalisation leave that out."""
        image = made.image.numpy()
        brain = made.brain[0].numpy() != 0
        somewhere = np.asarray(image.any(axis=0))
        for number, channel in enumerate(self.view.preparation.channels[: len(image)]):
            rule: Any = self.view.preparation.normalization_of(channel)
            if rule in _UNIT:
                continue
            rule = "zscore_volume" if rule == "zscore_equalised" else rule
            image[number] = normalize(image[number], somewhere if rule == "zscore_nonzero" else brain, rule)
        return torch.from_numpy(image)


def target_of(target: Tensor, classes: Sequence[str]) -> Tensor:
    """The target of a view's classes (K, X, Y, Z); tissues that it does not name are background.

    Args:
        target: of the generator: background, tissues, lesion.
        classes: of the view, each of them known.
    """
    names = (BACKGROUND, *TISSUES, LESION)
    merged = target[[number for number, name in enumerate(names) if name == BACKGROUND or name not in classes]].sum(0)
    return torch.stack([merged if name == BACKGROUND else target[names.index(name)] for name in classes])


def placed(mask: LesionMask, grid: Grid) -> NDArray[np.uint8]:
    """A lesion on the grid of a head (X, Y, Z) 0/1, interpolated no further than it reaches (``lesion_on``)."""
    found = np.zeros(grid.shape, dtype=np.uint8)
    box = _reach(mask, grid)
    if box is not None:
        found[box] = lesion_on(mask.voxels, mask.grid, _part(grid, box))
    return found


def with_lesion(cases: Sequence[StoredCase], head: Anatomy, *, registered: bool) -> None:
    """Lesions can be pasted: there are some, in MNI space, each with a voxel inside the brain.

    Args:
        cases: prepared.
        head: any of the anatomies.
        registered: whether the preparation brings them to MNI space, wherever their files lie.

    Raises:
        DataError: as ``synthesis.lesions.check_lesions``.
    """
    masks = [_lesion(case, native=MNI if registered else case.native) for case in cases if case.lesion_voxels]
    if not masks:
        check_lesions([], head)
    for mask in masks:  # no more of the head than the lesion reaches: there may be hundreds of them
        box = _reach(mask, head.grid) or (slice(0, 1), slice(0, 1), slice(0, 1))
        check_lesions([mask], replace(head, brain=head.brain[box], grid=_part(head.grid, box)))


def _lesion(case: StoredCase, native: Grid | None = None) -> LesionMask:
    """The mask of a prepared case, cut to its lesion."""
    lesion = case.load().lesion
    assert lesion is not None  # it has lesion voxels
    sides = [np.flatnonzero(lesion.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    x, y, z = (slice(max(int(side[0]) - 1, 0), int(side[-1]) + 2) for side in sides)
    cut = np.asarray(lesion[x, y, z])
    return LesionMask(case.case_id, cut, _part(case.grid, (x, y, z)), native)


def _reach(mask: LesionMask, grid: Grid) -> Corners | None:
    """The box of a grid that a mask on another one reaches; None: it lies outside."""
    ends = np.array([[-1, -1, -1], mask.voxels.shape]).T
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    mapping = np.linalg.inv(grid.matrix) @ mask.grid.matrix
    found = corners @ mapping[:3, :3].T + mapping[:3, 3]
    low = np.clip(np.floor(found.min(axis=0)), 0, grid.shape).astype(int)
    high = np.clip(np.ceil(found.max(axis=0)) + 1, 0, grid.shape).astype(int)
    if (low >= high).any():
        return None
    x, y, z = (slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
    return x, y, z


def _part(grid: Grid, box: Corners) -> Grid:
    affine = grid.matrix.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return Grid.of([min(side.stop, length) - side.start for side, length in zip(box, grid.shape, strict=True)], affine)


def _tensor(array: NDArray[Any]) -> Tensor:
    """An array as a tensor over the same memory, where it may be written to; else over a copy."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())
