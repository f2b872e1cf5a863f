"""DICOM files as series: their headers, whether they are whole and can be unpacked. Reads no voxel, writes nothing."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strokelab.data.readers._tree import walk
from strokelab.errors import ConfigError, DataError
from strokelab.files import natural_key

_KEYWORDS = (
    *("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate"),
    *("StudyDate", "StudyTime", "SeriesNumber", "SeriesDescription", "ProtocolName", "SequenceName", "Modality"),
    *("ImageType", "ScanningSequence", "EchoTime", "RepetitionTime", "InversionTime", "ContrastBolusAgent"),
    *("Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient"),
    "DiffusionBValue",
)
_PRIVATE_B = ((0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003))  # Siemens, GE, Philips
_LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"}
_UNPACKED = {
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"),  # not compressed
    *("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"),  # JPEG
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),  # RLE, JPEG-LS
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),  # JPEG 2000
}
"""Transfer syntaxes that the dcm2niix of the wheel unpacks."""
_MOSAIC = (0x0019, 0x100A)  # Siemens: how many slices lie side by side in one image
_GIANT = 1e6  # GE adds multiples of 10^9 to b values
_GAP = 1.5  # of the usual distance of slices: from here on one is missing


@dataclass(frozen=True)
class Slice:
    """One file: what its header says that is not common to its series."""

    path: Path
    position_mm: float | None  # along the normal of its plane; None: a file of many frames, or none is said
    orientation: tuple[float, ...]
    b_value: float | None
    frames: int


@dataclass(frozen=True)
class Series:
    """One series of a study. What identifies a subject stays in ``subject`` and ``study``, and is never written."""

    subject: tuple[str, ...]
    study: tuple[str, ...]  # date, time, UID
    uid: str
    number: int
    description: str
    words: str  # description, protocol and sequence, in lower case
    modality: str
    image_type: tuple[str, ...]
    sequence: tuple[str, ...]
    echo_ms: float | None
    repetition_ms: float | None
    inversion_ms: float | None
    agent: bool
    syntax: str
    slices: tuple[Slice, ...]

    @property
    def b_values(self) -> tuple[float, ...]:
        """The different b values, smallest first; none where headers say none."""
        return tuple(sorted({one.b_value for one in self.slices if one.b_value is not None}))

    @property
    def places(self) -> int:
        """How many slices it shows, repeated ones counted once."""
        known = {round(one.position_mm, 2) for one in self.slices if one.position_mm is not None}
        return len(known) or max(one.frames for one in self.slices)

    @property
    def planes(self) -> int:
        """How many orientations its slices have."""
        return len({one.orientation for one in self.slices if one.orientation})

    @property
    def lossy(self) -> bool:
        """Whether it was compressed with a loss."""
        return self.syntax in _LOSSY

    def from_b(self, least: float) -> tuple[Slice, ...]:
        """The slices from a b value on."""
        return tuple(one for one in self.slices if one.b_value is not None and one.b_value >= least)

    def named(self) -> str:
        """How it is called in messages."""
        return f"series {self.number} ({self.description or 'without a description'})"

    def check(self, slices: Sequence[Slice] | None = None) -> None:
        """Whether it can be unpacked and has all its slices.

        Args:
            slices: those that are wanted; None: all.

        Raises:
            DataError: its transfer syntax is not read, or slices are missing.
        """
        if self.syntax not in _UNPACKED:
            from pydicom.uid import UID

            raise DataError(
                self.named(),
                found=f"the transfer syntax {UID(self.syntax).name} ({self.syntax})",
                expected="images that are not compressed, or as JPEG, JPEG-LS, JPEG 2000 or RLE",
                remedy="export them again as Explicit VR Little Endian, or unpack them (gdcmconv --raw IN OUT)",
            )
        if missing := _missing(self.slices if slices is None else slices):
            raise DataError(
                self.named(),
                found=missing,
                expected="all slices, at equal distances, equally often",
                remedy="export the series again; or leave it out with --leave-out " + str(self.number),
            )


def _missing(slices: Sequence[Slice]) -> str:
    """What is missing among slices, in words; "" where nothing is known to be."""
    known = [one.position_mm for one in slices if one.position_mm is not None]
    if len(known) < 3:
        return ""
    places, counts = np.unique(np.round(known, 2), return_counts=True)
    distances = np.diff(places)
    usual = float(np.median(distances)) if len(distances) else 0.0
    gaps = [index for index, distance in enumerate(distances) if distance > _GAP * usual]
    if gaps:
        where = ", ".join(f"between {places[index]:.1f} and {places[index + 1]:.1f} mm" for index in gaps[:3])
        lost = sum(round(float(distances[index]) / usual) - 1 for index in gaps)
        return f"{len(places)} places with {lost} missing: {where} (slices lie {usual:.2f} mm apart)"
    if counts.min() < counts.max():
        few = [f"{place:.1f}" for place, count in zip(places, counts, strict=True) if count < counts.max()]
        return f"{counts.max()} images at most places, fewer at {', '.join(few[:5])} mm"
    return ""


def series_of(root: Path) -> tuple[list[Series], dict[Path, str]]:
    """The series of a folder at all depths, in natural order of their first files; and files that are none, with why.

    Raises:
        ConfigError: pydicom is not installed.
        DataError: the folder is not there, a file is encrypted, or nothing in it is DICOM.
    """
    left_out: dict[Path, str] = {}
    groups: dict[tuple[str, str], list[tuple[Path, Any]]] = {}
    seen: set[str] = set()
    for path in sorted(walk(root), key=lambda path: natural_key(str(path))):
        header = _header(path)
        if isinstance(header, str):
            left_out[path] = header
        elif not header.get("Rows") or not header.get("SeriesInstanceUID"):
            left_out[path] = "DICOM without an image (a report, a list, a curve)"
        elif str(header.get("SOPInstanceUID", path)) in seen:
            left_out[path] = "a second copy of an image"
        else:
            seen.add(str(header.get("SOPInstanceUID", path)))
            groups.setdefault((_text(header, "StudyInstanceUID"), _text(header, "SeriesInstanceUID")), []).append(
                (path, header)
            )
    if not groups:
        raise DataError(
            root,
            found=f"{len(left_out)} files, none of them a DICOM image",
            expected="a folder of DICOM series",
            remedy="check the path; unpack archives first",
        )
    return [_series(found) for found in groups.values()], left_out


def _header(path: Path) -> Any:
    """The header of a DICOM file; of another file, what it is.

    Raises:
        DataError: it is encrypted.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise ConfigError(
            "strokelab dicom",
            found="pydicom is not installed",
            expected="the packages that read DICOM",
            remedy="pip install 'strokelab[dicom]'",
        ) from error
    with path.open("rb") as file:
        begin = file.read(132)
    if begin[:2] in (b"\x30\x80", b"\x30\x82", b"\x30\x83", b"\x30\x84") or path.suffix.lower() == ".p7m":
        raise DataError(
            path,
            found="an encrypted file (a DICOM file in an envelope of CMS, RFC 5652)",
            expected="DICOM files that are not encrypted",
            remedy="export them again without encryption, or decrypt them with the key of their sender",
        )
    if begin[128:132] != b"DICM":
        return "no DICOM file"
    tags: list[Any] = [*_KEYWORDS, *_PRIVATE_B, _MOSAIC]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that break a rule; what is used is looked at
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    except (
        InvalidDicomError,
        EOFError,
        OSError,
        ValueError,
        AttributeError,
        KeyError,
        struct.error,
        zlib.error,
    ) as error:
        return f"damaged DICOM ({type(error).__name__})"


