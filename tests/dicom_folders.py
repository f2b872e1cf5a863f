"""DICOM series as a scanner writes them, small, with names in every place where scanners put them."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

NAME, ID, BIRTH, PLACE = "Doe^Jane", "MRN-4711", "19501224", "St Nowhere Hospital"
SECRETS = ("Doe", "Jane", "4711", "19501224", "Nowhere", "20240131", "Referrer", "SN-0815")
SIZE = 16


def write_series(
    folder: Path,
    number: int,
    description: str,
    *,
    slices: int = 6,
    without: tuple[int, ...] = (),
    b_values: tuple[float, ...] = (0,),
    directions: int = 1,
    syntax: str = ExplicitVRLittleEndian,
    patient: str = ID,
    study: str = "1.2.3.1",
    **tags,
) -> Path:
    """Axial slices of 4 mm; voxel values are 100 + b + 10 direction + slice, 50 more in front.

    ``without``: running numbers, from 1, of images that are not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    uid = generate_uid(entropy_srcs=[study, str(number), patient])
    place = 0
    for b in b_values:
        for direction in range(directions if b else 1):
            for z in range(slices):
                place += 1
                if place in without:
                    continue
                header = _common(number, description, patient, study, uid)
                header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid(
                    entropy_srcs=[uid, str(place)]
                )
                header.file_meta.TransferSyntaxUID = syntax
                header.InstanceNumber = place
                header.ImagePositionPatient = [-16.0, -16.0, 4.0 * z]
                header.SliceLocation = 4.0 * z
                if b_values != (0,):
                    header.DiffusionBValue = float(b)
                for key, value in tags.items():
                    setattr(header, key, value)
                voxels = np.full((SIZE, SIZE), 100 + b + 10 * direction + z, np.uint16)
                voxels[: SIZE // 2] += 50
                header.PixelData = encapsulate([voxels.tobytes()]) if UID(syntax).is_encapsulated else voxels.tobytes()
                header["PixelData"].VR = "OB" if UID(syntax).is_encapsulated else "OW"
                header.save_as(folder / f"{NAME}_{number}_{place:04d}.dcm", enforce_file_format=True)
    return folder


def _common(number: int, description: str, patient: str, study: str, uid: str) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    header = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID = MRImageStorage
    header.PatientName, header.PatientID, header.PatientBirthDate = NAME, patient, BIRTH
    header.InstitutionName, header.ReferringPhysicianName = PLACE, "Referrer^Joe"
    header.DeviceSerialNumber, header.StationName = "SN-0815", "Nowhere1"
    header.PatientComments = header.ImageComments = f"{NAME} of {PLACE}"
    header.StudyDate = header.SeriesDate = header.AcquisitionDate = header.ContentDate = "20240131"
    header.StudyTime = header.AcquisitionTime = header.ContentTime = "101500"
    header.StudyInstanceUID, header.SeriesInstanceUID = study, uid
    header.FrameOfReferenceUID = "1.2.3.9"
    header.SeriesNumber, header.SeriesDescription = number, description
    header.ProtocolName = f"{description} for {NAME}"
    header.Modality, header.Manufacturer, header.ManufacturerModelName = "MR", "GE MEDICAL SYSTEMS", "Signa"
    header.MagneticFieldStrength = 1.5
    header.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    header.ScanningSequence, header.SequenceVariant, header.MRAcquisitionType = "SE", "SK", "2D"
    header.RepetitionTime, header.EchoTime, header.FlipAngle = 500.0, 12.0, 90.0
    header.SliceThickness = header.SpacingBetweenSlices = 4.0
    header.AcquisitionNumber = 1
    header.ImageOrientationPatient = [1.0, 0, 0, 0, 1.0, 0]
    header.PixelSpacing = [2.0, 2.0]
    header.Rows = header.Columns = SIZE
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 0
    return header
