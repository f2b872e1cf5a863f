"""Programs that strip skulls, where they are installed: asked by their command, never imported. Knows processes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import LesionFile
from strokelab.errors import ConfigError, DataError
from strokelab.grid import Grid
from strokelab.nifti import read_union, read_voxels, write_volume


@dataclass(frozen=True)
class _Program:
    """How a program is called.

    Args:
        command: its name on the PATH.
        arguments: behind it; ``{image}``, ``{mask}`` and ``{out}`` are files in a folder of its own.
        masks: where its mask may lie, as patterns; the first that is there counts.
        remedy: how one gets it.
    """

    command: str
    arguments: tuple[str, ...]
    masks: tuple[str, ...]
    remedy: str


PROGRAMS: Mapping[str, _Program] = {
    "synthstrip": _Program(
        "mri_synthstrip",
        ("-i", "{image}", "-m", "{mask}"),
        ("mask.nii.gz",),
        "install FreeSurfer 7.4 or SynthStrip's container, whose command is mri_synthstrip",
    ),
    "hd-bet": _Program(
        "hd-bet",
        ("-i", "{image}", "-o", "{out}", "-device", "cpu", "--disable_tta", "--save_bet_mask", "--no_bet_image"),
        ("out_bet.nii.gz",),
        "install HD-BET 2 in an environment of its own, and put its command hd-bet on the PATH",
    ),
}
"""Name in settings -> program."""
_SECONDS = 1800  # a volume on a slow CPU; a program that hangs must not stop a cohort for ever


def stripped_by(name: str, image: Path, native: Grid) -> NDArray[np.bool_]:
    """The brain (X, Y, Z) that a program finds in an image.

    Args:
        name: of ``PROGRAMS``.
        image: the file.
        native: its grid, which the mask must have.

    Raises:
        ConfigError: the program is not installed.
        DataError: it ends with an error, writes no mask, an empty one, or one on another grid.
    """
    program = PROGRAMS[name]
    command = shutil.which(program.command)
    if command is None:
        raise ConfigError(
            f"brain mask {name}",
            found=f"no command {program.command} on the PATH",
            expected="the program, installed",
            remedy=f"{program.remedy}; or leave the brain mask to auto, or give the case a mask",
        )
    with tempfile.TemporaryDirectory(prefix="strokelab-brain-") as folder:
        place = Path(folder)
        # A copy under a plain name: programs stumble over endings and names, and see a name that identifies no subject.
        voxels, _ = read_voxels(image)
        files = {"image": place / "image.nii.gz", "mask": place / "mask.nii.gz", "out": place / "out.nii.gz"}
        write_volume(files["image"], voxels, native)
        arguments = [word.format(**files) for word in program.arguments]
        said = _run([command, *arguments], name, image)
        masks = [place / pattern for pattern in program.masks if (place / pattern).is_file()]
        if not masks:
            raise _failed(name, image, f"no mask after it ended: {said or 'it said nothing'}")
        mask = read_union((LesionFile(masks[0]),), native, image)
    if not mask.any():
        raise _failed(name, image, "a mask without a single voxel")
    return mask.astype(bool)


def _run(command: list[str], name: str, image: Path) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(name, image, f"{type(error).__name__}: {error}") from error
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    said = lines[-1] if lines else ""
    if done.returncode:
        raise _failed(name, image, f"exit status {done.returncode}: {said or 'it said nothing'}")
    return said


def _failed(name: str, image: Path, found: str) -> DataError:
    return DataError(
        image,
        found=f"{name}: {found}",
        expected="a brain mask on the grid of the image",
        remedy=f"see what {PROGRAMS[name].command} says of this file, or give the case a brain mask",
    )