def _series(files: Sequence[tuple[Path, Any]]) -> Series:
    first = files[0][1]
    texts = [_text(first, key) for key in ("SeriesDescription", "ProtocolName", "SequenceName")]
    return Series(
        subject=tuple(_text(first, key) for key in ("PatientID", "PatientName", "PatientBirthDate")),
        study=tuple(_text(first, key) for key in ("StudyDate", "StudyTime", "StudyInstanceUID")),
        uid=_text(first, "SeriesInstanceUID"),
        number=int(_number(first, "SeriesNumber") or 0),
        description=texts[0],
        words=" ".join(filter(None, texts)).lower(),
        modality=_text(first, "Modality"),
        image_type=tuple(dict.fromkeys(word.upper() for _, header in files for word in _list(header, "ImageType"))),
        sequence=tuple(word.upper() for word in _list(first, "ScanningSequence")),
        echo_ms=_number(first, "EchoTime"),
        repetition_ms=_number(first, "RepetitionTime"),
        inversion_ms=_number(first, "InversionTime"),
        agent=bool(_text(first, "ContrastBolusAgent").strip()),
        syntax=str(first.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")),
        slices=tuple(_slice(path, header) for path, header in files),
    )


def _slice(path: Path, header: Any) -> Slice:
    frames = int(_number(header, "NumberOfFrames") or 1)
    if "MOSAIC" in _list(header, "ImageType"):
        frames = max(int(_as_float(header[_MOSAIC].value) or 0) if _MOSAIC in header else 0, 2)
    axes = [float(value) for value in header.get("ImageOrientationPatient") or ()]
    place = [float(value) for value in header.get("ImagePositionPatient") or ()]
    position = None
    if frames == 1 and len(axes) == 6 and len(place) == 3:
        position = float(np.cross(axes[:3], axes[3:]) @ place)
    orientation = tuple(round(value, 2) + 0.0 for value in axes)
    return Slice(path, position, orientation, _b_value(header), frames)


def _b_value(header: Any) -> float | None:
    """The public one, else that of Siemens, GE or Philips."""
    value = _number(header, "DiffusionBValue")
    for tag in _PRIVATE_B:
        if value is None and tag in header:
            raw = header[tag].value
            raw = next(iter(raw), None) if isinstance(raw, Sequence) and not isinstance(raw, str | bytes) else raw
            value = _as_float(raw.decode("latin-1") if isinstance(raw, bytes) else raw)
    return None if value is None or value < 0 else value % 1e9 if value > _GIANT else value


def _number(header: Any, key: str) -> float | None:
    return _as_float(header.get(key))


def _as_float(value: Any) -> float | None:
    try:
        number = float(str(value).strip().split("\\")[0])
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _text(header: Any, key: str) -> str:
    value = header.get(key)
    return "" if value is None else str(value).strip()


def _list(header: Any, key: str) -> list[str]:
    value = header.get(key)
    if value is None:
        return []
    return [str(value)] if isinstance(value, str) else [str(word) for word in value]
