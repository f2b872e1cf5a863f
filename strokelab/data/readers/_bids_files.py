"""NIfTI files by their BIDS names and places: whose, of which contrast, a mask of a lesion or not. Opens no image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from strokelab.data.readers._names import contrast_said
from strokelab.inference.bids_names import bids_words
from strokelab.nifti import stem

Session = tuple[str, str | None]
"""Labels of a subject and of a session, None where there are no sessions."""

DATATYPES = ("anat", "dwi", "perf", "ct")
_FEEDS = {"DWI": ("trace", "DWI")}  # modality -> contrasts that feed it, best first; others feed themselves
_NO_IMAGES = ("BOLD", "fieldmap", "ASL", "CTP", "PWI", "PET")
_MASKS = ("mask", "roi", "msk", "dseg", "seg", "lesion")
_LESION = re.compile(r"l|.*(lesion|stroke|infarct).*", re.IGNORECASE)  # label-L: ATLAS
_NATIVE = ("orig", "native", "individual", "scanner")  # values of space- that mean the scan's own
_TELLS_NO_IMAGE = ("sub", "ses", "label", "desc", "res", "den", "seg", "atlas", "space")
_NOT_RAW = {"sourcedata", "code", "stimuli"}


@dataclass(frozen=True)
class BidsFile:
    """One file of a BIDS tree."""

    path: Path
    entities: Mapping[str, str]
    suffix: str
    dataset: Path  # the folder above sub-x; of a derivative, that of the dataset whose ``derivatives`` it lies in
    derivative: str  # name of the folder in ``derivatives``; "": a raw scan

    @classmethod
    def of(cls, path: Path, root: Path) -> BidsFile | None:
        """By its name and the folders between it and ``root``; None for a name that is not of BIDS."""
        words = bids_words(stem(path))
        if words is None:
            return None
        inside = path.relative_to(root).parts[:-1]
        top = next((i for i, part in enumerate(inside) if part.startswith("sub-")), len(inside))
        above = inside[:top]
        if _NOT_RAW & set(above):
            return None
        if "derivatives" not in above:
            return cls(path, *words, root.joinpath(*above), "")
        last = len(above) - 1 - above[::-1].index("derivatives")
        name = above[last + 1] if last + 1 < len(above) else "derivatives"
        return cls(path, *words, root.joinpath(*above[: above.index("derivatives")]), name)

    @property
    def session(self) -> Session:
        """Whose it is."""
        return self.entities["sub"], self.entities.get("ses")

    @property
    def contrast(self) -> str:
        """By its suffix; a T1w with the entity ``ce`` is ``T1c``."""
        said = contrast_said(self.suffix) or self.suffix
        return "T1c" if said == "T1w" and "ce" in self.entities else said

    @property
    def datatype(self) -> str:
        """The folder it lies in."""
        return self.path.parent.name

    @property
    def is_series(self) -> bool:
        """Whether it is a diffusion series of many volumes, with the table of its b values beside it."""
        return self.path.with_name(f"{stem(self.path)}.bval").is_file()

    @property
    def is_anatomical(self) -> bool:
        """Whether it is one volume of a contrast that a model could be fed with."""
        known = self.datatype in DATATYPES and contrast_said(self.suffix) is not None
        return known and self.contrast not in _NO_IMAGES and not self.is_series

    @property
    def is_placed(self) -> bool:
        """Whether it lies where BIDS has it: ``sub-x/[ses-y/]<datatype>/``."""
        subject, session = self.session
        wanted = [f"sub-{subject}", *([f"ses-{session}"] if session else []), self.datatype]
        return self.datatype in DATATYPES and [*self.path.parts[-1 - len(wanted) : -1]] == wanted

    def shows_lesion(self, pattern: str) -> bool:
        """Whether it is a lesion mask: by the pattern of whole names, else by what its name says."""
        if pattern:
            return fnmatchcase(stem(self.path), pattern)
        named = [value for key, value in self.entities.items() if key in ("label", "desc")]
        said = any(_LESION.fullmatch(value) for value in named) or self.suffix.lower() == "lesion"
        return self.suffix.lower() in _MASKS and said

    def fits(self, image: BidsFile) -> bool:
        """Whether a mask may lie on an image: the same space, and no entity that says another image."""
        space, other = self.entities.get("space"), image.entities.get("space")
        native = space is None or space.lower() in _NATIVE or contrast_said(space) is not None
        if space != other and (other is not None or not native):
            return False
        told = {key: value for key, value in self.entities.items() if key not in _TELLS_NO_IMAGE}
        return all(image.entities.get(key) == value for key, value in told.items())


def feeds(modality: str) -> tuple[str, ...]:
    """The contrasts whose images a modality takes, best first; a name that says no contrast is a suffix of BIDS."""
    contrast = contrast_said(modality) or modality
    return _FEEDS.get(contrast, (contrast,))


def fed(contrast: str) -> str:
    """The modality that a contrast feeds."""
    return next((name for name, contrasts in _FEEDS.items() if contrast in contrasts), contrast)


def by_session(files: Iterable[BidsFile]) -> dict[Session, list[BidsFile]]:
    """The files of each subject's sessions, in their order."""
    found: dict[Session, list[BidsFile]] = {}
    for file in files:
        found.setdefault(file.session, []).append(file)
    return found
