"""What ``predict`` may be given, as a case: a case, files, a folder, or images in memory. Writes nothing that stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib

from strokelab.contract import Case
from strokelab.data.any_scans import IMAGE, find_any_scans
from strokelab.data.new_scans import NewScans, find_scans
from strokelab.errors import ConfigError, DataError, RunError
from strokelab.nifti import as_file, as_image, is_image, is_pair

Image = Path | str | nib.spatialimages.SpatialImage | tuple[Any, Any]
IN_MEMORY = "memory"
"""The dataset of a case whose images lie in no file of the user's."""
Given = Case | Image | Sequence[Image] | Mapping[str, Image]
"""A case; a file, an image of nibabel, or (array, affine); several of them in the order of the run's modalities, or by
modality."""


@contextmanager
def given_case(item: Given, modalities: Sequence[str] | None, as_modality: str | None = None) -> Iterator[Case]:
    """One case from whatever names it; see ``Run.predict``. Images in memory lie in files as long as the block runs.

    Args:
        item: as for ``Run.predict``.
        modalities: of the run; None: it takes any contrast.
        as_modality: as for ``Run.predict``.

    Raises:
        DataError: the files are not readable, masks, or of another contrast.
        RunError: they are not exactly one case with these modalities.
    """
    if isinstance(item, Case):
        yield item
        return
    if isinstance(item, (str, Path)):
        yield _one_case([item], modalities, as_modality)
        return
    if (
        isinstance(item, Sequence)
        and not is_pair(item)
        and item
        and all(isinstance(part, (str, Path)) for part in item)
    ):
        yield _one_case([part for part in item if isinstance(part, (str, Path))], modalities, as_modality)
        return
    with ExitStack() as stack:
        images = {name: _file(part, name, stack) for name, part in _by_modality(item, modalities).items()}
        yield Case("image", "image", IN_MEMORY, None, images=images, label_modality=next(iter(images)))


def image_of(item: Given, case: Case) -> Any:
    """The image on whose grid a prediction of ``item`` ends, as it was given: a path, or an image of nibabel."""
    if case.dataset != IN_MEMORY:
        return case.reference_image
    first: Any = item
    if isinstance(item, Mapping):
        first = item[case.reference_modality]
    elif isinstance(item, Sequence) and not is_pair(item):
        first = item[0]
    return as_image(first)


def scans_of(
    paths: Sequence[str | Path], modalities: Sequence[str] | None, as_modality: str | None = None, *, grid: str = ""
) -> NewScans:
    """The cases among files and folders.

    Args:
        paths: as for ``find_scans``.
        modalities: of the run; None: it takes any contrast.
        as_modality: as for ``find_scans``.
        grid: the modality on whose grid predictions end; "": the first.

    Raises:
        DataError: as ``find_scans``.
        ConfigError: ``as_modality`` is not the modality of the run, or of a run of any contrast.
    """
    if modalities is not None:
        return find_scans(paths, modalities, label_modality=grid, as_modality=as_modality)
    if as_modality is not None:
        raise ConfigError(
            "--as",
            found=f"{as_modality!r} for a run of any contrast",
            expected="a run of one modality",
            remedy="leave it out",
        )
    return find_any_scans(paths)


def with_brain(found: NewScans, brain: Path | None) -> NewScans:
    """New scans with the brain mask that was named for the one there is; as they are where none was.

    Raises:
        DataError: there are several cases, or no such file.
    """
    if brain is None:
        return found
    if len(found.cases) != 1 or not brain.is_file():
        raise DataError(
            brain,
            found=f"a brain mask for {len(found.cases)} scans" if brain.is_file() else "nothing",
            expected="a brain mask file, and one scan that it belongs to",
            remedy="name one scan; of many, call their masks <scan>_desc-brain_mask.nii.gz beside them",
        )
    return replace(found, cases=[replace(found.cases[0], brain=brain)])


def _one_case(paths: Sequence[str | Path], modalities: Sequence[str] | None, as_modality: str | None) -> Case:
    cases = scans_of(paths, modalities, as_modality).cases
    if len(cases) != 1:
        raise RunError(
            ", ".join(map(str, paths)),
            found=f"{len(cases)} cases",
            expected="the files of one case",
            remedy="call predict once per case, or use `strokelab predict` for many",
        )
    return cases[0]


def _by_modality(item: Any, modalities: Sequence[str] | None) -> Mapping[str, Any]:
    if modalities is None:
        return _any_contrast(item)
    if isinstance(item, Mapping):
        pairs, found = list(item.items()), f"images of {', '.join(map(str, item))}"
    else:
        images = _each(item)
        pairs, found = list(zip(modalities, images, strict=False)), f"{len(images)} image(s)"
        pairs += [("", image) for image in images[len(modalities) :]]
    if sorted(name for name, _ in pairs) != sorted(modalities):
        raise RunError(
            "predict",
            found=found,
            expected=f"one image of each of {', '.join(modalities)}",
            remedy="give a mapping such as {" + ", ".join(f"{name!r}: image" for name in modalities) + "}",
        )
    return {name: dict(pairs)[name] for name in modalities}


def _any_contrast(item: Any) -> Mapping[str, Any]:
    """Images by modality, or numbered where several have none: ``image1``, ``image2``."""
    if isinstance(item, Mapping) and item:
        return {str(name): image for name, image in item.items()}
    images = _each(item)
    if isinstance(item, Mapping) or not images:
        raise RunError("predict", found="no image", expected="one image or more", remedy="give a file or an image")
    return {IMAGE if len(images) == 1 else f"{IMAGE}{n}": image for n, image in enumerate(images, start=1)}


def _each(item: Any) -> list[Any]:
    return list(item) if isinstance(item, Sequence) and not is_pair(item) else [item]


def _file(image: Any, modality: str, stack: ExitStack) -> Path:
    """The file of one modality; an image of nibabel is written for as long as the stack is open."""
    if isinstance(image, (str, Path)):
        return Path(image).expanduser()
    image = as_image(image)
    if not is_image(image):
        raise DataError(
            f"predict, {modality}",
            found=f"a {type(image).__name__}",
            expected="a path, an image of nibabel, (array, affine) or a Case: voxels with their place in the world",
            remedy="give (array, affine), or nibabel.Nifti1Image(array, affine)",
        )
    return stack.enter_context(as_file(image, f"image_{modality}"))
