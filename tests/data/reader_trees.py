"""Tiny cohorts in the published layouts, written by hand for the reader tests (the phantom writers are independent)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (4, 5, 6)
SISS_TOKENS = ("DWI", "Flair", "T1", "T2")
SPES_TOKENS = ("T1c", "T2", "DWI", "CBF", "CBV", "TTP", "Tmax")


def write(path: Path, voxels=None, *, affine=None, shape=SHAPE, kind=np.float32) -> Path:
    """One NIfTI file; without voxels a ramp, so that no image is constant."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if voxels is None:
        # The path decides the values: no two files hold the same image.
        voxels = np.arange(np.prod(shape)).reshape(shape) + sum(map(ord, str(path))) % 97
    nib.save(nib.Nifti1Image(np.asarray(voxels, dtype=kind), np.eye(4) if affine is None else affine), path)
    return path


def mask(*voxels, shape=SHAPE, value=1):
    """A mask (X, Y, Z) with the given voxels set."""
    array = np.zeros(shape, dtype=np.uint8)
    for voxel in voxels:
        array[voxel] = value
    return array


def strew_dot_files(root: Path) -> None:
    """What a Mac leaves behind: ``._`` twins of every file, hidden folders."""
    for file in [path for path in root.rglob("*") if path.is_file()]:
        file.with_name(f"._{file.name}").write_bytes(b"\x00\x05\x16\x07 no NIfTI")
    hidden = root / ".Trashes"
    hidden.mkdir()
    for file in list(root.rglob("*.nii*"))[:3]:
        (hidden / file.name.removeprefix("._")).write_bytes(b"old")
    (root / ".DS_Store").write_bytes(b"")


def atlas_v1_indi(root: Path, ext: str = ".nii.gz") -> Path:
    """Nine sites, one person each; site 8's person twice; one scan with three masks, one with a singleton axis."""
    for site in range(1, 10):
        person = f"{31767 + site:06d}"
        for visit in ("t01", "t02") if site == 8 else ("t01",):
            scan = root / f"Site{site}" / person / visit
            shape = (*SHAPE, 1) if site == 2 else SHAPE
            write(scan / f"{person}_t1w_deface_stx{ext}", shape=shape)
            masks = {"": mask((0, 0, 0), (0, 0, 1), value=255)}
            if site == 3:
                masks |= {"_1": mask((1, 1, 1)), "_2": mask((0, 0, 1), (2, 2, 2))}
            for number, voxels in masks.items():
                write(scan / f"{person}_LesionSmooth{number}_stx{ext}", voxels, kind=np.uint8)
    write(root / f"standard_mni152{ext}")
    return root


def atlas_v1_icpsr(root: Path, ext: str = ".nii.gz") -> Path:
    """Two cohorts in standard space (one folder doubled by unzipping), one of them in native space, too."""
    for part, cohort, scan in (("1", "c0001", "c0001s0004t01"), ("2", "c0002", "c0002s0001t01")):
        folder = root / "standard_MNI" / f"standard_part{part}" / f"standard_part{part}" / cohort / scan
        write(folder / f"{scan}_t1w_stx{ext}")
        write(folder / f"{scan}_LesionSmooth_stx{ext}", mask((1, 1, 1)), kind=np.uint8)
    write(folder / f"c0002s0001t01_LesionSmooth_1_stx{ext}", mask((2, 2, 2)), kind=np.uint8)
    native = root / "native" / "native_2" / "native_2" / "c0002" / "c0002s0001t01"
    write(native / f"c0002s0001t01{ext}", shape=(3, 3, 3))
    write(native / f"c0002s0001t01_LesionSmooth{ext}", mask((1, 1, 1), shape=(3, 3, 3)), kind=np.uint8)
    write(native / f"c0002s0001t01_LesionSmooth_1{ext}", mask((2, 2, 2), shape=(3, 3, 3)), kind=np.uint8)
    return root


ATLAS_V2 = ("r001s001", "r001s003", "r009s002")  # gaps on purpose
ATLAS_V2_TEST = ("r001s002",)


def atlas_v2(root: Path, ext: str = ".nii.gz", form: str = "indi") -> Path:
    """Two cohorts with masks and one test scan without."""
    for scan in (*ATLAS_V2, *ATLAS_V2_TEST):
        test = scan in ATLAS_V2_TEST
        if form == "indi":
            top = root / ("Testing" if test else "Training") / scan[:4].upper()
        else:
            top = root / ("test" if test else "train") / "derivatives" / "ATLAS"
        stem = f"sub-{scan}_ses-1_space-MNI152NLin2009aSym"
        anat = top / f"sub-{scan}" / "ses-1" / "anat"
        write(anat / f"{stem}_T1w{ext}")
        if not test:
            write(anat / f"{stem}_label-L_desc-T1lesion_mask{ext}", mask((1, 1, 1)), kind=np.uint8)
    write(root / f"MNI152NLin2009aSym{ext}")
    return root


