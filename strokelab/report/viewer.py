"""The worst cases as small volumes inside the page, to be walked through with mouse, keys or touch.

Knows arrays in RAS+ order; knows no drawing (``viewer.js`` does it). A volume travels as a mosaic of its axial slices,
so that the browser's own decoder unpacks it: the image as lossy WebP, possibly coarser than the scan; the marks (true
and false positives, false negatives) as PNG, voxel by voxel.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from strokelab.report.material import Evaluation, Overlay
from strokelab.report.overlays import head_box, through_largest_lesion, window

MOST_CASES, MOST_PER_MODEL = 6, 3
BYTES = 1_300_000  # of all images together; as text in a page they take a third more
_PIXELS = 8_000_000  # of a mosaic; phones refuse canvases of more than 16 million
_FEW_VOXELS = 50_000  # coarser than this nothing can be seen, whatever the budget says
_QUALITIES = (50, 30)  # of WebP, tried in this order
_LEVEL = 85  # grey levels between two kinds of marks: survives browsers that blur pixels they hand out

Volume = NDArray[np.uint8]


@dataclass(frozen=True)
class Packed:
    """A volume as the page holds it."""

    src: str  # data URI of the mosaic
    shape: tuple[int, ...]  # (X, Y, Z)
    step: tuple[int, ...]  # voxels of the scan per voxel of this volume, 1 where it is exact


@dataclass(frozen=True)
class ViewerCase:
    """One case of the viewer, cropped to the head. Indices are voxels of the RAS+ array, from 0."""

    title: str
    image: Packed
    marks: Packed
    crop: tuple[int, ...]  # (X, Y, Z) of the crop in voxels of the scan
    first: tuple[int, ...]  # index of the crop's first voxel in the whole array
    full: tuple[int, ...]  # shape of the whole array
    spacing: tuple[float, ...]  # mm
    counts: tuple[int, ...]  # voxels of the marks per kind (of ``overlays.KINDS``), which the page's script checks
    places: tuple[tuple[int, ...] | None, ...]  # middle of the largest lesion per kind, in voxels of the crop


def viewer_cases(evaluation: Evaluation) -> list[ViewerCase]:
    """The worst cases of every model that came with overlays, at most three per model and six in all."""
    chosen = worst(evaluation)
    return [
        viewer_case(overlay, f"{run}: {overlay.case}, Dice {overlay.dice:.3f}", most_bytes=BYTES // len(chosen))
        for run, overlay in chosen
    ]


def worst(evaluation: Evaluation) -> list[tuple[str, Overlay]]:
    """(run name, overlay) by model, then by Dice, lowest first; of overlays labelled "worst..." that hold a lesion.

    With more than two models each has fewer, so that none is left out before six are reached.
    """
    found: dict[str, list[tuple[str, Overlay]]] = {}
    for run in evaluation.runs:
        candidates = [o for o in run.overlays if o.label.startswith("worst") and np.any(o.reference)]
        found.setdefault(run.model, []).extend((run.name, overlay) for overlay in candidates)
    found = {model: overlays for model, overlays in found.items() if overlays}
    each = min(MOST_PER_MODEL, max(1, MOST_CASES // max(1, len(found))))
    ranked = [sorted(pairs, key=lambda pair: (pair[1].dice, pair[1].case))[:each] for pairs in found.values()]
    return [pair for pairs in ranked for pair in pairs][:MOST_CASES]


def viewer_case(overlay: Overlay, title: str, *, most_bytes: int) -> ViewerCase:
    """Crop to the head, encode the image within a budget and the marks exactly.

    Args:
        overlay: the case.
        title: in the list of cases.
        most_bytes: of the encoded image; reached by lower quality, then by averaging voxels. Tiny ones may exceed it.
    """
    reference, prediction = overlay.reference != 0, overlay.prediction != 0
    kinds = np.zeros(reference.shape, np.uint8)
    for code, mask in enumerate((reference & prediction, prediction & ~reference, reference & ~prediction), start=1):
        kinds[mask] = code
    image = np.nan_to_num(np.asarray(overlay.image, dtype=np.float32), posinf=0.0, neginf=0.0)
    box = head_box(image, kinds > 0)
    low, high = window(image[box])
    grey = (np.clip((image[box] - low) / (high - low), 0, 1) * 255).astype(np.float32)
    marks, step = _within(kinds[box], overlay.spacing)
    places = [through_largest_lesion(marks == code) if (marks == code).any() else None for code in (1, 2, 3)]
    return ViewerCase(
        title=title,
        image=_packed_image(grey, overlay.spacing, most_bytes),
        marks=Packed(_uri(_stored(_mosaic(marks * _LEVEL), "PNG", optimize=True), "png"), marks.shape, step),
        crop=grey.shape,
        first=tuple(extent.start for extent in box),
        full=reference.shape,
        spacing=tuple(float(mm) for mm in overlay.spacing),
        counts=tuple(int((marks == code).sum()) for code in (1, 2, 3)),
        places=tuple(place and tuple(i * n for i, n in zip(place, step, strict=True)) for place in places),
    )


def as_json(cases: Sequence[ViewerCase]) -> list[dict[str, Any]]:
    """What the page's script reads."""
    return [asdict(case) for case in cases]


