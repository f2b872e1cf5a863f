"""Hand-made material for the tests of the report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from strokelab.report.intensities import GreyValues, SitePixels, grey_values
from strokelab.report.material import CASE_COLUMNS, Evaluation, RunMaterial

CONF = Path(__file__).parents[2] / "conf"
ALL_PARTS = frozenset({"standardizer", "adversary", "hemispheres"})


def case_row(case: str, site: str | None, dice: float, **more: object) -> dict[str, object]:
    row = dict.fromkeys(CASE_COLUMNS, 0.5) | {"case": case, "subject": case, "site": site, "dice": dice, "run": "x"}
    return row | {"lesion_ml": 3.0, "prediction_ml": 2.0, "error": None} | more


def case_table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(CASE_COLUMNS))


def grey() -> GreyValues:
    rng = np.random.default_rng(3)
    brain = np.zeros((20, 20), dtype=bool)
    brain[4:16, 4:16] = True
    shifts = {"1": 0.0, "2": 0.5, "3": 1.0}
    pixels = [rng.normal(size=brain.shape) for _ in shifts]
    return grey_values(
        SitePixels(site, z + shift, z * brain, brain) for (site, shift), z in zip(shifts.items(), pixels, strict=True)
    )


def scored_run(
    model: str, dice: Sequence[float], *, name: str = "", seed: int = 0, first: int = 0, **columns: object
) -> RunMaterial:
    """A run on the cases c00, c01 ..: one subject each, site 1; columns given as a value or one value per case."""
    rows = [case_row(f"c{i:02}", "1", value) for i, value in enumerate(dice, start=first)]
    cases = case_table(*rows).assign(**columns)
    return RunMaterial(name or model, model, "phantom", cases, seed=seed)


def evaluation_of(*runs: RunMaterial, **more: object) -> Evaluation:
    return Evaluation("Test", "phantom cohort", runs, **more)


ONLY_DICE = dict.fromkeys(("recall", "precision", "lesion_f1", "hd95", "volume_difference"), np.nan)
"""Leaves one test per pair of models."""