def siss(root: Path, ext: str = ".nii", form: str = "vsd") -> Path:
    """Cases 1, 2 and 10 with labels and test case 1 without; 153 and 154 slices stand as 6 and 7."""
    for part, numbers in (("Training", (1, 2, 10)), ("Testing", (1,))):
        for number in numbers:
            shape = (4, 5, 7) if number == 2 else SHAPE
            top = root / f"SISS2015_{part}" / str(number) if form == "vsd" else root / part.lower() / str(number)
            for index, token in enumerate(SISS_TOKENS):
                stem = f"VSD.Brain.XX.O.MR_{token}.{70613 + 5 * number + index}"
                write(top / stem / f"{stem}{ext}" if form == "vsd" else top / f"{token}{ext}", shape=shape)
            if part == "Training":
                prefix = "VSD.Brain_3more.XX.XX.OT" if number == 2 else "VSD.Brain.XX.O.OT"
                stem = f"{prefix}.{70700 + number}"
                voxels = mask((1, 1, 1), shape=shape)
                write(top / stem / f"{stem}{ext}" if form == "vsd" else top / f"OT{ext}", voxels, kind=np.uint8)
    return root


PENUMBRA, CORE = ((1, 1, 1), (1, 1, 2)), ((2, 2, 2),)


def spes(root: Path, ext: str = ".nii", form: str = "values") -> Path:
    """Cases 1 and Nr2; the label as one file of 0, 1, 2 or as two files with the same content."""
    for folder in ("1", "Nr2"):
        top = root / "SPES2015_Training" / folder
        for index, token in enumerate(SPES_TOKENS):
            stem = f"VSD.Brain.XX.O.MR_{token}.{40000 + index}"
            write(top / stem / f"{stem}{ext}")
        if form == "values":
            stem = f"VSD.Brain.XX.O.OT.{41000}"
            write(top / stem / f"{stem}{ext}", mask(*PENUMBRA) + mask(*CORE, value=2), kind=np.uint8)
        else:
            for number, (kind, voxels) in enumerate((("penumbralabel", PENUMBRA), ("corelabel", CORE))):
                stem = f"VSD.Brain.XX.O.{kind}.{41000 + number}"
                write(top / stem / f"{stem}{ext}", mask(*voxels), kind=np.uint8)
    return root


FLAIR_AFFINE = np.diag([0.5, 0.5, 5.0, 1.0])
ISLES_FLAIR = np.diag([-1.0, 1.2, 7.0, 1.0])  # covers the other images, on a grid of its own


def isles2022(root: Path, ext: str = ".nii.gz", layout: str = "zenodo") -> Path:
    """Cases 1, 2 and 150 (empty mask), FLAIR on a grid of its own."""
    for number in (1, 2, 150):
        name = f"sub-strokecase{number:04d}"
        case = f"{name}_ses-0001"
        for kind in ("dwi", "adc", "flair"):
            if layout == "zenodo":
                folder = root / name / "ses-0001" / ("anat" if kind == "flair" else "dwi")
                file = folder / f"{case}_{kind.upper() if kind == 'flair' else kind}{ext}"
            else:
                file = root / "rawdata" / name / "ses-0001" / f"{case}_{kind}{ext}"
            if kind == "flair":
                write(file, shape=(9, 9, 2), affine=ISLES_FLAIR)
            else:
                write(file, affine=np.diag([-2.0, 2.0, 2.0, 1.0]))
        voxels = mask() if number == 150 else mask((1, 1, 1))
        folder = root / "derivatives" / name / "ses-0001"
        write(folder / f"{case}_msk{ext}", voxels, affine=np.diag([-2.0, 2.0, 2.0, 1.0]), kind=np.uint16)
        (folder / f"{case}_snp.png").write_bytes(b"png")
    return root


def bids(root: Path, ext: str = ".nii.gz") -> Path:
    """Two subjects with T1w and FLAIR, the first scanned twice, masks and other derivatives, a table of subjects."""
    for case in ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"):
        place = Path(*case.split("_"))
        for suffix in ("T1w", "FLAIR"):
            write(root / place / "anat" / f"{case}_{suffix}{ext}")
        write(root / "derivatives" / "masks" / place / "anat" / f"{case}_label-lesion_mask{ext}", mask((1, 1, 1)))
        write(root / "derivatives" / "masks" / place / "anat" / f"{case}_desc-brain_mask{ext}", mask((1, 1, 1)))
        write(root / "sourcedata" / place / "anat" / f"{case}_T1w{ext}")
    rows = ("participant_id\tsite\tage\tgroup", "sub-01\tOslo\t71\tdrug", "sub-02\tLyon\tn/a\tplacebo")
    (root / "participants.tsv").write_text("\n".join(rows))
    return root


def own_folder(root: Path, ext: str = ".nii.gz") -> Path:
    """Two people with T1w and FLAIR (on another grid), one of them labelled, with a table of sites."""
    for case in ("ann", "bob_2"):
        write(root / "images" / f"{case}_T1w{ext}")
        write(root / "images" / f"{case}_FLAIR{ext}", shape=(9, 9, 2), affine=FLAIR_AFFINE)
    write(root / "labels" / f"ann{ext}", mask((1, 1, 1)), kind=np.uint8)
    write(root / "brain" / f"ann{ext}", np.ones(SHAPE), kind=np.uint8)
    (root / "cases.csv").write_text("Case,Site,Subject,Age\nann,Lyon,p1,71\nbob_2,Oslo,p2,58.5\n")
    return root


WRITERS = {
    "atlas_v1": atlas_v1_indi,
    "atlas_v2": atlas_v2,
    "isles2015_siss": siss,
    "isles2015_spes": spes,
    "isles2022": isles2022,
    "bids": bids,
    "folder": own_folder,
}
