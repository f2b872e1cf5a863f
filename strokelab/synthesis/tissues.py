"""Label sources of synthetic images: which healthy heads there are, and which of them train (Chalcroft 2024, §2)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.seeding import stream
from strokelab.synthesis.anatomy import Anatomy, AnatomySource, FileAnatomy, PhantomAnatomy, TemplateAnatomy
from strokelab.synthesis.anatomy_store import stored
from strokelab.synthesis.fractions import TISSUES
from strokelab.synthesis.map_files import sets_of

__all__ = ["Anatomy", "TissueMaps"]
log = logging.getLogger(__name__)
_MOST_PHANTOMS = 10_000
_MM = (0.5, 10.0)


@buildable(training="data", most={"phantoms": _MOST_PHANTOMS}, least={"spacing": _MM[0]})
@dataclass(frozen=True)
class TissueMaps:
    """Tissue maps of healthy heads in MNI space.

    Args:
        root: a folder of maps, or a csv that names them (``docs/datasets.md``, section "Tissue maps"); None: the
            template MNI152NLin2009aSym that nilearn ships, one brain without a skull.
        order: the classes of the first channels of a file with several; ``background`` leaves a channel out.
        legend: the class of each label of an integer map, such as ``{1: GM, 2: WM, 3: CSF, 4: skull}``.
        spacing: isotropic voxel size of the maps, mm; 1 in the paper.
        phantoms: how many further heads the phantom generator gives, with skull and scalp.
        validation: share of the sets that validate; 0: none, and all of them train.
        most_validation: as many at most.

    Raises:
        ConfigError: a number is out of its range.
    """

    root: str | None = None
    order: Sequence[str] = TISSUES
    legend: Mapping[int, str] | None = None
    spacing: float = 1.0
    phantoms: int = 0
    validation: float = 0.1
    most_validation: int = 100

    def __post_init__(self) -> None:
        """Hold the numbers against their ranges."""
        ranges = {"spacing": _MM, "phantoms": (0, _MOST_PHANTOMS), "validation": (0, 0.9), "most_validation": (0, 1e6)}
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    f"tissues.{name}",
                    found=str(getattr(self, name)),
                    expected=f"a number from {low:g} to {high:g}",
                    remedy=f"change the setting {name}",
                )

    @cached_property
    def sources(self) -> tuple[AnatomySource, ...]:
        """What each anatomy is made of: the user's sets or the template, then the phantoms; headers are checked.

        Raises:
            DataError: no maps are found, classes are missing, grids differ or are not in MNI space.
        """
        own: list[AnatomySource] = [TemplateAnatomy(self.spacing)]
        if self.root is not None:
            legend = {int(key): str(name) for key, name in (self.legend or {}).items()}
            found = sets_of(Path(self.root).expanduser().absolute())
            own = [FileAnatomy(files, tuple(self.order), legend, self.spacing) for files in found]
        return (*own, *(PhantomAnatomy(number, self.spacing) for number in range(1, self.phantoms + 1)))

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """The classes of every anatomy: GM, WM, PV, CSF, then the further ones of all sources, empty where not there.

        Raises:
            DataError: as ``sources``.
        """
        return tuple(dict.fromkeys([*TISSUES, *(name for source in self.sources for name in source.channels)]))

    def anatomies(
        self,
        part: Literal["train", "val"],
        seed: int,
        *,
        store: Path | None = None,
        workers: int = 1,
        progress: bool = False,
    ) -> Sequence[Anatomy]:
        """The anatomies of a part, made now where the store lacks them, each mapped when it is looked at.

        Args:
            part: training, or validation: a share of the sets after a seeded shuffle, at least one of several.
            seed: of the shuffle.
            store: folder of the prepared store; None: the usual one.
            workers: processes that make what is missing.
            progress: show a bar on stderr meanwhile.

        Returns:
            A light, picklable sequence. A single set is in both parts.

        Raises:
            DataError: as ``sources``; or maps are not finite, negative or sum to more than 1, labels are unknown, a
                brain is empty or lies elsewhere than the template's.
        """
        if part == "train":
            self._tell()
        chosen = [self.sources[index] for index in self._part(part, seed)]
        return stored(chosen, self.channels, store=store, workers=workers, progress=progress)

    def _part(self, part: Literal["train", "val"], seed: int) -> list[int]:
        """The numbers of a part's sources, in the order of the shuffle."""
        count = len(self.sources)
        order = [int(index) for index in stream(seed, "tissue maps").permutation(count)]
        if count == 1:
            return order
        held = min(max(round(self.validation * count), self.validation > 0), self.most_validation)
        return order[count - held :] if part == "val" else order[: count - held]

    def _tell(self) -> None:
        """What a user should know of these maps, one line each."""
        if len(self.channels) == len(TISSUES):
            log.info("Tissue maps without a class outside the brain: the synthetic heads have no skull.")
        if len(self.sources) == 1:
            log.info("One set of tissue maps (%s): it trains and validates.", self.sources[0].name)
