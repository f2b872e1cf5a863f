"""Threshold and smallest component: 72 pairs of one SISS-size map against a loop that makes and measures each mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.measure import Row, interleaved
from strokelab.inference.tune import MEASURES, Search, try_pairs
from strokelab.lesions import drop_small_lesions
from strokelab.metrics import overlap, surface

SHAPE, UNIT = (230, 230, 153), (1.0, 1.0, 1.0)
GOAL = 4.0


def rows(folder: Path, rounds: int) -> list[Row]:
    """One lesion of 27 ml in a map with hundreds of false components; the numbers must be equal."""
    probability, reference = a_case()
    search = Search()
    tried = try_pairs(probability, reference, UNIT, search)
    np.testing.assert_array_equal(
        [[row[name] for name in MEASURES] for row in tried], _one_by_one(probability, reference)
    )
    seconds = interleaved(
        {
            "ours": lambda: try_pairs(probability, reference, UNIT, search),
            "peer": lambda: _one_by_one(probability, reference),
        },
        rounds,
    )
    return [
        Row("72 pairs of threshold and size, 230 x 230 x 153", seconds["ours"], "mask by mask", seconds["peer"], GOAL)
    ]


def a_case() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A probability (X, Y, Z) that is high around a lesion, with smooth noise in the rest of a brain; the lesion."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, length) for length in SHAPE), indexing="ij")
    brain = (x / 0.65) ** 2 + (y / 0.8) ** 2 + (z / 0.8) ** 2 < 1
    noise = gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32), 1.5)
    distance = ((x - 0.3) / 0.15) ** 2 + ((y - 0.1) / 0.2) ** 2 + (z / 0.2) ** 2
    logits = 1.5 * np.clip(1 - distance, -4, 3) + 1.6 * noise / noise.std() - 1
    return (brain / (1 + np.exp(-logits))).astype(np.float32), distance < 1.05


def _one_by_one(probability: NDArray[np.float32], reference: NDArray[np.bool_]) -> list[list[float]]:
    search, found = Search(), []
    for threshold in search.thresholds:
        for size in search.sizes:
            mask = drop_small_lesions(probability > threshold, size, search.neighbours) > 0
            counts = overlap.count(mask, reference)
            values = [overlap.dice(counts), overlap.precision(counts), overlap.recall(counts)]
            for neighbours in (26, 6):
                distances = surface.surface_distances(mask, reference, UNIT, neighbours=neighbours)
                values.append(surface.hausdorff(distances) if mask.any() else np.nan)
            found.append(values)
    return found