def columns_of(slices: int) -> int:
    """Slices per row of a mosaic: as many as make it roughly square. The page's script has the same rule."""
    return math.ceil(math.sqrt(slices))


def _packed_image(grey: NDArray[np.float32], spacing: Sequence[float], most_bytes: int) -> Packed:
    factors = [1, 1, 1]
    while True:
        picture = _averaged(grey, factors)
        for quality in _QUALITIES if picture.size <= _PIXELS else ():
            encoded = _stored(_mosaic(picture), "WEBP", quality=quality, method=2)
            if len(encoded) <= most_bytes or (picture.size <= _FEW_VOXELS and quality == _QUALITIES[-1]):
                return Packed(_uri(encoded, "webp"), picture.shape, tuple(factors))
        _coarsen(factors, spacing)


def _within(kinds: Volume, spacing: Sequence[float]) -> tuple[Volume, tuple[int, ...]]:
    """Marks that fit a mosaic; of a coarser voxel the most telling kind, a miss before a false alarm before a hit."""
    factors = [1, 1, 1]
    while kinds.size / math.prod(factors) > _PIXELS:
        _coarsen(factors, spacing)
    if math.prod(factors) == 1:
        return kinds, (1, 1, 1)
    blocks = _blocks(kinds, factors, 0)
    return np.asarray(blocks.max(axis=(1, 3, 5))), tuple(factors)


def _averaged(grey: NDArray[np.float32], factors: Sequence[int]) -> Volume:
    mean = grey if math.prod(factors) == 1 else _blocks(grey, factors, None).mean(axis=(1, 3, 5))
    return np.asarray(np.rint(mean), dtype=np.uint8)


def _blocks(array: NDArray[Any], factors: Sequence[int], fill: int | None) -> NDArray[Any]:
    """(X, Y, Z) as (X', fx, Y', fy, Z', fz), padded at the far ends."""
    padding = [(0, -size % factor) for size, factor in zip(array.shape, factors, strict=True)]
    padded = np.pad(array, padding, mode="edge") if fill is None else np.pad(array, padding, constant_values=fill)
    sizes = [n for size, factor in zip(padded.shape, factors, strict=True) for n in (size // factor, factor)]
    return padded.reshape(sizes)


def _coarsen(factors: list[int], spacing: Sequence[float]) -> None:
    """Double the factor of the axis with the finest voxels: thick slices stay as they are."""
    finest = int(np.argmin([factor * float(mm) for factor, mm in zip(factors, spacing, strict=True)]))
    factors[finest] *= 2


def _mosaic(volume: Volume) -> Volume:
    """Axial slices side by side: voxel (x, y, z) lies in row (z // columns) * Y + y, column (z % columns) * X + x."""
    columns = columns_of(volume.shape[2])
    rows = math.ceil(volume.shape[2] / columns)
    width, height, depth = volume.shape
    padded = np.zeros((rows * columns, height, width), np.uint8)
    padded[:depth] = volume.transpose(2, 1, 0)
    tiles = padded.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(tiles.reshape(rows * height, columns * width))


def _stored(mosaic: Volume, kind: str, **options: Any) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(mosaic).save(stored, format=kind, **options)
    return stored.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
