"""Full-size phantom scans for the benchmarks, written once per folder."""

from __future__ import annotations

from pathlib import Path

from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.phantoms.cohort import write_cohort
from strokelab.preparation.mirror import Mirror
from strokelab.preparation.recipe import Preparation

SGNET = Preparation(("T1w",), crop=(192, 224, None), offset=(2, 5, None))  # conf/view/sgnet.yaml
WHOLE = Preparation(("T1w",), normalize="zscore_brain")
SUNET = Preparation(("FLAIR", "T1", "T2", "DWI"), normalize="zscore_volume", mirror=Mirror(enabled=True))


def full_size_cases(folder: Path) -> list[Case]:
    """Four T1 scans of 197 x 233 x 189 voxels at 1 mm, in the layout of ATLAS v1.2."""
    root = write_cohort("atlas_v1", folder / "cohort", spacing=1.0, sites=2, cases_per_site=2, workers=2)
    return read_cases("atlas_v1", root)


def siss_cases(folder: Path) -> list[Case]:
    """Two scans of four modalities, 230 x 230 x 153 voxels at 1 mm, in the layout of ISLES 2015 SISS."""
    root = write_cohort("isles2015_siss", folder / "siss", spacing=1.0, sites=1, cases_per_site=2, workers=2)
    return read_cases("isles2015_siss", root)
