"""Lesion probability in, binary mask out. Knows one volume; knows no affine, no case and no network.

Every function takes the probability (X, Y, Z) first and its settings by name, returns uint8 0/1 (X, Y, Z) and leaves
its input as it was. ``p >= threshold`` is lesion everywhere in the house but in ``mapping`` and ``tuned``, whose
constants belong to ``p > threshold``; a voxel that is not a number never is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.inference.mapping_components import Constants, DropExtra, Fallback, merge_or_split
from strokelab.inference.tune import HD_MAX, SIZES, THRESHOLDS, Pair, Search, Unit
from strokelab.lesions import Neighbours, drop_small_lesions


def finish(
    postprocess: Callable[..., NDArray[np.uint8]],
    probability: NDArray[Any],
    *,
    voxel_mm3: float,
    classes: NDArray[Any] | None = None,
    lesion_channel: int = 0,
) -> NDArray[np.uint8]:
    """What a post-processing makes of a probability (X, Y, Z), given by name what else it asks for.

    Args:
        postprocess: of this module, or a user's own: the probability alone, and whichever it has of the parameters
            below.
        probability: (X, Y, Z).
        voxel_mm3: volume of a voxel of the grid the probability lies on.
        classes: probabilities of all classes (K, X, Y, Z); None: not known.
        lesion_channel: which of them is the lesion.
    """
    known = {"voxel_mm3": voxel_mm3, "classes": classes, "lesion_channel": lesion_channel}
    asked = inspect.signature(postprocess).parameters
    mask: NDArray[np.uint8] = postprocess(probability, **{name: known[name] for name in known if name in asked})
    return mask


def asks_classes(postprocess: Callable[..., Any]) -> bool:
    """Whether a post-processing looks at all classes, so that their maps must be kept."""
    return "classes" in inspect.signature(postprocess).parameters


@buildable("postprocess", training="callbacks")
def threshold(probability: NDArray[Any], threshold: float = 0.5) -> NDArray[np.uint8]:
    """Voxels (X, Y, Z) whose probability is at least ``threshold``.

    Raises:
        ConfigError: the threshold is outside 0..1.
    """
    return _cut(probability, threshold)


@buildable("postprocess", training="callbacks")
def argmax(
    probability: NDArray[Any], *, classes: NDArray[Any] | None = None, lesion_channel: int = 0
) -> NDArray[np.uint8]:
    """Voxels (X, Y, Z) at which the lesion is the most probable class; of a single map, those of at least one half.

    Among equals the first class wins, and where no class has any probability there is no lesion.

    Args:
        probability: of the lesion (X, Y, Z).
        classes: probabilities of all classes (K, X, Y, Z).
        lesion_channel: which of them is the lesion.

    Raises:
        ConfigError: the classes are not known.
    """
    if classes is None:
        raise ConfigError(
            "postprocess=argmax",
            found="the probability of the lesion alone",
            expected="probabilities of all classes of one model, or of models with the same classes",
            remedy="choose a post-processing of the lesion's probability",
        )
    if len(classes) == 1:
        return _cut(probability, 0.5)
    most_probable = np.argmax(classes, axis=0) == lesion_channel % len(classes)
    return np.asarray(most_probable & (classes[lesion_channel] > 0), dtype=np.uint8)


@buildable("postprocess", training="callbacks")
def small_components(
    probability: NDArray[Any], threshold: float = 0.5, *, min_voxels: int = 10, neighbours: Neighbours = 26
) -> NDArray[np.uint8]:
    """The mask of ``threshold`` without its small connected components.

    Args:
        probability: lesion probability (X, Y, Z).
        threshold: a voxel is lesion from this probability on.
        min_voxels: components with fewer voxels vanish, one of exactly this size stays. The default is the size of
            the smallest lesion of ATLAS v1.2 (10 mm^3) on its 1 mm grid.
        neighbours: 6 (faces), 18 (and edges) or 26 (and corners) make voxels one component.

    Raises:
        ConfigError: the threshold is outside 0..1, or the neighbourhood is none of the three.
    """
    mask = _cut(probability, threshold)
    if neighbours not in (6, 18, 26):
        raise ConfigError(
            "postprocess.neighbours",
            found=str(neighbours),
            expected="6, 18 or 26",
            remedy="set postprocess.neighbours=26",
        )
    return drop_small_lesions(mask, min_voxels, neighbours)


@buildable("postprocess", training="callbacks")
def mapping(
    probability: NDArray[Any],
    *,
    size_limit: float = 3000,
    high_small: float = 0.7,
    high_large: float = 0.55,
    low: float = 0.5,
    relax: float = 0.3,
    max_components: int = 4,
    drop_extra: DropExtra | Literal[False] = "smallest",
    fallback: Fallback = "nearest_max",
    fallback_margin: float = 0.1,
    voxel_mm3: float = 1.0,
) -> NDArray[np.uint8]:
    """MAPPING's post-processing (Huo 2022, arXiv 2211.15486): components are kept, dropped or split by lesion load.

    With little lesion in the scan, what is above ``low`` survives where it peaks above ``high_small``. With much, a
    component with two or more cores above ``high_large`` falls apart into them. Where no voxel is that sure, the mask
    is what comes within ``fallback_margin`` of the maximum: right where every scan has a lesion, as in ATLAS.

    Args:
        probability: lesion probability (X, Y, Z).
        size_limit: mm^3 above ``low`` from which on a scan has much lesion.
        high_small: the level of cores where there is little.
        high_large: the level of cores where there is much.
        low: the level components are cut at.
        relax: that level where cores and components are the same voxels.
        max_components: with more cores than this, and little lesion, one of them goes.
        drop_extra: which: the ``smallest`` (as released), the ``weakest`` of the three smallest (as meant), or, with
            ``off``, none.
        fallback: ``nearest_max``, or ``empty`` where scans without a lesion exist.
        fallback_margin: how far below the maximum; a maximum of no more than this is no lesion.
        voxel_mm3: volume of a voxel, for ``size_limit``.

    Raises:
        ConfigError: levels out of order or range, or an unknown choice.
    """
    constants = Constants(
        size_limit=size_limit,
        high_small=high_small,
        high_large=high_large,
        low=low,
        relax=relax,
        max_components=max_components,
        drop_extra="off" if drop_extra is False else drop_extra,  # what YAML makes of a bare off
        fallback=fallback,
        fallback_margin=fallback_margin,
    )
    return merge_or_split(np.asarray(probability), constants, voxel_mm3=voxel_mm3)


@buildable("postprocess", training="callbacks", most={"min_voxels": 1e9, "min_size_mm3": 1e9})
def tuned(
    probability: NDArray[Any],
    *,
    threshold: float | None = None,
    min_voxels: float | None = None,
    min_size_mm3: float | None = None,
    neighbours: Neighbours = 6,
    thresholds: Sequence[float] = THRESHOLDS,
    sizes: Sequence[float] = SIZES,
    unit: Unit = "voxels",
    hd_max: float = HD_MAX,
    voxel_mm3: float = 1.0,
) -> NDArray[np.uint8]:
    """Voxels (X, Y, Z) above a threshold, without small components: a pair found by a search (SUNet, Clerigues 2019).

    Args:
        probability: lesion probability (X, Y, Z).
        threshold: voxels above it are lesion, one at it is not; None: to be found when a training ends.
        min_voxels: components of fewer voxels vanish, one of exactly this size stays; None: to be found.
        min_size_mm3: the same as a volume; one of the two.
        neighbours: 6 (faces), 18 (and edges) or 26 (and corners) make voxels one component.
        thresholds: those tried by the search, see ``inference.tune.Search``.
        sizes: the smallest components tried by it.
        unit: of ``sizes``: ``voxels`` or ``mm3``.
        hd_max: of its score, voxels.
        voxel_mm3: volume of a voxel, for ``min_size_mm3``.

    Raises:
        ConfigError: the pair is not known, or the threshold is outside 0..1.
    """
    limits = [size for size in (min_voxels, min_size_mm3) if size is not None]
    if threshold is None or len(limits) != 1:
        raise no_pair("postprocess=tuned", f"threshold {threshold}, {min_voxels} voxels, {min_size_mm3} mm^3")
    search = Search((threshold,), tuple(limits), neighbours, unit="voxels" if min_size_mm3 is None else "mm3")
    mask = np.asarray(probability) > search.thresholds[0]
    return drop_small_lesions(mask, search.limits(voxel_mm3)[0], neighbours)


def search_of(node: Mapping[str, Any]) -> Search | None:
    """What a post-processing node lets a search find; None: nothing, it is another one or its pair is given.

    Raises:
        ConfigError: half of a pair is given, or the grid of pairs is none.
    """
    if node.get("_target_") != f"{__name__}.tuned":
        return None
    given = [name for name in ("threshold", "min_voxels", "min_size_mm3") if node.get(name) is not None]
    if len(given) > 1:
        return None
    if given:
        raise no_pair("postprocess", f"{given[0]}={node[given[0]]} and no other half of the pair")
    words = {name: node[name] for name in ("thresholds", "sizes", "neighbours", "unit", "hd_max") if name in node}
    return Search(**words)


def with_pair(node: Mapping[str, Any], search: Search, pair: Pair) -> dict[str, Any]:
    """The node of a post-processing with the pair that its search found."""
    return {**node, "threshold": pair.threshold, search.size: pair.size}


def settled(postprocess: Callable[..., NDArray[np.uint8]]) -> Callable[..., NDArray[np.uint8]]:
    """The same; where its pair is not found yet, the cut at one half that keeps every component.

    For the numbers of validation while a network trains: the search needs the trained one.
    """
    if isinstance(postprocess, partial) and postprocess.func is tuned and _open(postprocess):
        return partial(tuned, threshold=0.5, min_voxels=1)
    return postprocess


def check_settled(postprocess: Callable[..., NDArray[np.uint8]]) -> None:
    """Refuse a post-processing whose pair is not found, before a network computes for it.

    Raises:
        ConfigError: it is such a one.
    """
    if isinstance(postprocess, partial) and postprocess.func is tuned and _open(postprocess):
        raise no_pair("postprocess=tuned", "no pair of threshold and smallest component")


def no_pair(where: Any, found: str) -> ConfigError:
    """The error of a tuned post-processing without its pair."""
    return ConfigError(
        where,
        found=found,
        expected="a pair that a search found on labelled cases, or both given: threshold and min_voxels (or "
        "min_size_mm3)",
        remedy="give the pair: postprocess.threshold=0.5 postprocess.min_voxels=200 (strokelab predict: each by "
        "--postprocess, without its section), or take a run that was trained with postprocess=tuned",
    )


def _open(postprocess: partial[Any]) -> bool:
    return search_of({"_target_": f"{__name__}.tuned", **postprocess.keywords}) is not None


def _cut(probability: NDArray[Any], level: float) -> NDArray[np.uint8]:
    if not 0 <= level <= 1:
        raise ConfigError(
            "postprocess.threshold",
            found=str(level),
            expected="a probability, 0 to 1",
            remedy="set postprocess.threshold=0.5",
        )
    return (np.asarray(probability) >= level).astype(np.uint8)
