"""What ``predict`` may be given, as a case: a case, files, a folder, or images in memory. Writes nothing that stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib

from strokelab.contract import Case
from strokelab.data.new_scans import find_scans
from strokelab.errors import DataError, RunError
from strokelab.nifti import as_file, is_image

Image = Path | str | nib.spatialimages.SpatialImage
Given = Case | Image | Sequence[Image] | Mapping[str, Image]
"""A case; a file or an image of nibabel; several of them in the order of the run's modalities, or by modality."""


@contextmanager
def given_case(item: Given, modalities: Sequence[str], as_modality: str | None = None) -> Iterator[Case]:
    """One case from whatever names it; see ``Run.predict``. Images in memory lie in files as long as the block runs.

    Args:
        item: as for ``Run.predict``.
        modalities: of the run.
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
    if isinstance(item, Sequence) and item and all(isinstance(part, (str, Path)) for part in item):
        yield _one_case([part for part in item if isinstance(part, (str, Path))], modalities, as_modality)
        return
    with ExitStack() as stack:
        images = {name: _file(part, name, stack) for name, part in _by_modality(item, modalities).items()}
        yield Case("image", "image", "memory", None, images=images, label_modality=modalities[0])


def _one_case(paths: Sequence[str | Path], modalities: Sequence[str], as_modality: str | None) -> Case:
    cases = find_scans(paths, modalities, as_modality=as_modality).cases
    if len(cases) != 1:
        raise RunError(
            ", ".join(map(str, paths)),
            found=f"{len(cases)} cases",
            expected="the files of one case",
            remedy="call predict once per case, or use `strokelab predict` for many",
        )
    return cases[0]


def _by_modality(item: Any, modalities: Sequence[str]) -> Mapping[str, Any]:
    if isinstance(item, Mapping):
        pairs, found = list(item.items()), f"images of {', '.join(map(str, item))}"
    else:
        images = list(item) if isinstance(item, Sequence) else [item]
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


def _file(image: Any, modality: str, stack: ExitStack) -> Path:
    """The file of one modality; an image of nibabel is written for as long as the stack is open."""
    if isinstance(image, (str, Path)):
        return Path(image).expanduser()
    if not is_image(image):
        raise DataError(
            f"predict, {modality}",
            found=f"a {type(image).__name__}",
            expected="a path, an image of nibabel or a Case: something that knows where its voxels lie in the world",
            remedy="give nibabel.Nifti1Image(array, affine)",
        )
    return stack.enter_context(as_file(image, f"image_{modality}"))
