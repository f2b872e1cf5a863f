"""The full set of metrics of one 197 x 233 x 189 case at 1 mm: ours against MONAI and surface-distance with labels.

Ours is a whole row of the case table, counts under 6 and 26 neighbours included. The peers give Dice, HD, HD95 and
ASSD through their public functions, and lesions through one labelling of each mask by SciPy (26 neighbours, hits by
distinct labels, no loop). Values are compared before anything is timed; one thread each.
"""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.measure import Row, interleaved
from strokelab.lesions import count_lesions
from strokelab.metrics import score_row

GOAL = 10.0
_PEERS = {"monai": "monai", "surface-distance": "surface_distance"}
SHAPE = (197, 233, 189)
SPACING = (1.0, 1.0, 1.0)
Mask = NDArray[np.bool_]
_DISTANCES = ("hd", "hd95", "assd")
_LESIONS = ("truth_lesions_26", "prediction_lesions_26", "lesion_tp_26", "lesion_fp_26")


def rows(folder: Path, rounds: int) -> list[Row]:
    """Four pairs of masks; ``folder`` is not needed, they are drawn in memory."""
    import torch

    missing = [name for name, module in _PEERS.items() if find_spec(module) is None]
    if missing:
        raise SystemExit(f"{' and '.join(missing)} not installed: pip install -c constraints.txt -e '.[bench]'")
    torch.set_num_threads(1)
    lines = []
    for name, prediction, reference in pairs():
        work = f"metrics: {name}"
        for peer, profile, scores, tolerance, goal in (
            (f"MONAI {metadata.version('monai')}", "default", by_monai, 1e-5, GOAL),  # it computes in float32
            (f"surface-distance {metadata.version('surface-distance')}", "tomita", by_surface_distance, 1e-9, None),
        ):
            note = _described(prediction, reference, profile)
            _agree(score_row(prediction, reference, SPACING, profile), scores(prediction, reference), tolerance)
            seconds = interleaved(
                {
                    "ours": _call(score_row, prediction, reference, SPACING, profile),
                    "peer": _call(scores, prediction, reference),
                },
                rounds,
            )
            lines.append(Row(work, seconds["ours"], f"{peer} + labels", seconds["peer"], goal, note=note))
    return lines


def pairs() -> Iterator[tuple[str, Mask, Mask]]:
    """Name, prediction, reference (X, Y, Z)."""
    brain = _ellipsoid((98, 116, 94), (70, 90, 67))
    three = _ellipsoid((70, 120, 95), (12,) * 3) | _ellipsoid((130, 90, 110), (7,) * 3)
    three |= _ellipsoid((95, 160, 80), (4,) * 3)
    yield "three lesions", np.roll(three, (1, -2, 1), (0, 1, 2)), three
    large = ndimage.gaussian_filter((_ellipsoid((120, 120, 95), (45,) * 3) & brain).astype(np.float32), 3)
    shared, own = _noise(1, width=4), _noise(2, width=4)
    reference = _largest(large + 0.3 * shared, brain, voxels=300_000)
    yield "300 ml", _largest(large + 0.21 * (shared + own), brain, voxels=300_000), reference
    shared, own = _noise(3, width=2), _noise(4, width=2)
    reference = _largest(shared, brain, voxels=20_000)
    yield "hundreds of lesions", _largest(0.8 * shared + 0.6 * own, brain, voxels=25_000), reference
    yield "the whole brain against one lesion", brain, _ellipsoid((95, 160, 80), (6,) * 3)


def by_monai(prediction: Mask, reference: Mask) -> dict[str, float]:
    """Dice, distances and lesions of two masks (X, Y, Z)."""
    import torch
    from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance

    masks = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    how: dict[str, Any] = {"include_background": True, "spacing": SPACING}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of an argument that MONAI itself hands on
        values = {
            "dice": compute_dice(*masks, include_background=True),
            "hd": compute_hausdorff_distance(*masks, **how),
            "hd95": compute_hausdorff_distance(*masks, percentile=95, **how),
            "assd": compute_average_surface_distance(*masks, symmetric=True, **how),
        }
    return {name: value.item() for name, value in values.items()} | _lesions(prediction, reference)


def by_surface_distance(prediction: Mask, reference: Mask) -> dict[str, float]:
    """The same with distances between surface elements, weighted by area."""
    import surface_distance as library

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its imports from SciPy
        distances = library.compute_surface_distances(reference, prediction, SPACING)
    return {
        "dice": library.compute_dice_coefficient(reference, prediction),
        "hd": library.compute_robust_hausdorff(distances, 100),
        "hd95": library.compute_robust_hausdorff(distances, 95),
        "assd": sum(library.compute_average_surface_distance(distances)) / 2,
    } | _lesions(prediction, reference)


def _lesions(prediction: Mask, reference: Mask) -> dict[str, float]:
    true, count = ndimage.label(reference, np.ones((3, 3, 3)))
    found, number = ndimage.label(prediction, np.ones((3, 3, 3)))
    hits, touched = (np.count_nonzero(np.unique(labels)) for labels in (true[prediction], found[reference]))
    return dict(zip(_LESIONS, (count, number, hits, number - touched), strict=True))


def _agree(ours: dict[str, Any], theirs: dict[str, float], tolerance: float) -> None:
    for name in ("dice", *_DISTANCES):
        np.testing.assert_allclose(theirs[name], ours[name], rtol=tolerance, err_msg=name)
    for name in _LESIONS:
        assert theirs[name] == ours[name], name


def _described(prediction: Mask, reference: Mask, profile: str) -> str:
    tracemalloc.start()
    score_row(prediction, reference, SPACING, profile)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    voxels, lesions = (
        " / ".join(f"{function(mask):,}" for mask in (prediction, reference))
        for function in (np.count_nonzero, count_lesions)
    )
    peak_times = peak / (prediction.nbytes + reference.nbytes)
    return f"{voxels} voxels, {lesions} lesions; our peak memory {peak_times:.1f}x that of the masks, beside them"


def _call(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def _ellipsoid(centre: tuple[int, int, int], radii: tuple[int, ...]) -> Mask:
    axes = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    return np.asarray(sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True)) < 1)


def _noise(seed: int, *, width: float) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal(SHAPE, dtype=np.float32)
    smooth = ndimage.gaussian_filter(drawn, width)
    return np.asarray(smooth / smooth.std())


def _largest(field: NDArray[np.float32], inside: Mask, *, voxels: int) -> Mask:
    return np.asarray(inside & (field >= np.partition(field[inside], -voxels)[-voxels]))
