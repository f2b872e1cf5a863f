"""SynthStroke, evaluation (spec section 10): cubes of 1 mm by nearest neighbour, marks of the paired test."""

import numpy as np
import pandas as pd
import pytest

from strokelab.callbacks.run_facts import synthetic_ratio
from strokelab.metrics import score_case
from strokelab.report.significance import comparisons


def test_masks_are_compared_on_cubes_of_1_mm():
    """Two voxels of 2 mm become two cubes of 2 x 2 x 2 voxels, 3 and 4 mm apart voxel by voxel."""
    masks = np.zeros((2, 6, 4, 4), bool)
    masks[0, 1, 1, 1] = masks[1, 3, 1, 1] = True
    native, cubes = (score_case(*masks, 2.0, profile) for profile in ("default", "synthstroke"))
    assert (native["assd"], cubes["assd"]) == (4.0, 3.5)
    assert cubes["hd95"] == 4.0
    bigger = masks[0].copy()
    bigger[1:3, 1, 1] = True
    grown = score_case(bigger, masks[0], (2.0, 1.0, 3.0), "synthstroke")
    assert grown["volume_difference"] == 2 * 1 * 3
    same = score_case(*masks, 1.0, "synthstroke")
    assert same == score_case(*masks, 1.0, "default") | {"volume_difference": same["volume_difference"]}


def test_models_are_paired_within_a_modality():
    rows = [
        {"run": f"{model} {name}", "model": f"{model} {name}", "case": f"c{n}", "subject": f"c{n}", "dataset": "d",
         "modality": name, "dice": 0.1 * n / 8 + (0.3 if model == "synth" and name == "T1" else 0.0) * (1 + n / 90)}
        for model in ("base", "synth") for name in ("T1", "T2") for n in range(1, 9)
    ]  # fmt: skip
    found = comparisons(pd.DataFrame(rows), metrics=["dice"]).set_index("modality")
    assert [*found.index] == ["T1", "T2"]
    assert found.loc["T1", "p"] == pytest.approx(2 / 2**8), "all eight differ in one direction"
    assert found.loc["T2", "p"] == 1
    assert found.loc["T1", "p_holm"] == pytest.approx(2 * 2 / 2**8)
    assert list(found["stars"]) == ["*", "ns"]


@pytest.mark.parametrize(
    ("data", "ratio"),
    [
        ({}, "0"),
        ({"sources": {"synthetic": {"_target_": "x"}}, "mixing": {"ratio": [1, 1]}}, "1:1"),
        ({"sources": {"synthetic": {"_target_": "x"}}, "mixing": {"ratio": [3, 1]}}, "1:3"),
        ({"sources": {"synthetic": None}, "mixing": None}, "0"),
    ],
)
def test_boards_know_the_ratio(data, ratio):
    assert synthetic_ratio({"data": data}) == ratio
