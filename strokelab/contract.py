"""The words that flow through the house, each with shapes and units. Everything else refers to this page.

``Case`` (paths on disk) -> ``PreparedCase`` (arrays on the model's grid) -> ``Sample``/``Batch`` (tensors)
-> scores (K, X, Y, Z) -> ``Prediction`` (mask on the input's own grid).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import DataError
from strokelab.grid import Grid, Step
from strokelab.nifti import ANY_LABEL as ANY_LABEL  # masks of a case: their words are the nifti room's
from strokelab.nifti import LesionFile as LesionFile
from strokelab.nifti import check_new_volumes, write_volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

CURVES_ONLY = "curves_only"
"""What numbers of cases that test are logged under, ``curves_only/loss``: nothing may be chosen by them."""
HELD_OUT_SELECTS = "held_out_selects"
"""``data.curves``: where no case validates, the cases that test choose, as in some papers' code."""


Kind = Literal["intensity", "label", "fraction", "mask"]
"""What the values of a map mean, which decides how they are read, moved and changed:

=========  =======  =============================================  =======  ==============================
kind       dtype    interpolation                                  outside  augmentation
=========  =======  =============================================  =======  ==============================
intensity  float32  the preparation's, the augmentation's          0        changes place and grey values
label      uint8    nearest                                        0        changes place
fraction   float32  linear                                         0        changes place
mask       uint8    linear, 1 from one half on                     0        changes place
=========  =======  =============================================  =======  ==============================
"""
KINDS: Mapping[str, Kind] = {"image": "intensity", "lesion": "mask", "brain": "mask"}
"""The maps that every sample has."""

BACKGROUND, LESION = "background", "lesion"
"""Classes that follow from the lesion mask alone, also where a map has channels of these names."""


@dataclass(frozen=True)
class MapLayout:
    """What a further map of a case holds: tissue fractions, an anatomical labelling, a mask.

    Args:
        kind: of its values; further maps are no intensities.
        channels: names of its channels; of a label map, which has one, names of its classes.
        values: of a label map: the value of each class.

    Raises:
        ValueError: no channel, or other than one value for each class of a label map.
    """

    kind: Kind
    channels: tuple[str, ...]
    values: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.channels or self.kind == "intensity" or len(self.values) != len(self.channels) * self.is_label:
            raise ValueError(f"{self}: expected a kind that is no intensity, names, and a value for each label")

    @property
    def is_label(self) -> bool:
        """Whether classes are values of one channel."""
        return self.kind == "label"

    @property
    def dtype(self) -> type[np.float32] | type[np.uint8]:
        """Of its arrays."""
        return np.float32 if self.kind == "fraction" else np.uint8

    @property
    def length(self) -> int:
        """Channels of its arrays."""
        return 1 if self.is_label else len(self.channels)


@dataclass(frozen=True)
class MapFiles:
    """A further map of a case on disk: one file for each channel, one file in all for labels."""

    layout: MapLayout
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Case:
    """One scan session on disk. Paths only: nothing is loaded. Made by readers, consumed by preparation."""

    case_id: str  # unique in the cohort, e.g. "sub-r001s001_ses-1"
    subject_id: str  # never on two sides of a split
    dataset: str
    site: str | None  # None = unknown, never "site 0"
    images: Mapping[str, Path]  # modality -> file, e.g. {"T1w": ...}
    lesions: tuple[LesionFile, ...] = ()  # united voxel-wise; () = unlabelled
    label_modality: str = ""  # the modality on whose grid the lesion lies; "" = the first image
    brain: Path | None = None
    meta: Mapping[str, str | float] = field(default_factory=dict)
    maps: Mapping[str, MapFiles] = field(default_factory=dict)  # name -> e.g. tissue fractions

    @property
    def labelled(self) -> bool:
        """Whether a lesion mask (possibly empty) exists for this case."""
        return bool(self.lesions)

    @property
    def reference_modality(self) -> str:
        """The modality of the image whose grid is the case's own."""
        return self.label_modality or next(iter(self.images))

    @property
    def reference_image(self) -> Path:
        """The image whose grid is the case's own: predictions end there."""
        return self.images[self.reference_modality]

    def __repr__(self) -> str:
        """Id, dataset, modalities, whether labelled; the paths are attributes."""
        labelled = "labelled" if self.labelled else "no label"
        return f"Case({self.case_id!r}, {self.dataset}, {' + '.join(self.images)}, {labelled})"


