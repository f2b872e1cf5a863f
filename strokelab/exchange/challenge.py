"""The interface of folders that challenge platforms give a container: scans below ``/input``, masks below ``/output``.

One set of scans at a time, as ``.mha`` files; SimpleITK reads and writes them. What a challenge calls its folders is
plain data (``conf/challenge``).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelab.configuration import conf_folder
from strokelab.contract import Case
from strokelab.errors import ConfigError, DataError
from strokelab.files import make_folder, replacing, write_json
from strokelab.runs import Ensemble, Run, load_ensemble

if TYPE_CHECKING:
    from SimpleITK import Image

GROUP, ENDING = "challenge", ".mha"
RESULTS = "results.json"


@dataclass(frozen=True)
class Challenge:
    """What a challenge gives a container, and where it looks for the mask.

    Args:
        title: of the challenge.
        page: where it is described.
        images: modality -> its folder below ``input/images``.
        mask: folder of the masks below ``output/images``.
        grid: the modality whose grid and file name the mask has.
    """

    title: str
    page: str
    images: Mapping[str, str]
    mask: str
    grid: str

    def to_json(self) -> dict[str, Any]:
        """Plain data of which ``Challenge(**content)`` makes the same again."""
        return asdict(self)

    def wanted(self, trained: Run | Ensemble) -> tuple[str, ...]:
        """The images that a model is given.

        Raises:
            ConfigError: it was trained on images that the challenge does not give.
        """
        wanted = trained.modalities or (self.grid,)  # of any contrast: the image whose grid counts
        lacking = [name for name in wanted if name not in self.images]
        if lacking:
            raise ConfigError(
                trained.name,
                found=f"a model of {', '.join(wanted)}",
                expected=f"one of {', '.join(self.images)}, which {self.title} gives",
                remedy=f"train a run without {', '.join(lacking)}",
            )
        return wanted


def find_challenge(name: str) -> Challenge:
    """A challenge by its file in ``conf/challenge``, or by the path of a yaml file like those.

    Raises:
        ConfigError: there is none, or it lacks an entry.
    """
    import yaml

    own = Path(name)
    path = own if own.suffix in (".yaml", ".yml") else conf_folder() / GROUP / f"{name}.yaml"
    if not path.is_file():
        there = sorted(file.stem for file in (conf_folder() / GROUP).glob("*.yaml"))
        raise ConfigError(
            "challenge",
            found=repr(name),
            expected=f"one of {', '.join(there)}, or a yaml file like theirs",
            remedy=f"choose {there[0]}",
        )
    try:
        return Challenge(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (TypeError, OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            path,
            found=(str(error).splitlines() or [""])[0][:200],
            expected="title, page, images, mask and grid",
            remedy="write it like the files in conf/challenge",
        ) from error


def process(challenge: Challenge, model: Path, inputs: Path, outputs: Path, *, device: str = "") -> list[Path]:
    """Segment what lies in the input folder, and write the masks and ``results.json``.

    Args:
        challenge: whose folders these are.
        model: a packed model, or a run folder.
        inputs: ``/input``.
        outputs: ``/output``.
        device: "" = a GPU where there is one.

    Returns:
        The masks.

    Raises:
        DataError: an image is missing or cannot be read, or several do not say which belong together.
        StrokelabError: the model cannot be loaded, or the scans are none it can segment.
    """
    import torch

    trained = load_ensemble([model], device=device or ("cuda" if torch.cuda.is_available() else "cpu"))
    masks, results = [], []
    for files in _cases(challenge, challenge.wanted(trained), inputs):
        masks.append(_segmented(challenge, trained, files, outputs))
        named = {"type": "Image", "slug": challenge.images[challenge.grid], "filename": files[challenge.grid].name}
        made = {"type": "Image", "slug": challenge.mask, "filename": masks[-1].name}
        results.append({"outputs": [made], "inputs": [named]})
    write_json(outputs / RESULTS, results)
    return masks


def _cases(challenge: Challenge, wanted: tuple[str, ...], inputs: Path) -> list[dict[str, Path]]:
    """The files of each case, that of the grid among them."""
    found = {
        name: sorted((inputs / "images" / challenge.images[name]).glob(f"*{ENDING}"))
        for name in dict.fromkeys((challenge.grid, *wanted))
    }
    for name, files in found.items():
        if not files or (len(files) > 1 and len(found) > 1):
            raise DataError(
                inputs / "images" / challenge.images[name],
                found=f"{len(files)} {ENDING} files",
                expected=f"one, the {name} of the case" if len(found) > 1 else "one or more",
                remedy=f"put the {name} of {'one case' if len(found) > 1 else 'each case'} there",
            )
    return [dict(zip(found, files, strict=True)) for files in zip(*found.values(), strict=True)]


def _segmented(challenge: Challenge, trained: Run | Ensemble, files: Mapping[str, Path], outputs: Path) -> Path:
    """The mask of one case, on the grid of its reference image, under that file's name."""
    import SimpleITK as sitk

    images = {name: _read(path) for name, path in files.items()}
    with tempfile.TemporaryDirectory(prefix="strokelab-case-") as folder:
        paths = {name: Path(folder) / f"{number}.nii" for number, name in enumerate(images)}
        for name, path in paths.items():
            sitk.WriteImage(images[name], os.fspath(path))  # SimpleITK turns its LPS+ into the RAS+ of NIfTI
        case = Case("case", "case", "challenge", None, images=paths, label_modality=challenge.grid)
        try:
            prediction = trained.predict(case)
        except DataError as error:
            given = {str(path): files[name] for name, path in paths.items()}.get(error.where)
            if given is None:
                raise
            words = "look at the image, and export it again"
            raise DataError(given, found=error.found, expected=error.expected, remedy=words) from error
    mask = sitk.GetImageFromArray(prediction.mask.transpose(2, 1, 0))
    mask.CopyInformation(images[challenge.grid])
    place = make_folder(outputs / "images" / challenge.mask) / files[challenge.grid].name
    with replacing(place) as temporary:
        sitk.WriteImage(mask, os.fspath(temporary), True)
    return place


def _read(path: Path) -> Image:
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(os.fspath(path))
    except RuntimeError as error:
        raise DataError(
            path,
            found=(str(error).strip().splitlines() or [""])[-1][:200],
            expected=f"an image in {ENDING} format",
            remedy="export it again",
        ) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise DataError(
            path,
            found=f"{image.GetDimension()} axes, {image.GetNumberOfComponentsPerPixel()} values a voxel",
            expected="a volume of grey values",
            remedy="export one volume",
        )
    return image
