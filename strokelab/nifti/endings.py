"""File names of volumes: endings that are read, in any case of letters, and formats that are known but not read.

Knows names; opens no file.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelab.errors import DataError

SUFFIXES = (".nii", ".nii.gz", ".img", ".img.gz", ".mgz", ".mgh")
"""Endings of the files that stand for a volume; ``is_volume`` takes them in any case. A pair is its ``.img``."""

WRITTEN = (".nii", ".nii.gz")
"""Endings of the files that are written."""

_ENDING = re.compile(r"\.(nii|img|hdr)(\.gz)?$|\.mg[zh]$", re.IGNORECASE)
_PAIR = re.compile(r"\.(img|hdr)(?=(\.gz)?$)", re.IGNORECASE)


@dataclass(frozen=True)
class Foreign:
    """A format that is not read.

    Args:
        name: of the format.
        remedy: what the user can do with such a file; commands in it can be pasted.
    """

    name: str
    remedy: str


def is_volume(path: Path) -> bool:
    """Whether a file's name ends as a volume does, in any case of letters: ``a.nii``, ``a.NII.GZ``, ``a.mgz``.

    A pair of ``a.img`` and ``a.hdr`` is one volume, that of the ``.img``: False for the ``.hdr``.
    """
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """The file name without the ending of a volume (or of a pair's header), in any case of letters."""
    return _ENDING.sub("", path.name)


def partner(path: Path) -> Path | None:
    """The other file of a pair: ``a.hdr`` of ``a.img`` and the reverse, letters as in ``path``; else None."""
    found = _PAIR.search(path.name)
    if found is None:
        return None
    other = "hdr" if found[1].lower() == "img" else "img"
    other = other.upper() if found[1].isupper() else other
    return path.with_name(f"{path.name[: found.start(1)]}{other}{path.name[found.end(1) :]}")


def foreign_format(path: Path) -> Foreign | None:
    """The format of an image file that is known by its ending but not read; None for every other name."""
    name = path.name.lower()
    known = next((ending for ending in _FOREIGN if name.endswith(ending)), None)
    if known is None:
        return None
    title, convert = _FOREIGN[known]
    return Foreign(title, convert(path))


def python_command(code: str) -> str:
    """A line for the shell that runs Python code."""
    return f"python -c {shlex.quote(code)}"


def with_nibabel(path: Path) -> str:
    """A line for the shell that writes a volume anew as ``.nii.gz`` beside it, by what nibabel makes of its header."""
    code = f"nib.save(nib.Nifti1Image.from_image(nib.load({text(path)})), {beside(path, 'converted')})"
    return python_command(f"import nibabel as nib; {code}")


def mend(path: Path, change: str) -> str:
    """A line for the shell that writes a NIfTI file anew beside it, with a change to the image ``i`` of nibabel's."""
    code = f"i = nib.load({text(path)}); {change}; nib.save(i, {beside(path, 'mended')})"
    return python_command(f"import nibabel as nib; {code}")


def text(path: Path) -> str:
    """A path as Python code in double quotes: the shell's single quotes go around it."""
    return json.dumps(str(path), ensure_ascii=False)


def beside(path: Path, word: str) -> str:
    """As Python code, the name of a ``.nii.gz`` beside a file, e.g. ``"a_mended.nii.gz"``."""
    name = stem(path)
    name = name if name != path.name else path.name.rsplit(".", 1)[0]
    return text(path.with_name(f"{name}_{word}.nii.gz"))


def _with_itk(path: Path) -> str:
    code = f"import SimpleITK as sitk; sitk.WriteImage(sitk.ReadImage({text(path)}), {beside(path, 'converted')})"
    return f"convert it: {python_command(code)} (after: pip install SimpleITK)"


def _by_nibabel(path: Path) -> str:
    return f"convert it: {with_nibabel(path)}"


def _unpack(program: str) -> Callable[[Path], str]:
    def command(path: Path) -> str:
        return f"unpack it: {program} {shlex.quote(str(path))}"

    return command


def _from_dicom(path: Path) -> str:
    folder = shlex.quote(str(path.parent))
    return (
        f"make a BIDS dataset of the series: strokelab dicom {folder} BIDS_OUT; or convert them with dcm2niix "
        f"(https://github.com/rordenlab/dcm2niix): dcm2niix -z y -o {folder} {folder}"
    )


def _without_geometry(path: Path) -> str:
    return "it holds no voxel size and no place: save it as .nii.gz with the affine of its scan (nibabel.Nifti1Image)"


_FOREIGN = {
    ".nrrd": ("NRRD", _with_itk),
    ".nhdr": ("NRRD", _with_itk),
    ".mha": ("MetaImage", _with_itk),
    ".mhd": ("MetaImage", _with_itk),
    ".gipl": ("GIPL", _with_itk),
    ".mnc": ("MINC", _by_nibabel),
    ".brik": ("AFNI", _by_nibabel),
    ".brik.gz": ("AFNI", _by_nibabel),
    ".rec": ("Philips PAR/REC", _by_nibabel),
    ".dcm": ("DICOM", _from_dicom),
    ".ima": ("DICOM", _from_dicom),
    ".nii.bz2": ("NIfTI packed by bzip2", _unpack("bunzip2 --keep")),
    ".nii.xz": ("NIfTI packed by xz", _unpack("unxz --keep")),
    ".nii.zst": ("NIfTI packed by zstd", _unpack("zstd -d")),
    ".npy": ("a NumPy array", _without_geometry),
    ".npz": ("NumPy arrays", _without_geometry),
    ".mat": ("MATLAB", _without_geometry),
    ".tif": ("TIFF", _without_geometry),
    ".tiff": ("TIFF", _without_geometry),
}


def check_new_volumes(files: Sequence[Path], *, overwrite: bool) -> None:
    """Whether volumes can be written: endings of NIfTI, and names that are new.

    Args:
        files: where to.
        overwrite: files that lie there may be replaced.

    Raises:
        DataError: naming the file.
    """
    for file in files:
        if not file.name.lower().endswith(WRITTEN):
            raise DataError(
                file,
                found=f"the ending {file.suffix!r}",
                expected=" or ".join(WRITTEN),
                remedy=f"call it {file.with_suffix('').name}.nii.gz",
            )
        if (file.exists() and not overwrite) or files.count(file) > 1:
            raise DataError(
                file,
                found="a file that lies there, or that was named twice",
                expected="a new file",
                remedy="choose another name; overwrite=True replaces",
            )
