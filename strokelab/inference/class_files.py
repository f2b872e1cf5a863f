"""Maps as BIDS files; of all classes one for each, the most probable class, and what its numbers mean.

Knows names and arrays; knows no case and no folder.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import BACKGROUND, LESION, Prediction
from strokelab.errors import DataError
from strokelab.files import write_json, write_text
from strokelab.nifti import stem, write_volume

SEGMENTATION, LABELS = "dseg.nii.gz", "dseg.tsv"
_EACH = "label-{}_probseg.nii.gz"
_SHORT = {BACKGROUND: "BG", LESION: "L"}  # BIDS 1.10's abbreviations; those of tissues are their names


def class_maps(classes: NDArray[np.float32] | None, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Suffix of a file -> its map, of all classes.

    Args:
        classes: probabilities (K, X, Y, Z); None: no maps.
        names: of the K classes; others, or none: they are called ``class0`` and so on, and there is no segmentation.
    """
    if classes is None:
        return {}
    labels = _labels(names)
    if len(labels) != len(classes):
        return {_EACH.format(f"class{k}"): values for k, values in enumerate(classes)}
    each = {_EACH.format(label): values for label, values in zip(labels, classes, strict=True)}
    return {**each, SEGMENTATION: classes.argmax(axis=0).astype(np.uint8)}


def write_maps(
    maps: Mapping[str, NDArray[Any] | None],
    path_of: Callable[[str], Path],
    prediction: Prediction,
    about: Mapping[str, str],
) -> list[Path]:
    """Write maps, each with a JSON beside it where there is something to say; a segmentation with its table.

    Args:
        maps: suffix of a file -> its map (X, Y, Z); None: it is not written.
        path_of: suffix -> file.
        prediction: whose maps these are.
        about: what the JSON says; empty: there is none.

    Returns:
        The files that were written.
    """
    written = []
    for suffix, values in maps.items():
        if values is None:
            continue
        written.append(path_of(suffix))
        write_volume(written[-1], values, prediction.grid)
        if about:
            written.append(sidecar(written[-1]))
            write_json(written[-1], dict(about))
        if suffix == SEGMENTATION:
            written.append(path_of(LABELS))
            _write_labels(written[-1], prediction.class_names)
    return written


def sidecar(path: Path) -> Path:
    """The JSON of a map."""
    return path.with_name(f"{stem(path)}.json")


def _write_labels(path: Path, names: Sequence[str]) -> None:
    """The table of what the numbers of a segmentation mean: index, name, abbreviation."""
    rows = [f"{index}\t{name}\t{_SHORT.get(name, name)}" for index, name in enumerate(_labels(names))]
    write_text(path, "\n".join(["index\tname\tabbreviation", *rows, ""]))


def suffixes_of(path: Path) -> list[str]:
    """The files of classes that a table of ``write_maps`` is about, its own and the segmentation among them.

    Raises:
        DataError: the table is damaged.
    """
    if not path.is_file():
        return []
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
        labels = _labels([row["name"] for row in rows])
    except (OSError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(
            path,
            found=f"a table that cannot be read ({type(error).__name__}: {error})",
            expected="index, name and abbreviation of classes",
            remedy="remove it, and the maps of classes beside it",
        ) from error
    return [*map(_EACH.format, labels), SEGMENTATION, LABELS]


def _labels(names: Sequence[str]) -> list[str]:
    """Names as BIDS has labels, letters and digits; none where they would not be told apart."""
    labels = [re.sub(r"[^A-Za-z0-9]", "", name) for name in names]
    return labels if all(labels) and len({label.lower() for label in labels}) == len(labels) else []
