"""ISLES 2015 SISS: sub-acute lesions on FLAIR, T1, T2, DWI (Maier et al. 2017). Knows names, opens no image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from strokelab.contract import Case, LesionFile
from strokelab.data.readers import _isles2015
from strokelab.data.readers._tree import Problems, Release, Subset, lesion_file, pick_modalities

MODALITIES = ("FLAIR", "T1", "T2", "DWI")

RELEASE = Release(
    title="ISLES 2015 SISS",
    layout="Training/1/VSD.Brain.XX.O.MR_Flair.70614/VSD.Brain.XX.O.MR_Flair.70614.nii or training/1/Flair.nii",
    counts={28: "training", 36: "testing", 64: "training and testing"},
)


def looks_like(root: Path) -> bool:
    """Whether numbered folders below ``root`` hold FLAIR images."""
    return _isles2015.has_token(root, {"flair"})


def read(
    root: Path,
    *,
    subset: Subset = "training",
    modalities: Sequence[str] | None = None,
    above: float = 0.5,
    values: Sequence[int] | None = None,
    exclude: Sequence[str] = (),
    problems: Problems | None = None,
) -> list[Case]:
    """The cases of SISS, ids ``siss-1`` ... (``siss-test-1`` ... for the test set), one site ``SISS-1``.

    Args:
        root: any folder above the numbered case folders.
        subset: ``"training"``, ``"testing"`` (no labels) or ``"all"``.
        modalities: some of FLAIR, T1, T2, DWI; None: all four.
        above: share of a label's maximum above which a voxel is lesion.
        values: label values that mean lesion, for labels that hold several; None: the share-of-maximum rule.
        exclude: case ids to leave out.
        problems: collects what is wrong instead of raising it.

    Raises:
        DataError: a case lacks a modality or its ``OT`` label.
    """
    chosen = pick_modalities(modalities, MODALITIES)

    def lesions(scan: _isles2015.Scan, case_id: str) -> tuple[LesionFile, ...]:
        return (lesion_file(_isles2015.label_file(scan, case_id, "ot", "*.OT.*.nii[.gz]"), above, values),)

    return _isles2015.read_scans(
        root,
        dataset="isles2015_siss",
        modalities=chosen,
        label_modality="FLAIR" if "FLAIR" in chosen else chosen[0],  # all four share one grid
        lesions=lesions,
        subset=subset,
        exclude=exclude,
        problems=problems,
    )