@dataclass(frozen=True)
class Mirrored:
    """How the mirrored channels of a case were made (``preparation.mirror``).

    Correlations are Pearson's, of the reference with its mirrored channel inside the brain, before normalisation.

    Args:
        reference: the modality that was registered with its flipped image.
        transform: (4, 4), from a point of a mirrored channel to the point of the original that it shows, in RAS+ mm.
        flip_correlation: where the array is simply reversed from left to right.
        registered_correlation: where it is registered; None: the registration failed.
        metric: Mattes mutual information at the end of the registration, negative; None: it failed.
        seconds: that it all took; no comparison looks at them.
    """

    reference: str
    transform: tuple[tuple[float, ...], ...]
    flip_correlation: float
    registered_correlation: float | None
    metric: float | None
    seconds: float = field(compare=False)

    @property
    def is_flip(self) -> bool:
        """Whether the reversed array is used, because it fits better than the registered image."""
        return self.registered_correlation is None or self.registered_correlation < self.flip_correlation

    @property
    def correlation(self) -> float:
        """Of what is used."""
        registered = self.registered_correlation
        return self.flip_correlation if registered is None else max(registered, self.flip_correlation)


@dataclass(frozen=True)
class Registered:
    """How a case was brought into a template's space (``preparation.register``).

    Args:
        to: the template.
        transform: (4, 4), from a point of the case's world to one of the template's, both RAS+ mm.
        metric: Mattes mutual information at the end of the registration, negative.
        start: the same where it began.
        correlation: Pearson's, of the registered image with the template inside the template's brain.
        overlap: Dice of the registered brain with the template's.
        volume_factor: by which the transform changes volumes.
        seconds: that it took; no comparison looks at them.
        image: the modality that was registered; "" of cases that were stored before it was kept.
        information: of a refined registration: mutual information of image and template inside the brain, nats.
        outside: of a refined registration: share of the template's brain beyond the field of view.
    """

    to: str
    transform: tuple[tuple[float, ...], ...]
    metric: float
    start: float
    correlation: float
    overlap: float
    volume_factor: float
    seconds: float = field(compare=False)
    image: str = ""
    information: float | None = None
    outside: float | None = None

    def carried(self, grid: Grid) -> Grid:
        """A grid of the case's world as it lies in the template's."""
        return grid.moved(np.asarray(self.transform, dtype=np.float64))


@dataclass(frozen=True)
class PreparedCase:
    """The case on the model's grid, memory-mapped and read-only. Made by ``preparation.store``."""

    case_id: str
    subject_id: str
    site: str | None
    channels: tuple[str, ...]  # e.g. ("T1w",) or ("DWI", "ADC", "FLAIR")
    image: NDArray[np.float32]  # (C, X, Y, Z), model units, RAS+
    lesion: NDArray[np.uint8] | None  # (X, Y, Z) 0/1; None = unlabelled
    brain: NDArray[np.bool_]  # (X, Y, Z)
    grid: Grid  # of the arrays above
    steps: tuple[Step, ...]  # native -> prepared; ``preparation.restore`` plays them backwards
    native: Grid  # where predictions must end
    brain_source: str = "file"  # "file" | "nonzero" | "mni152" | "estimated"
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # further ones, (C, X, Y, Z) each
    layouts: Mapping[str, MapLayout] = field(default_factory=dict)  # of these
    mirrored: Mirrored | None = None  # of its mirrored channels, where there are any
    registered: Registered | None = None  # where it was registered; ``steps`` then begin where the template has it

    def __repr__(self) -> str:
        """Id, channels, shape, voxel size; the arrays are attributes."""
        shape, size = (" x ".join(f"{side:.4g}" for side in sides) for sides in (self.grid.shape, self.grid.spacing))
        labelled = "no label" if self.lesion is None else "labelled"
        return f"PreparedCase({self.case_id!r}, {' + '.join(self.channels)}, {shape} of {size} mm, {labelled})"


class Sample(TypedDict):
    """One training item. S is (Y, X) for slices (rows anterior-posterior, columns left-right), else (X, Y, Z)."""

    image: Tensor  # (C, *S) float32
    lesion: Tensor  # (1, *S) uint8
    brain: Tensor  # (1, *S) uint8
    target: NotRequired[Tensor]  # (K, *S) float32, sums to 1; only where it is not derived from the lesion
    labelled_classes: NotRequired[Tensor]  # (K,) bool: the classes that are labelled in this item
    kinds: NotRequired[dict[str, Kind]]  # of further maps, each a key of its own, (C, *S)
    site: Tensor  # () int64, index into sites.json; -1 = unknown
    case_id: str
    origin: Tensor  # (3,) int64: where the box starts on the prepared grid, (x, y, z)


RESERVED = frozenset({*Sample.__annotations__, "later", "sources"})
"""Keys that a sample or batch has already, which no further map may be called."""

