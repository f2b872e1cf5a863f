"""A model folder of nnU-Net v1, as MAPPING's authors publish them: ``plans.pkl``, ``fold_N/model_*.model``.

Reads; writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strokelab.exchange.axes import along, axes_of
from strokelab.exchange.foreign_files import read_plans, read_weights
from strokelab.exchange.trained_model import TrainedModel, Weights, letters, renamed, unsupported

PLANS = "plans.pkl"
FILES = {"final": "model_final_checkpoint.model", "best": "model_best.model", "latest": "model_latest.model"}
_END = r"(weight|bias)"
_PLAIN = (
    (rf"conv_blocks_context\.(\d+)\.blocks\.(\d+)\.conv\.{_END}", r"encoder.\1.\2.conv.\3"),
    (rf"conv_blocks_context\.(\d+)\.blocks\.(\d+)\.instnorm\.{_END}", r"encoder.\1.\2.norm.\3"),
    (rf"conv_blocks_localization\.(\d+)\.blocks\.(\d+)\.conv\.{_END}", r"decoder.\1.\2.conv.\3"),
    (rf"conv_blocks_localization\.(\d+)\.blocks\.(\d+)\.instnorm\.{_END}", r"decoder.\1.\2.norm.\3"),
    (rf"tu\.(\d+)\.{_END}", r"ups.\1.\2"),
    (rf"seg_outputs\.(\d+)\.{_END}", r"heads.\1.\2"),
)
_RESIDUAL = (
    (rf"encoder\.initial_(conv|norm)\.{_END}", r"stem.\1.\2"),
    (rf"encoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)1\.{_END}", r"encoder.\1.\2.first.\3.\4"),
    (rf"encoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)2\.{_END}", r"encoder.\1.\2.second.\3.\4"),
    (r"encoder\.stages\.(\d+)\.convs\.(\d+)\.downsample_skip\.0\.weight", r"encoder.\1.\2.shortcut.conv.weight"),
    (rf"encoder\.stages\.(\d+)\.convs\.(\d+)\.downsample_skip\.1\.{_END}", r"encoder.\1.\2.shortcut.norm.\3"),
    (rf"decoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)\.{_END}", r"decoder.\1.\2.\3.\4"),
    (rf"decoder\.tus\.(\d+)\.{_END}", r"ups.\1.\2"),
    (rf"decoder\.deep_supervision_outputs\.(\d+)\.{_END}", r"heads.\1.\2"),
)
_TWICE = r".*\.all\.\d+\..*"


def read_model(folder: Path, fold: str, *, checkpoint: str, modalities: Sequence[str] = ()) -> TrainedModel:
    """One fold of a model folder; of plans with two resolutions the full one.

    Args:
        folder: e.g. ``nnUNetTrainerV2__nnUNetPlansv2.1``.
        fold: ``"0"`` ... or ``"all"``.
        checkpoint: ``"final"``, ``"best"`` or ``"latest"``.
        modalities: our names of its channels; empty: those of the plans.

    Raises:
        RunError: a file is missing or not safe to read, or the model is one that we would not predict alike.
    """
    plans = read_plans(folder / PLANS)
    places = (folder / f"fold_{fold}", folder / fold)
    path = next((place for place in places if place.is_dir()), places[0]) / FILES[checkpoint]
    content = read_weights(path)
    try:
        return _model(plans, content, path=path, modalities=modalities)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise unsupported(
            folder, f"{type(error).__name__}: {error}", "plans and checkpoint of one nnU-Net v1 training"
        ) from error


def _model(
    plans: Mapping[str, Any], content: Mapping[str, Any], *, path: Path, modalities: Sequence[str]
) -> TrainedModel:
    folder = path.parents[1]
    if int(plans["num_classes"]) != 1:
        raise unsupported(folder / PLANS, f"{plans['num_classes']} classes beside background", "one: lesion")
    stage = plans["plans_per_stage"][max(plans["plans_per_stage"])]
    if len(stage["patch_size"]) != 3:
        raise unsupported(folder / PLANS, f"patches {list(stage['patch_size'])}", "a 3D configuration")
    axes = axes_of([int(axis) for axis in plans.get("transpose_forward", (0, 1, 2))])
    channels = plans["modalities"]
    weights = {str(name).removeprefix("module."): weight for name, weight in content["state_dict"].items()}
    return TrainedModel(
        version=1,
        checkpoint=path,
        trainer=folder.name.partition("__")[0],
        epochs=int(content["epoch"]),
        modalities=tuple(modalities) or tuple(str(channels[key]) for key in sorted(channels)),
        weights=renamed(_in_one_row(weights), _rules(weights), twice=_TWICE, axes=axes, where=path),
        patch=along([int(side) for side in stage["patch_size"]], axes),
        spacing=along([float(length) for length in stage["current_spacing"]], axes),
        batch_size=int(stage["batch_size"]),
        normalize=_normalize(plans, folder),
        orientation="file",
        mirror=letters("xyz"),
        mean="arithmetic",
        dataset=folder.parent.name,
    )


def _rules(weights: Weights) -> Sequence[tuple[str, str]]:
    """Of the network that names belong to; the residual one lists its finest head apart."""
    if not any(name.startswith("encoder.") for name in weights):
        return _PLAIN
    heads = {name.split(".")[2] for name in weights if name.startswith("decoder.deep_supervision_outputs.")}
    return (*_RESIDUAL, (rf"decoder\.segmentation_output\.{_END}", rf"heads.{len(heads)}.\1"))


def _in_one_row(weights: Weights) -> Weights:
    """The plain network keeps the units of its deepest and of its decoder stages in two rows; here they are in one."""
    pattern = re.compile(r"(conv_blocks_\w+\.\d+)\.([01])\.blocks\.(\d+)\.(.*)")
    found = [match for name in weights if (match := pattern.fullmatch(name))]
    first = {stage: len({m[3] for m in found if m[1] == stage and m[2] == "0"}) for stage in {m[1] for m in found}}

    def name(old: str) -> str:
        match = pattern.fullmatch(old)
        if match is None:
            return old
        unit = int(match[3]) + (first[match[1]] if match[2] == "1" else 0)
        return f"{match[1]}.blocks.{unit}.{match[4]}"

    return {name(old): weight for old, weight in weights.items()}


def _normalize(plans: Mapping[str, Any], folder: Path) -> str:
    schemes = {str(value) for value in plans["normalization_schemes"].values()}
    masked = {bool(value) for value in plans["use_mask_for_norm"].values()}
    if schemes == {"nonCT"} and len(masked) == 1:
        return "zscore_nonzero" if masked.pop() else "zscore_volume"
    raise unsupported(
        folder / PLANS,
        f"normalisation {sorted(schemes)}, masked: {sorted(masked)}",
        "nonCT of all channels alike (z-scores)",
    )
