"""The scans of a data set and the sizes of their lesions, for figures without a run. Reads masks and a few images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from strokelab.configuration import build
from strokelab.contract import Case
from strokelab.evaluation.recipes import composed
from strokelab.lesions import count_lesions
from strokelab.nifti import read_grid, read_lesion
from strokelab.preparation.recipe import Preparation
from strokelab.report.case_overlay import overlay_of
from strokelab.report.cohort_pictures import Scans, examples
from strokelab.view import View


def read_scans(dataset: str, overrides: tuple[str, ...]) -> Scans:
    """All labelled scans of a data set, and the pictures of a few of them.

    Args:
        dataset: of ``conf/data``.
        overrides: settings of ``data``, such as ``data.root=DIR``; ``data=phantom`` takes another data set.

    Raises:
        DataError: the data set cannot be read, or has no labelled scan.
    """
    chosen = [word for word in overrides if word.startswith("data=")] or [f"data={dataset}"]
    node = composed("evaluate", *chosen, *(word for word in overrides if word.startswith("data.")))["data"]
    modalities = node.get("modalities") or ["T1w"]
    plain: View = build(composed("train")["view"])  # of no family: only the cases are looked at
    view = replace(plain, preparation=Preparation(tuple(modalities), normalize="none"))
    datamodule: Any = build({**node, "modalities": list(modalities), "labelled_only": True}, view=view, split=None)
    described = datamodule.describe()
    cases: list[Case] = datamodule.cases
    lesions = pd.DataFrame([_sizes(case) for case in cases])
    by_id = {case.case_id: case for case in cases}
    overlays = [
        overlay_of(label, by_id[name], np.zeros(read_grid(by_id[name].reference_image).shape, dtype=np.uint8))
        for label, name in examples(lesions)
    ]
    return Scans(str(described["dataset"]), bool(described.get("phantom")), tuple(cases), lesions, tuple(overlays))


def _sizes(case: Case) -> dict[str, Any]:
    grid = read_grid(case.reference_image)
    mask = read_lesion(case.lesions, grid, case.reference_image)
    return {
        "case": case.case_id,
        "site": case.site,
        "mm3": int(np.count_nonzero(mask)) * grid.voxel_volume_mm3,
        "lesions": count_lesions(mask),
    }


def place_of(overrides: tuple[str, ...]) -> Path | None:
    """The folder that ``data.root=`` names."""
    roots = [word.partition("=")[2] for word in overrides if word.startswith("data.root=")]
    return Path(roots[-1]).expanduser() if roots else None
