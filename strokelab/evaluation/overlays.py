"""Which cases a report shows, and their masks: kept while they are predicted, so that none is predicted twice."""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strokelab.contract import Case, Prediction
from strokelab.grid import Orient
from strokelab.nifti import read_lesion, read_voxels
from strokelab.report.material import Overlay

WORST = 3


class KeptMasks:
    """The masks of many cases at a few kilobytes each."""

    def __init__(self) -> None:
        self._masks: dict[str, tuple[tuple[int, ...], bytes]] = {}

    def keep(self, prediction: Prediction) -> None:
        """Remember a case's mask (X, Y, Z)."""
        packed = np.packbits(prediction.mask.astype(bool), axis=None)
        self._masks[prediction.case_id] = (prediction.mask.shape, zlib.compress(packed.tobytes(), level=1))

    def __contains__(self, case_id: str) -> bool:
        return case_id in self._masks

    def mask(self, case_id: str) -> NDArray[np.uint8]:
        """The mask (X, Y, Z) of a case, 0 or 1."""
        shape, content = self._masks[case_id]
        bits = np.frombuffer(zlib.decompress(content), dtype=np.uint8)
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape)


def cases_to_show(cases: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Best, median and the three worst rows of a case table by Dice: (label, run, case), none twice.

    Only scored cases that hold a lesion: the Dice of others is 0 or 1 by convention and shows nothing. Ties go by case
    and run; the median is the lower one; where there are few rows there are fewer labels.
    """
    if not {"dice", "lesion_ml"} <= set(cases.columns):
        return []  # every case failed
    usable = cases[cases["dice"].notna() & (cases["lesion_ml"] > 0)].sort_values(["dice", "case", "run"])
    rows = [(str(run), str(case)) for run, case in zip(usable["run"], usable["case"], strict=True)]
    if not rows:
        return []
    ranks = {"best": len(rows) - 1, "worst": 0, "median": (len(rows) - 1) // 2}  # of two cases none is in the middle
    ranks |= {f"worst {place + 1}": place for place in range(1, min(WORST, len(rows)))}
    first: dict[int, str] = {}
    for label, rank in ranks.items():
        first.setdefault(rank, label)
    order = ["best", "median", "worst"]
    shown = sorted(first.items(), key=lambda pair: (order.index(pair[1].split()[0]), pair[1]))
    return [(label, *rows[rank]) for rank, label in shown]


def overlay_of(label: str, case: Case, mask: NDArray[np.uint8]) -> Overlay:
    """One case for the report, its mask (X, Y, Z) on the grid of its reference image."""
    voxels, grid = read_voxels(case.reference_image)
    reference = read_lesion(case.lesions, grid, case.reference_image)
    orient = Orient(grid)
    shared = int((mask & reference).sum(dtype="int64"))
    total = int(mask.sum(dtype="int64")) + int(reference.sum(dtype="int64"))
    return Overlay(
        label=label,
        case=case.case_id,
        dice=2 * shared / total if total else 1.0,
        image=orient.apply(voxels),
        reference=orient.apply(reference),
        prediction=orient.apply(mask),
        spacing=orient.target.spacing,
    )
