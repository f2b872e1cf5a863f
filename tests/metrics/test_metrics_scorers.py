"""What the public scorers of ATLAS and ISLES'22 return, row by row, and the real case of ISLES'22."""

import os
from pathlib import Path

import numpy as np
import pytest

from strokelab.metrics import score_case, score_row
from strokelab.nifti import read_grid, read_voxels

SHARED = Path(__file__).parents[3] / "shared" / "data" / "isles2022-sample"
SAMPLE = Path(os.environ.get("STROKELAB_ISLES2022_SAMPLE", SHARED))


def volume(*boxes):
    """A 16^3 mask of cubes: ((x, y, z), edge lengths)."""
    mask = np.zeros((16, 16, 16), bool)
    for (x, y, z), (a, b, c) in boxes:
        mask[x : x + a, y : y + b, z : z + c] = True
    return mask


NOTHING = volume()
CUBE = (3, 3, 3)
ONE = volume(((2, 2, 2), CUBE))
THREE = volume(((1, 1, 1), CUBE), ((6, 6, 6), CUBE), ((11, 11, 11), CUBE))
FAR = volume(((10, 10, 10), CUBE))
CORNER = volume(((4, 4, 4), CUBE))
TWO = volume(((2, 2, 2), CUBE), ((2, 2, 8), CUBE))
BRIDGED = TWO | volume(((3, 3, 5), (1, 1, 3)))
FULL = np.ones((16, 16, 16), bool)
VOXEL = volume(((7, 7, 7), (1, 1, 1)))
BY_EDGE = VOXEL | volume(((8, 8, 7), (1, 1, 1)))
BY_CORNER = VOXEL | volume(((8, 8, 8), (1, 1, 1)))

# name, prediction, reference, Dice, volume difference in voxels, then (count difference, lesion F1) of each scorer
ROWS = [
    ("both empty", NOTHING, NOTHING, 1, 0, (0, 1), (0, 1)),
    ("T empty", ONE, NOTHING, 0, 27, (1, 0), (1, 0)),
    ("P empty", NOTHING, ONE, 0, 27, (1, 0), (1, 0)),
    ("three identical", THREE, THREE, 1, 0, (0, 1), (0, 1)),
    ("disjoint", FAR, ONE, 0, 0, (0, 0), (0, 0)),
    ("shared corner voxel", CORNER, ONE, 2 / 54, 0, (0, 1), (0, 1)),
    ("P bridged", BRIDGED, TWO, 108 / 111, 3, (1, 1), (1, 1)),
    ("T bridged", TWO, BRIDGED, 108 / 111, 3, (1, 1), (1, 1)),
    ("P is the grid", FULL, ONE, 54 / 4123, 4069, (0, 1), (0, 1)),
    ("T touches by edge, P one of two", VOXEL, BY_EDGE, 2 / 3, 1, (1, 2 / 3), (0, 1)),
    ("T touches by corner, P one of two", VOXEL, BY_CORNER, 2 / 3, 1, (1, 2 / 3), (0, 1)),
    ("P it and its corner neighbour", BY_CORNER, VOXEL, 2 / 3, 1, (1, 2 / 3), (0, 1)),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
@pytest.mark.parametrize("profile", ["atlas", "isles22", "synthstroke"])
def test_scorers_table(row, profile):
    _, prediction, reference, dice, voxels, atlas, isles = row
    scores = score_case(prediction, reference, (1, 1, 1), profile)
    count, f1 = atlas if profile == "atlas" else isles
    assert scores["dice"] == pytest.approx(dice, abs=1e-6)
    assert scores["volume_difference"] == pytest.approx(voxels / 1000 if profile == "isles22" else voxels, abs=1e-12)
    assert scores["lesion_count_difference"] == count
    assert scores["lesion_f1"] == pytest.approx(f1, abs=1e-6)


@pytest.mark.parametrize(("neighbours", "lesions"), [(26, 1), (6, 5)])
def test_diagonal_chain(neighbours, lesions):
    chain = np.zeros((8, 8, 8), np.uint8)
    chain[range(1, 6), range(1, 6), range(1, 6)] = 1
    row = score_row(chain, chain, 1.0)
    assert row[f"truth_lesions_{neighbours}"] == row[f"lesion_tp_{neighbours}"] == lesions


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the public ISLES'22 sample case is not here")
def test_public_sample_case():
    session = "sub-strokecase0009/ses-0001/sub-strokecase0009_ses-0001"
    mask = SAMPLE / "derivatives" / f"{session}_msk.nii.gz"
    voxels, grid = read_voxels(SAMPLE / "rawdata" / f"{session}_dwi.nii.gz")
    prediction = voxels > np.percentile(voxels[voxels > 0], 99)
    row = score_row(prediction, mask, None, "isles22")
    assert (row["tp"], row["truth_lesions_26"], row["prediction_lesions_26"]) == (203, 18, 105)
    assert (row["lesion_tp_26"], row["lesion_fn_26"], row["lesion_fp_26"]) == (15, 3, 88)
    assert (row["truth_lesions_6"], row["prediction_lesions_6"]) == (21, 202)
    assert (row["lesion_tp_6"], row["lesion_fn_6"], row["lesion_fp_6"]) == (16, 5, 182)
    assert row["dice"] == pytest.approx(0.1738013698630137, abs=1e-9)
    assert row["volume_difference"] == pytest.approx(10.32, abs=1e-6)
    assert row["lesion_count_difference"] == 87
    assert row["lesion_f1"] == pytest.approx(0.24793388429752067, abs=1e-9)
    assert row["voxel_volume_mm3"] == pytest.approx(grid.voxel_volume_mm3)
    assert score_case(prediction, mask, grid.spacing, "atlas")["lesion_f1"] == pytest.approx(0.146119, abs=1e-6)
    assert read_grid(mask).matches(grid)
