"""The search for threshold and smallest component in a run folder: written whole, read with distrust.

``tuning.csv`` holds every case at every pair, ``tuning.json`` the pair that was found, of which weights and on what.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from strokelab import __version__
from strokelab.errors import ConfigError, RunError
from strokelab.files import replacing, write_json
from strokelab.foreign_text import as_cell, from_cell, printable
from strokelab.inference.postprocess import no_pair, search_of, with_pair
from strokelab.inference.tune import MEASURES, Found, Pair, Search, best_pair
from strokelab.runs.folder import TUNED, TUNING, read_json

_MOST_BYTES = 256 * 2**20
_SHARES = ("dice", "precision", "recall")


def write_found(folder: Path, found: Found, weights: str) -> None:
    """Write a search and its pair; a kill leaves both or no pair.

    Args:
        folder: of the run, or of what an evaluation found for it.
        found: the search.
        weights: digest of the weights that predicted its cases.
    """
    (folder / TUNED).unlink(missing_ok=True)
    safe = found.table.assign(case=found.table["case"].map(as_cell))
    with replacing(folder / TUNING) as temporary:
        safe.to_csv(temporary, index=False)
    pair, search = found.pair, found.search
    content: dict[str, Any] = {"threshold": pair.threshold, search.size: pair.size, "score": pair.score}
    content |= {"cases": pair.cases, "undefined": pair.undefined, "tested": found.tested, "weights": weights}
    write_json(folder / TUNED, content | {"search": asdict(search), "strokelab": __version__})


def read_pair(folder: Path, search: Search, weights: str = "") -> Pair | None:
    """The pair that this search found in a folder; None: it did not search there.

    Args:
        folder: of a run.
        search: what the pair must have been found by.
        weights: the weights it must have been found with; "": any.

    Raises:
        RunError: the record is damaged.
    """
    content = read_json(folder / TUNED)
    if not content:
        if (folder / TUNED).is_file():
            raise _damaged(folder / TUNED, "no JSON object")
        return None
    if content.get("search") != json.loads(json.dumps(asdict(search))):
        return None
    if weights and content.get("weights") != weights:
        return None
    values = [content.get(key) for key in ("threshold", search.size, "score", "cases", "undefined")]
    if not all(isinstance(value, int | float) and math.isfinite(value) and value >= 0 for value in values):
        raise _damaged(folder / TUNED, f"{values}")
    threshold, size, score, cases, undefined = (value for value in values if value is not None)
    if threshold not in search.thresholds or size not in search.sizes or score > 1:
        raise _damaged(folder / TUNED, f"threshold {threshold}, {search.size} {size}, score {score}")
    return Pair(float(threshold), size, float(score), int(cases), int(undefined))


def read_found(folder: Path, search: Search) -> Found | None:
    """A search in a folder with every case; None: there is none.

    Raises:
        RunError: the record or the table is damaged.
    """
    pair = read_pair(folder, search)
    if pair is None:
        return None
    return Found(search, _table(folder / TUNING, search), pair, read_json(folder / TUNED).get("tested") is not False)


def filled(node: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A post-processing node, with the pair that a run's own search found where one is asked for.

    Args:
        node: of the run's config, or what an evaluation takes in its place.
        folder: of the run.

    Raises:
        RunError: the record of the search is damaged.
        ConfigError: the node is half a pair.
    """
    search = search_of(node)
    pair = read_pair(folder, search) if search else None
    return with_pair(node, search, pair) if search and pair else dict(node)


def filled_of_all(node: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """The same for the mean of several runs: the pair of the highest score over the cases of all their searches.

    Args:
        node: of a post-processing.
        folders: of the searches.

    Raises:
        RunError: a record is damaged.
        ConfigError: a run has no such search.
    """
    search = search_of(node)
    if search is None:
        return dict(node)
    every = {folder: read_found(folder, search) for folder in dict.fromkeys(folders)}
    for folder, found in every.items():
        if found is None:
            raise _without(folder)
    tables = [found.table for found in every.values() if found]
    return with_pair(node, search, best_pair(pd.concat(tables, ignore_index=True), search))


def _without(folder: Path) -> ConfigError:
    return no_pair(folder, f"no search by the settings of postprocess=tuned ({TUNING}), of which the mean takes a pair")


def _table(path: Path, search: Search) -> pd.DataFrame:
    """The rows of ``tuning.csv``: numbers in their ranges, every case at every pair once."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _damaged(path, f"more than {_MOST_BYTES:,} bytes")
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
        table = table[["case", *search.columns]]
        cases = table["case"].map(lambda text: printable(from_cell(text)))
        table = table.drop(columns="case").astype("float64")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}") from error
    measures = table[list(MEASURES)]
    pairs = table[["threshold", search.size]].assign(case=cases)
    right = (
        pairs["threshold"].isin(search.thresholds) & pairs[search.size].isin(search.sizes) & ~pairs.duplicated()
    ).all()
    count = len(search.thresholds) * len(search.sizes)
    if not len(table) or not right or (cases.value_counts() != count).any():
        raise _damaged(path, "pairs that the search does not have, or a case without some of them")
    distances = measures.drop(columns=list(_SHARES))
    if not measures[list(_SHARES)].apply(lambda values: values.between(0, 1)).all(axis=None) or not (
        (distances.isna() | (distances >= 0)) & (distances != math.inf)
    ).all(axis=None):
        raise _damaged(path, "numbers out of range")
    table.insert(0, "case", cases)
    return table


def _damaged(path: Path, found: str) -> RunError:
    return RunError(
        path,
        found=found[:300],
        expected=f"{TUNING} and {TUNED} as a search for threshold and smallest component writes them",
        remedy="copy the run again",
    )