Batch = dict[str, Any]
"""The keys of ``Sample`` with a leading B; ``case_id`` is a list of B strings."""


@dataclass(frozen=True)
class Prediction:
    """What leaves the house for one case, on the native grid of its input."""

    case_id: str
    grid: Grid
    mask: NDArray[np.uint8]  # (X, Y, Z) 0/1
    probability: NDArray[np.float32] | None  # (X, Y, Z) lesion probability
    provenance: Mapping[str, str]  # run, checkpoint, threshold, post-processing
    disagreement: NDArray[np.float32] | None = None  # (X, Y, Z) standard deviation over the members of an ensemble
    classes: NDArray[np.float32] | None = None  # (K, X, Y, Z) probabilities of all classes, where asked for
    covered: NDArray[np.bool_] | None = None  # (X, Y, Z) what the windows look at; None: they leave nothing out
    class_names: tuple[str, ...] = ()  # of the K classes, where the family names them
    scan: Any = field(default=None, repr=False, compare=False)  # the image it ends on: a path, or one of nibabel
    registered: tuple[Registered, ...] = ()  # how it was brought into a template's space, image by image

    @property
    def volume_ml(self) -> float:
        """Volume of the mask, ml."""
        return int(self.mask.sum(dtype=np.int64)) * self.grid.voxel_volume_mm3 / 1000

    def save(self, path: str | Path, *, probability: str | Path | None = None, overwrite: bool = False) -> Path:
        """Write the mask as a NIfTI file on the grid of the input.

        Args:
            path: of the mask, ``.nii`` or ``.nii.gz``.
            probability: where to write the lesion probability map, too.
            overwrite: replace files that lie there.

        Returns:
            The path of the mask.

        Raises:
            DataError: a file lies there already, a path has another ending, there is no probability map, or a folder
                cannot be written to. Nothing is written then.
        """
        given: list[tuple[Path, NDArray[Any]]] = [(Path(path).expanduser(), self.mask)]
        if probability is not None:
            if self.probability is None:
                where, found = f"case {self.case_id}", "no probability map"
                raise DataError(where, found=found, expected="a map to write", remedy="leave probability= out")
            given.append((Path(probability).expanduser(), self.probability))
        check_new_volumes([file for file, _ in given], overwrite=overwrite)
        for file, values in given:
            write_volume(file, values, self.grid)
        return given[0][0]

    def plot(self, image: Any = None) -> Figure:
        """Three planes through the largest lesion: a figure of matplotlib, which a notebook shows.

        Args:
            image: under the mask: a path, an image of nibabel, an array (X, Y, Z), (array, affine); default: the scan.

        Raises:
            DataError: there is no image, or it has another grid.
        """
        from strokelab.planes import figure_on

        return figure_on(self.scan if image is None else image, self.mask, self.grid, title=self.case_id)

    def __repr__(self) -> str:
        """Case, shape, volume, maps; arrays and provenance are attributes."""
        shape = " x ".join(map(str, self.grid.shape))
        maps = [name for name in ("probability", "disagreement", "classes") if getattr(self, name) is not None]
        return f"Prediction({self.case_id!r}, {shape}, {self.volume_ml:.2f} ml, {' + '.join(['mask', *maps])})"


def check_unique(cases: Sequence[Case], where: str | Path) -> None:
    """No two cases of a cohort share an id.

    Raises:
        DataError: naming the ids and the files behind them.
    """
    seen: dict[str, Case] = {}
    for case in cases:
        if case.case_id in seen:
            raise DataError(
                where,
                found=f"case id {case.case_id!r} twice: {seen[case.case_id].reference_image}, {case.reference_image}",
                expected="one case per id",
                remedy="rename or remove one of the two, or name it in data.exclude",
            )
        seen[case.case_id] = case


def plane_axis(size: tuple[int, int, int]) -> int | None:
    """The axis of a box that is a slice (the only one of length 1); None for a box with volume."""
    thin = [axis for axis, length in enumerate(size) if length == 1]
    return thin[0] if len(thin) == 1 else None


def shape_of(size: tuple[int, int, int]) -> tuple[int, ...]:
    """Spatial shape S of a sample from a box (x, y, z): rows, then columns of a slice; else (X, Y, Z)."""
    axis = plane_axis(size)
    return size if axis is None else tuple(length for other, length in enumerate(size) if other != axis)[::-1]


def kinds_of(content: Mapping[str, Any]) -> dict[str, Kind]:
    """The maps of a sample or batch by name, each with its kind."""
    return {**KINDS, **content.get("kinds", {})}
