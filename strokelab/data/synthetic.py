"""Synthetic images as training samples: lesions of the training cases pasted into healthy heads (Chalcroft 2024).

Knows cases, splits and views; how an image is made is ``synthesis``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from strokelab.buildable import buildable
from strokelab.command_words import setting
from strokelab.contract import Case, MapLayout
from strokelab.data import readers
from strokelab.data.making import Wanted
from strokelab.data.split_file import Split
from strokelab.data.synthetic_samples import SyntheticSamples, with_lesion
from strokelab.errors import ConfigError, DataError
from strokelab.files import digest
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.register import Register
from strokelab.preparation.store import StoredCase
from strokelab.sampling.boxes import Size
from strokelab.synthesis.anatomy import Anatomy
from strokelab.synthesis.fractions import TISSUES
from strokelab.synthesis.generator import Generator
from strokelab.synthesis.tissues import TissueMaps
from strokelab.view import View

_NODE = "data.sources.synthetic"
_ALIKE = 0.05  # share by which voxel sizes along the axes may differ for maps of one spacing


@buildable(training="data")
@dataclass(frozen=True)
class LesionCohort:
    """Whose lesions are pasted.

    Args:
        dataset: a reader's name (``strokelab.data.readers``); None: the cohort's own training cases.
        root: the dataset's folder.
        options: the reader's own.
        exclude: ids of cases whose lesions are left out.

    Raises:
        ConfigError: a dataset without a folder, or a folder without a dataset.
    """

    dataset: str | None = None
    root: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    exclude: Sequence[str] = ()

    def __post_init__(self) -> None:
        if (self.dataset is None) != (self.root is None):
            raise ConfigError(
                f"{_NODE}.lesions",
                found=f"dataset {self.dataset} at {self.root}",
                expected="a dataset with its folder, or neither: the lesions of the training cases",
                remedy="give both dataset and root, or leave both null",
            )

    def cases(self, own: Sequence[Case]) -> list[Case]:
        """The labelled cases.

        Args:
            own: those of the cohort that train.

        Raises:
            StrokelabError: as ``readers.read``.
        """
        found = own
        if self.dataset is not None and self.root is not None:
            found = readers.read(self.dataset, self.root, **self.options)
        return [case for case in found if case.labelled and case.case_id not in self.exclude]


@buildable(training="data", most={"slices_per_volume": 512, "validation": 1_000_000})
@dataclass(frozen=True)
class SyntheticSource:
    """A source of training samples that are made, not read: the node ``data.sources.synthetic``.

    It gives no cases. Pasted are the lesions of the cohort's training cases, or of another cohort; never those of
    cases that validate or test, nor of other scans of their subjects. Validation samples are made of the lesions of the
    cases that validate, in the heads that validate.

    Args:
        generator: how an image is made.
        tissues: healthy heads.
        register: brings lesion masks to MNI space (``Preparation.register``); None: they lie there.
        lesions: whose are pasted in training.
        slices_per_volume: of models of slices: so many consecutive samples are slices of one image.
        validation: synthetic samples that validate; None: as many as real ones.
        weight: of no meaning: sources that make their samples are mixed in turn (``data.mixing``).

    Raises:
        ConfigError: a number out of range.
    """

    generator: Generator = field(default_factory=Generator)
    tissues: TissueMaps = field(default_factory=TissueMaps)
    register: Register | None = None
    lesions: LesionCohort = field(default_factory=LesionCohort)
    slices_per_volume: int = 16
    validation: int | None = None
    weight: float = 1.0
    _maps: dict[float, TissueMaps] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, least in (("slices_per_volume", 2), ("validation", 0)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise ConfigError(
                    f"{_NODE}.{name}",
                    found=repr(value),
                    expected=f"a whole number of at least {least}",
                    remedy=f"set {_NODE}.{name}=16",
                )

    def joined(self, unlabelled: Callable[[], Sequence[Case]], split: Split) -> tuple[list[Case], Split]:
        """No case, and the split as it is.

        Args:
            unlabelled: not asked.
            split: of the cohort.
        """
        return [], split

    def view_of(self, view: View) -> View:
        """As the cohort is seen.

        Raises:
            ConfigError: as ``check_view``.
        """
        self.check_view(view)
        return view

    @staticmethod
    def check_view(view: View) -> None:
        """Synthetic images have a channel for each modality, RAS axes, and voxels as long along each axis.

        Raises:
            ConfigError: mirrored or further channels, axes as in the file, or other voxels.
        """
        preparation = view.preparation
        further = preparation.channels[len(preparation.modalities) :]
        wrong = [
            ("mirror", f"channels made of real images: {', '.join(further)}", "mirror.enabled=false", bool(further)),
            ("orientation", "axes as in the file", "orientation=RAS", preparation.orientation != "RAS"),
            ("spacing", f"{preparation.spacing} mm", "spacing=[1,1,1]", uneven(preparation.spacing or (1, 1, 1))),
        ]
        if getattr(view.sampler, "slices", 1) > 1:
            raise ConfigError(
                "view.sampler.slices",
                found=f"slabs of {view.sampler.slices} slices, with synthetic images",  # type: ignore[attr-defined]
                expected="single slices or patches, which synthetic images are made as",
                remedy="set view=sgnet, or leave synthetic images out with synthesis=none",
            )
        for name, found, remedy in ((name, found, remedy) for name, found, remedy, is_so in wrong if is_so):
            raise ConfigError(
                f"view.preparation.{name}",
                found=f"{found}, with synthetic images",
                expected="a channel for each modality, RAS axes, voxels as long along each axis",
                remedy=f"set view.preparation.{remedy}, or leave synthetic images out with synthesis=none",
            )

    def labels(self) -> MapLayout:
        """GM, WM, PV and CSF."""
        return MapLayout("fraction", TISSUES)

    def described(self, split: Split, cases: Sequence[Case]) -> dict[str, Any]:
        """Which heads, and whose lesions: their number and the digest of their ids.

        Args:
            split: with the cohort's cases alone.
            cases: none.
        """
        lesions = self.lesions
        ids = {*split.train} - {*lesions.exclude}
        if lesions.dataset is not None:
            ids = {case.case_id for case in lesions.cases(())}
        return {
            "synthetic": {
                "tissue_maps": len(self.tissues.sources),
                "tissue_root": None if self.tissues.root is None else str(Path(self.tissues.root).expanduser()),
                "channels": list(self.tissues.channels),
                "lesions_of": f"{lesions.dataset}: {lesions.root}" if lesions.dataset else "training cases",
                "lesions": len(ids),
                "lesion_cases": digest(sorted(ids)),
            }
        }

    def check(self, wanted: Wanted) -> None:
        """Before training: maps and lesions are there, and every lesion can be pasted.

        Raises:
            DataError: maps or lesions are missing, damaged or not in MNI space.
            ConfigError: the view has voxels that maps cannot have.
        """
        lesions = [case for case in self._lesions(wanted) if case.lesion_voxels]
        if wanted.part == "train" or lesions:
            registers = self.register or wanted.means.view.preparation.register
            with_lesion(lesions, self._heads(wanted)[0], registered=registers is not None)

    def made(self, wanted: Wanted, size: Size, *, length: int | None = None) -> SyntheticSamples | None:
        """Samples in the form of the cohort's.

        Args:
            wanted: whose.
            size: voxels of a sample along (x, y, z); 1 along z: slices.
            length: of a validation set, where ``validation`` does not say.

        Raises:
            StrokelabError: as ``check``.
        """
        count = length if self.validation is None else self.validation
        lesions = [case for case in self._lesions(wanted) if case.lesion_voxels]
        if wanted.part == "val" and (not count or not lesions):
            return None
        return SyntheticSamples(
            self.generator,
            self._heads(wanted),
            lesions,
            view=wanted.means.view,
            size=size,
            seed=wanted.seed,
            part=wanted.part,
            slices=self.slices_per_volume,
            length=0 if wanted.part == "train" else count or 0,
        )

    def _lesions(self, wanted: Wanted) -> list[StoredCase]:
        """The cases whose lesions are pasted, prepared: as the view has them where they are the cohort's."""
        means = wanted.means
        register = self.register or means.view.preparation.register
        seen = replace(means.view.preparation, register=register)
        if wanted.part == "val":
            return means.prepare(wanted.cases, seen)
        every = self.lesions.cases(wanted.cases)
        check_held_out(every, wanted.aside)
        if self.lesions.dataset is None:
            return means.prepare(every, seen)
        found: list[StoredCase] = []
        for modality in sorted({case.reference_modality for case in every}):
            own = Preparation((modality,), normalize="none", register=register)
            found += means.prepare([case for case in every if case.reference_modality == modality], own)
        return found

    def _heads(self, wanted: Wanted) -> Sequence[Anatomy]:
        """The heads of a part, at the view's voxel size; without one at that of its cases."""
        means = wanted.means
        ids = [case.case_id for case in wanted.cases]
        spacing = means.view.preparation.spacing or means.prepared(ids)[0].grid.spacing
        if uneven(spacing):
            raise ConfigError(
                "view.preparation.spacing",
                found=f"null, and cases of {' x '.join(f'{side:.3g}' for side in spacing)} mm, with synthetic images",
                expected="voxels as long along each axis",
                remedy="set view.preparation.spacing=[1,1,1], or leave synthetic images out with synthesis=none",
            )
        mm = round(float(spacing[0]), 3)
        if mm not in self._maps:
            self._maps[mm] = replace(self.tissues, spacing=mm)
        return self._maps[mm].anatomies(wanted.part, means.seed, store=means.store, workers=means.workers)


def uneven(spacing: Sequence[float]) -> bool:
    """Whether voxels are longer along some axis than along others."""
    return max(spacing) > (1 + _ALIKE) * min(spacing)


def check_held_out(lesions: Sequence[Case], aside: Sequence[Case]) -> None:
    """No lesion is of a case that validates or tests, nor of another scan of such a subject of the same dataset.

    Args:
        lesions: the cases whose lesions are pasted.
        aside: that validate or test.

    Raises:
        DataError: naming the case.
    """
    ids = {case.case_id for case in aside}
    subjects = {(case.dataset, case.subject_id) for case in aside}
    wrong = [case.case_id for case in lesions if case.case_id in ids or (case.dataset, case.subject_id) in subjects]
    if wrong:
        raise DataError(
            f"the lesion of case {wrong[0]}",
            found=f"{len(wrong)} lesion masks to be pasted into training images, of subjects that validate or test: "
            f"{wrong[:3]}",
            expected="lesions of subjects that do neither",
            remedy=f"leave these cases out with {setting(f'{_NODE}.lesions.exclude', wrong)}",
        )
