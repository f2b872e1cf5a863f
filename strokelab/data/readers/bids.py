"""Any BIDS dataset: sessions, runs, contrasts, ``participants.tsv``, masks in ``derivatives``. Opens no image."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from strokelab.contract import Case
from strokelab.data.readers._bids_files import BidsFile, Session, by_session, fed, feeds
from strokelab.data.readers._bids_tables import About
from strokelab.data.readers._names import contrast_said
from strokelab.data.readers._tree import (
    Lead,
    Problems,
    Release,
    build_cases,
    check_choice,
    lesion_files,
    listing,
    nifti_files,
    no_twins,
    one,
)
from strokelab.errors import DataError, DataWarning
from strokelab.nifti import stem

RELEASE = Release(
    title="BIDS",
    layout="sub-01/[ses-1/]anat/sub-01_[ses-1_]T1w.nii.gz, participants.tsv (optional), "
    "derivatives/<name>/sub-01/[ses-1/]anat/sub-01_[ses-1_]label-lesion_mask.nii.gz (optional)",
    one_grid=False,
)
Repeats = Literal["error", "first", "last"]


@dataclass(frozen=True)
class _Settings:
    """The options that turn files into cases."""

    modalities: Sequence[str] | None
    label_modality: str
    images_from: str
    masks_from: str
    masks: str
    prefer: Mapping[str, str | None]
    repeats: Repeats
    above: float
    values: Sequence[int] | None

    def is_image(self, file: BidsFile) -> bool:
        """Whether a file may be an image of a case."""
        if file.derivative != self.images_from or file.shows_lesion(self.masks):
            return False
        if self.modalities is None:
            return file.is_anatomical
        return any(file.contrast in feeds(name) for name in self.modalities)

    def is_mask(self, file: BidsFile) -> bool:
        """Whether a file may be the lesion of a case."""
        return file.shows_lesion(self.masks) and self.masks_from in ("", file.derivative)

    def image(self, files: Sequence[BidsFile], modality: str, case: str) -> BidsFile:
        """The one image of a modality in a session.

        Raises:
            DataError: there is none, a series of many volumes alone, or several and no rule that chooses.
        """
        wanted = next((name for name in feeds(modality) if any(file.contrast == name for file in files)), None)
        found = [file for file in files if file.contrast == wanted]
        single = [file for file in found if not file.is_series]
        if found and not single:
            raise DataError(
                f"case {case}",
                found=f"a diffusion series of many volumes, {found[0].path}",
                expected=f"one volume for {modality}, such as the mean of a b value: {case}_trace.nii.gz beside it",
                remedy="write that volume, or leave the case out with data.exclude",
            )
        for key, value in self.prefer.items():
            single = [file for file in single if file.entities.get(key) == _text(value)] or single
        no_twins([file.path for file in single], case)
        if len(single) > 1 and self.repeats == "error":
            raise DataError(
                f"case {case}",
                found=f"{len(single)} images of {modality}: {', '.join(str(file.path) for file in single)}",
                expected="one image of each contrast in a session",
                remedy=f"set data.options.repeats=first, or last, by name; or {_difference(single)}",
            )
        if single:
            return single[-1 if self.repeats == "last" else 0]
        pattern = f"{case}_*{feeds(modality)[0]}.nii[.gz]"
        one([], case=case, pattern=pattern, around=[file.path for file in files])
        raise AssertionError("one() raises without a file")

    def label(self, masks: Sequence[BidsFile], images: Mapping[str, BidsFile], case: str) -> str:
        """The modality on whose grid the masks of a case lie.

        Raises:
            DataError: the option names none of the modalities.
        """
        if self.label_modality and self.label_modality not in images:
            raise DataError(
                f"case {case}",
                found=f"label_modality={self.label_modality!r} among {', '.join(images)}",
                expected="one of the modalities",
                remedy=f"set data.options.label_modality={next(iter(images))}",
            )
        said = [fed(contrast_said(mask.entities.get("space", "")) or "") for mask in masks]
        folders = [mask.datatype for mask in masks]
        by_space = [name for name, image in images.items() if fed(image.contrast) in said]
        by_folder = [name for name, image in images.items() if image.datatype in folders]
        return self.label_modality or next(iter([*by_space, *by_folder, *images]))

    def lesions(self, masks: Sequence[BidsFile], image: BidsFile, case: str) -> list[Path]:
        """The masks of an image; several of one derivative are united.

        Raises:
            DataError: those of the session are of other images, or two derivatives have one each.
        """
        fitting = [mask for mask in masks if mask.fits(image)]
        if masks and not fitting:
            raise DataError(
                f"case {case}",
                found=f"masks of another image than {image.path}: {listing(mask.path for mask in masks)}",
                expected="a mask whose entities (run, acq, space ...) are those of its image",
                remedy="rename the mask, choose the image with data.options.prefer, or leave the case out with "
                "data.exclude",
            )
        places = list(dict.fromkeys(mask.derivative for mask in fitting))
        if len(places) > 1:
            raise DataError(
                f"case {case}",
                found=f"masks in {len(places)} derivatives: {', '.join(str(mask.path) for mask in fitting)}",
                expected="the masks of one derivative",
                remedy=f"set data.options.masks_from={next(filter(None, places))}",
            )
        return [mask.path for mask in fitting]


def looks_like(root: Path) -> bool:
    """Whether raw scans lie below ``root`` as ``sub-x/[ses-y/]anat/sub-x_[ses-y_]..._<suffix>``."""
    found = (BidsFile.of(path, root) for path in nifti_files(root))
    return not _is_derivative(root) and any(file and not file.derivative and file.is_placed for file in found)


def read(
    root: Path,
    *,
    modalities: Sequence[str] | None = None,
    label_modality: str = "",
    site_column: str = "",
    images_from: str = "",
    masks_from: str = "",
    masks: str = "",
    brain: str = "",
    prefer: Mapping[str, str | None] | None = None,
    repeats: Repeats = "error",
    above: float = 0.5,
    values: Sequence[int] | None = None,
    exclude: Sequence[str] = (),
    problems: Problems | None = None,
) -> list[Case]:
    """The sessions of a BIDS dataset: each is a case (``sub-01_ses-1``) if it has one of the contrasts.

    Args:
        root: the dataset's folder, or one above it.
        modalities: what every case must have, by the names of other datasets (T1w, T1c, T2w, FLAIR, DWI, ADC ...) or
            any suffix of BIDS; None: the contrasts that each session has. DWI is a ``trace``, else a ``dwi`` of one
            volume; T1c a T1w with the entity ``ce``.
        label_modality: on whose grid masks lie; "": what a mask's ``space-`` says, else the first image of its folder
            (anat, dwi), else the first modality.
        site_column: of ``participants.tsv`` or ``sub-x_sessions.tsv``; "": site, site_id, center, centre or hospital.
        images_from: folder of ``derivatives`` with the images; "": the raw scans.
        masks_from: folder of ``derivatives`` with the masks; "": any but those that strokelab wrote.
        masks: names of lesion masks, e.g. ``*_desc-stroke_mask``; "": ``label-lesion``, ``desc-lesion``, ``label-L``
            and their like with the suffix mask, roi or dseg.
        brain: names of brain masks, e.g. ``*_desc-brain_mask``; "": none is read.
        prefer: entity -> value of the images to take where a contrast comes more than once; None: without it.
        repeats: where that leaves several: an error, or the first or last by name.
        above: share of a mask's maximum above which a voxel is lesion.
        values: label values that mean lesion, for masks that hold several; None: the share-of-maximum rule.
        exclude: case or subject ids to leave out.
        problems: collects what is wrong instead of raising it.

    Raises:
        DataError: a contrast is missing or repeated, a mask fits no image, masks lie in two derivatives.
        ConfigError: ``site_column`` is no column, or another word for ``repeats``.
    """
    check_choice("repeats", repeats, Repeats)
    chosen = _Settings(
        modalities or None, label_modality, images_from, masks_from, masks, dict(prefer or {}), repeats, above, values
    )
    files = [file for path in nifti_files(root) if (file := BidsFile.of(path, root)) is not None]
    images = by_session(file for file in files if chosen.is_image(file))
    lesions = by_session(_annotated([file for file in files if chosen.is_mask(file)], chosen.masks_from))
    brains = by_session(file for file in files if brain and fnmatchcase(stem(file.path), brain))
    about = _tables(images, site_column)

    def lead(session: Session, found: Sequence[BidsFile]) -> Lead:
        return _lead(session, found, lesions.get(session, []), brains.get(session, []), chosen, about)

    leads = [lead(session, found) for session, found in images.items()]
    return build_cases(leads, root=root, exclude=exclude, problems=problems)


def _lead(
    session: Session,
    files: Sequence[BidsFile],
    masks: Sequence[BidsFile],
    brains: Sequence[BidsFile],
    chosen: _Settings,
    tables: Mapping[Path, About],
) -> Lead:
    subject = f"sub-{session[0]}"
    case_id = subject if session[1] is None else f"{subject}_ses-{session[1]}"

    def build() -> Case:
        names = chosen.modalities or dict.fromkeys(fed(file.contrast) for file in files)
        images = {name: chosen.image(files, name, case_id) for name in names}
        label = chosen.label(masks, images, case_id)
        about = tables[images[label].dataset]
        row = about.row(*session)
        site = row.get(about.site_column)
        heads = [file.path for file in brains if file.fits(images[label])]
        return Case(
            case_id=case_id,
            subject_id=subject,
            dataset="bids",
            site=None if site is None else str(site),
            images={name: file.path for name, file in images.items()},
            lesions=lesion_files(chosen.lesions(masks, images[label], case_id), case_id, chosen.above, chosen.values),
            label_modality=label,
            brain=one(heads, case=case_id, pattern="brain mask", around=heads) if heads else None,
            meta=row,
        )

    return Lead(case_id, subject, build)


def _tables(images: Mapping[Session, Sequence[BidsFile]], site_column: str) -> dict[Path, About]:
    """What is known of the subjects of each dataset."""
    subjects: dict[Path, set[str]] = {}
    for (subject, _), files in images.items():
        for file in files:
            subjects.setdefault(file.dataset, set()).add(subject)
    tables = {place: About.of(place, site_column) for place in subjects}
    for place, about in tables.items():
        about.check_complete(sorted(subjects[place]))
    return tables


def _annotated(masks: Sequence[BidsFile], asked_for: str) -> list[BidsFile]:
    """The masks without those that strokelab predicted: nothing may be trained on them unless they are asked for."""
    places = {mask.derivative: mask.dataset / "derivatives" / mask.derivative for mask in masks if mask.derivative}
    own = [name for name, place in places.items() if name != asked_for and _is_own(place)]
    if own:
        words = f"predictions are no annotations; left out (data.options.masks_from={own[0]} takes them)"
        warnings.warn(f"{places[own[0]]}: {words}", DataWarning, stacklevel=3)
    return [mask for mask in masks if mask.derivative not in own]


def _is_own(place: Path) -> bool:
    makers = _description(place).get("GeneratedBy")
    return isinstance(makers, list) and any(isinstance(one, dict) and one.get("Name") == "strokelab" for one in makers)


def _is_derivative(root: Path) -> bool:
    return _description(root).get("DatasetType") == "derivative"


def _description(place: Path) -> Mapping[str, object]:
    try:
        found = json.loads((place / "dataset_description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _difference(files: Sequence[BidsFile]) -> str:
    """The setting that takes the first of several images by an entity in which they differ."""
    keys = dict.fromkeys(key for file in files for key in file.entities)
    for key in keys:
        values = [file.entities.get(key) for file in files]
        if len(set(values)) == len(values):
            return f"data.options.prefer={{{key}: {values[0] or 'null'}}}"
    return "rename one of them"
