"""One DICOM series to one NIfTI file and its parameters, by dcm2niix; what could identify a subject stays behind."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from strokelab.errors import ConfigError, DataError
from strokelab.exchange.dicom_series import Series, Slice
from strokelab.files import replacing, write_json

KEPT_KEYS = (
    *("Modality", "MagneticFieldStrength", "ImagingFrequency", "Manufacturer", "ManufacturersModelName"),
    *("MRAcquisitionType", "ScanningSequence", "SequenceVariant", "ScanOptions", "SliceThickness"),
    *("SpacingBetweenSlices", "EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "EchoTrainLength"),
    *("PixelBandwidth", "DwellTime", "PhaseEncodingDirection", "PhaseEncodingAxis", "EffectiveEchoSpacing"),
    *("TotalReadoutTime", "ParallelReductionFactorInPlane", "PartialFourier", "PercentPhaseFOV", "PercentSampling"),
    *("ConversionSoftware", "ConversionSoftwareVersion"),
)
"""What is kept of dcm2niix's parameters: acquisition alone, no name, no free text, no date, no number of a device."""
SAME_B = 0.9
"""Share of the highest b value from which on a volume counts as of it: scanners vary it with the direction."""
_LONGEST = 64  # characters of a text
_FREE_TEXT = ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16))  # offset and length of a NIfTI-1 header's texts
_HEADER, _EXTENSION = 348, 352


def convert(series: Series, slices: Sequence[Slice], target: Path, *, mean: bool) -> None:
    """Write a series as ``target`` (.nii.gz) and its parameters as .json beside it.

    Args:
        series: what is converted.
        slices: which of its files.
        target: of the image.
        mean: several volumes (directions of diffusion) become their geometric mean.

    Raises:
        ConfigError: dcm2niix is not installed.
        DataError: dcm2niix makes no volume, or several, of it.
    """
    with tempfile.TemporaryDirectory(prefix="strokelab-dicom-") as folder:
        place = Path(folder)
        (place / "in").mkdir()
        for number, one in enumerate(slices):  # names of files and folders may be those of subjects
            _link(one.path, place / "in" / f"{number:06d}.dcm")
        image = _converted(series, place)
        parameters = _scrubbed(image.with_name("image.json"))
        content = _without_texts(gzip.decompress(image.read_bytes()))
        loaded: Any = nib.Nifti1Image.from_bytes(content)
        _check_shape(series, loaded.shape, mean)
        with replacing(target) as temporary:
            if len(loaded.shape) == 4 and loaded.shape[3] > 1:
                voxels = geometric_mean(_strongest(series, image, np.asarray(loaded.dataobj, dtype=np.float32)))
                header = loaded.header.copy()
                header.set_data_dtype(np.float32)
                content = nib.Nifti1Image(voxels, loaded.affine, header).to_bytes()
            temporary.write_bytes(gzip.compress(content, mtime=0))
    write_json(target.with_name(f"{target.name.removesuffix('.nii.gz')}.json"), parameters)


def geometric_mean(volumes: NDArray[np.float32]) -> NDArray[np.float32]:
    """The geometric mean (X, Y, Z) of volumes (X, Y, Z, N): what scanners call a trace image; 0 where one is 0."""
    logs = np.log(np.maximum(volumes, 1e-6)).mean(axis=3)
    return np.where((volumes <= 0).any(axis=3), 0, np.exp(logs)).astype(np.float32)


def _strongest(series: Series, image: Path, volumes: NDArray[np.float32]) -> NDArray[np.float32]:
    """The volumes (X, Y, Z, N) of the highest b value: all where only its files were converted.

    Raises:
        DataError: neither headers nor dcm2niix say the b values.
    """
    table = image.with_name("image.bval")
    if table.is_file():
        values = np.array([float(word) for word in table.read_text().split()])
        if len(values) == volumes.shape[3]:
            return volumes[..., values >= SAME_B * values.max()]
    if not series.b_values:
        raise DataError(
            series.named(),
            found=f"{volumes.shape[3]} volumes of unknown b values",
            expected="diffusion whose headers say its b values",
            remedy=f"leave it out with --leave-out {series.number}",
        )
    return volumes


def program() -> Path:
    """dcm2niix: of the wheel, else on the PATH.

    Raises:
        ConfigError: it is in neither place.
    """
    try:
        import dcm2niix

        return Path(dcm2niix.bin)
    except ImportError:
        found = shutil.which("dcm2niix")
    if found is None:
        raise ConfigError(
            "strokelab dicom",
            found="dcm2niix is not installed",
            expected="the program that converts DICOM",
            remedy="pip install 'strokelab[dicom]'",
        )
    return Path(found)


def _converted(series: Series, place: Path) -> Path:
    (place / "out").mkdir()
    options = ["-b", "y", "-ba", "y", "-z", "i", "-m", "y", "-w", "1", "-f", "image", "-o", str(place / "out")]
    command = [str(program()), *options, str(place / "in")]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    images = sorted((place / "out").glob("*.nii.gz"))
    if len(images) != 1 or images[0].name != "image.nii.gz":
        said = next((line for line in done.stdout.splitlines() if line.startswith(("Error", "Warning"))), "")
        names = ", ".join(path.name for path in images)
        raise DataError(
            series.named(),
            found=f"dcm2niix makes {names or 'no image'} of it" + (f" ({said})" if said else ""),
            expected="one volume",
            remedy=f"export the series again; or leave it out with --leave-out {series.number}",
        )
    return images[0]


def _check_shape(series: Series, shape: tuple[int, ...], mean: bool) -> None:
    if len(shape) == 3 or (len(shape) == 4 and (mean or shape[3] == 1)):
        return
    raise DataError(
        series.named(),
        found=f"{shape[3] if len(shape) > 3 else 0} volumes (echoes or repetitions)",
        expected="one volume",
        remedy=f"leave it out with --leave-out {series.number}",
    )


def _link(source: Path, link: Path) -> None:
    try:
        os.symlink(source.resolve(), link)
    except OSError:  # a file system without links
        shutil.copyfile(source, link)


def _scrubbed(path: Path) -> dict[str, Any]:
    """The parameters that are kept; those of another form than numbers and short words are not."""
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return {}
    return {key: found[key] for key in KEPT_KEYS if key in found and _plain(found[key])}


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= _LONGEST and all(_plain(item) for item in value)
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _LONGEST)


def _without_texts(content: bytes) -> bytes:
    """A NIfTI-1 file without its free texts and extensions; voxels and all numbers stay as they are."""
    begin = round(float(np.frombuffer(content[108:112], "<f4")[0]))
    if int(np.frombuffer(content[:4], "<i4")[0]) != _HEADER or not _EXTENSION <= begin <= len(content):
        raise DataError(
            "dcm2niix", found="a file of another form", expected="NIfTI-1", remedy="install another version"
        )
    clean = bytearray(content)
    for offset, length in (*_FREE_TEXT, (_HEADER, begin - _HEADER)):
        clean[offset : offset + length] = bytes(length)
    return bytes(clean)
