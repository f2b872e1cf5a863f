"""SUNet (Clerigues 2019): shared/methods/sunet.md, sections 2, 9, 10 and 13.9-10, number by number."""

import numpy as np
import pandas as pd
import pytest

from strokelab.inference.postprocess import tuned
from strokelab.inference.tune import SIZES, THRESHOLDS, Search, best_pair, try_pairs
from strokelab.metrics.combined import combined_score

TABLE_1 = [
    (0.64, 43.7, 0.3519),
    (0.67, 30.9, 0.3738),
    (0.71, 29.5, 0.3874),
    (0.80, 11.1, 0.4331),
    (0.82, 12.4, 0.4375),
    (0.82, 11.2, 0.4388),
]


@pytest.mark.parametrize(("dice", "hd", "score"), TABLE_1)
def test_the_score_column_of_table_1(dice, hd, score):
    assert combined_score(dice, hd) == pytest.approx(score, abs=1e-4)


def test_the_grid_has_72_pairs():
    assert len(THRESHOLDS) * len(SIZES) == 72
    assert THRESHOLDS == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert SIZES == (1, 10, 50, 100, 200, 300, 500, 1000)


def cube(*places: slice, shape=(40, 40, 40)):
    mask = np.zeros(shape, dtype=np.float32)
    mask[places] = 1
    return mask


def test_the_small_reference_case():
    truth = cube(slice(5, 15), slice(5, 15), slice(5, 15))
    shifted = cube(slice(8, 18), slice(5, 15), slice(5, 15))
    stray = truth.copy()
    stray[30, 30, 30] = 1
    found = [try_pairs(p, truth > 0, (1, 1, 1), Search((0.5,), (1,)))[0] for p in (shifted, stray)]
    assert (found[0]["dice"], found[0]["hd_voxels"]) == (pytest.approx(0.7), 3.0)
    assert (found[1]["dice"], found[1]["hd_voxels"]) == (
        pytest.approx(0.9995, abs=5e-5),
        pytest.approx(27.7128, abs=1e-4),
    )


def test_limits():
    probability = cube(slice(0, 3), slice(0, 1), slice(0, 1), shape=(8, 8, 8)) * np.float32(0.4)
    assert not tuned(probability, threshold=0.4, min_voxels=1).any(), "p == Th is background"
    assert tuned(probability, threshold=0.3, min_voxels=3).sum() == 3, "a component of exactly Smin stays"
    assert not tuned(probability, threshold=0.3, min_voxels=4).any()
    edge = np.zeros((4, 4, 4))
    edge[0, 0, 0] = edge[1, 1, 0] = 1
    assert not tuned(edge, threshold=0.5, min_voxels=2).any(), "two voxels that share an edge are two components"


def test_the_search_returns_the_known_optimum_of_two_cases():
    """Above 0.4 the lesion is whole and the halo gone; a false component of 60 voxels needs a size of 100."""
    cases = []
    for start in (4, 6):
        lesion = (slice(start, start + 6), slice(4, 10), slice(4, 10))  # 216 voxels
        probability = cube(slice(start - 2, start + 8), slice(2, 12), slice(2, 12)) * np.float32(0.35)
        probability[lesion] = 0.45
        probability[30:35, 30:34, 30:33] = 0.95  # 60 voxels, nothing there
        cases.append((probability, cube(*lesion) > 0))
    search = Search()
    table = pd.concat([pd.DataFrame(try_pairs(p, truth, (1, 1, 1), search)) for p, truth in cases])
    found = best_pair(table, search)
    assert (found.threshold, found.size) == (0.4, 100)
    assert (found.score, found.cases, found.undefined) == (0.5, 2, 0)
