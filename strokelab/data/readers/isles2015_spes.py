"""ISLES 2015 SPES: acute stroke with perfusion maps (Maier et al. 2017). Knows names, opens no image.

The two labels, penumbra and core, come as two files or as the values 1 and 2 of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from strokelab.contract import Case, LesionFile
from strokelab.data.readers import _isles2015
from strokelab.data.readers._tree import Problems, Release, Subset, check_choice, lesion_file, pick_modalities

MODALITIES = ("T1c", "T2", "DWI", "CBF", "CBV", "TTP", "Tmax")
Target = Literal["penumbra", "core", "all"]

RELEASE = Release(
    title="ISLES 2015 SPES",
    layout="Training/1/VSD.Brain.XX.O.MR_Tmax.70614/VSD.Brain.XX.O.MR_Tmax.70614.nii or training/1/Tmax.nii",
    counts={30: "training", 20: "testing", 50: "training and testing"},
)

# Label values of the one-file form, and name parts of the two-file form.
_VALUES: dict[Target, tuple[int, ...]] = {"penumbra": (1,), "core": (2,), "all": (1, 2)}
_PARTS: dict[Target, tuple[str, ...]] = {"penumbra": ("penumbra",), "core": ("core",), "all": ("penumbra", "core")}


def looks_like(root: Path) -> bool:
    """Whether numbered folders below ``root`` hold perfusion maps or T1c images."""
    return _isles2015.has_token(root, {"tmax", "ttp", "t1c"})


def read(
    root: Path,
    *,
    target: Target = "penumbra",
    values: Sequence[int] | None = None,
    subset: Subset = "training",
    modalities: Sequence[str] | None = None,
    above: float = 0.5,
    exclude: Sequence[str] = (),
    problems: Problems | None = None,
) -> list[Case]:
    """The cases of SPES, ids ``spes-1`` ... (``spes-test-1`` ... for the test set), one site ``SPES-1``.

    Args:
        root: any folder above the numbered case folders (``1`` or ``Nr1``).
        target: ``"penumbra"`` (the scored label: the file so named, else ``OT == 1``), ``"core"`` (the file so named,
            else ``OT == 2``) or ``"all"`` (every non-zero voxel of either form).
        values: label values of the ``OT`` file that mean lesion, in place of those of ``target``; other values are
            then background, whatever they are.
        subset: ``"training"``, ``"testing"`` (no labels) or ``"all"``.
        modalities: some of T1c, T2, DWI, CBF, CBV, TTP, Tmax; None: all seven.
        above: share of a label's maximum above which a voxel is lesion (two-file form).
        exclude: case ids to leave out.
        problems: collects what is wrong instead of raising it.

    Raises:
        DataError: a case lacks a modality or its label.
    """
    check_choice("target", target, Target)
    chosen = pick_modalities(modalities, MODALITIES)

    def lesions(scan: _isles2015.Scan, case_id: str) -> tuple[LesionFile, ...]:
        parts = _PARTS[target]
        complete = all(_isles2015.labels_with(scan, part) for part in parts)
        if complete or (scan.labels and not _isles2015.labels_with(scan, "ot")):
            return tuple(
                LesionFile(_isles2015.label_file(scan, case_id, part, f"*{part}label*.nii[.gz]"), above=above)
                for part in parts
            )
        file = _isles2015.label_file(scan, case_id, "ot", "*.OT.*.nii[.gz] (or penumbralabel and corelabel files)")
        if values is not None:
            # A user who names values has seen the file: nothing in it is unexpected any more.
            return (lesion_file(file, 0.5, values),)
        return (LesionFile(file, values=_VALUES[target]),)

    return _isles2015.read_scans(
        root,
        dataset="isles2015_spes",
        modalities=chosen,
        label_modality="T1c" if "T1c" in chosen else chosen[0],  # all seven share one grid
        lesions=lesions,
        subset=subset,
        exclude=exclude,
        problems=problems,
    )
