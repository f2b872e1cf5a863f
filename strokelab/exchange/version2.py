"""A model folder of nnU-Net v2: ``plans.json``, ``dataset.json``, ``fold_N/checkpoint_*.pth``.

Reads; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from strokelab.exchange.axes import Axes, along, axes_of
from strokelab.exchange.foreign_files import read_json, read_weights
from strokelab.exchange.trained_model import TrainedModel, letters, renamed, unsupported

PLANS = "plans.json"
_LAYER = r"(conv|norm)\.(weight|bias)"
_RULES = (
    (rf"encoder\.stages\.(\d+)\.0\.convs\.(\d+)\.{_LAYER}", r"encoder.\1.\2.\3.\4"),
    (rf"encoder\.stem\.convs\.0\.{_LAYER}", r"stem.\1.\2"),
    (rf"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv1\.{_LAYER}", r"encoder.\1.\2.first.\3.\4"),
    (rf"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv2\.{_LAYER}", r"encoder.\1.\2.second.\3.\4"),
    (rf"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.(\d+)\.{_LAYER}", r"encoder.\1.\2.shortcut.\3.\4.\5"),
    (rf"decoder\.stages\.(\d+)\.convs\.(\d+)\.{_LAYER}", r"decoder.\1.\2.\3.\4"),
    (r"decoder\.transpconvs\.(\d+)\.(weight|bias)", r"ups.\1.\2"),
    (r"decoder\.seg_layers\.(\d+)\.(weight|bias)", r"heads.\1.\2"),
)
_TWICE = r"decoder\.encoder\..*|.*\.all_modules\..*"
_READERS: Mapping[str, Literal["RAS", "file"]] = {
    "SimpleITKIO": "file",
    "NibabelIO": "file",
    "NibabelIOWithReorient": "RAS",
}


def read_model(folder: Path, fold: str, *, checkpoint: str, modalities: Sequence[str] = ()) -> TrainedModel:
    """One fold of a model folder.

    Args:
        folder: e.g. ``nnUNetTrainer__nnUNetPlans__3d_fullres``.
        fold: ``"0"`` ... or ``"all"``.
        checkpoint: ``"final"``, ``"best"`` or ``"latest"``.
        modalities: our names of its channels; empty: those of ``dataset.json``.

    Raises:
        RunError: a file is missing or not safe to read, or the model is one that we would not predict alike.
    """
    plans, dataset = read_json(folder / PLANS), read_json(folder / "dataset.json")
    path = folder / f"fold_{fold}" / f"checkpoint_{checkpoint}.pth"
    content = read_weights(path)
    try:
        return _model(plans, dataset, content, path=path, modalities=modalities)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise unsupported(
            folder, f"{type(error).__name__}: {error}", "plans, dataset.json and checkpoint of one nnU-Net v2 training"
        ) from error


def _model(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    content: Mapping[str, Any],
    *,
    path: Path,
    modalities: Sequence[str],
) -> TrainedModel:
    folder = path.parents[1]
    name = str(content["init_args"]["configuration"])
    configuration = _configuration(plans, name, folder)
    _check_labels(dataset["labels"], folder)
    _check_configuration(configuration, name, folder)
    reader = str(plans["image_reader_writer"])
    if reader not in _READERS:
        raise unsupported(folder / PLANS, f"images read by {reader}", f"NIfTI, by one of {', '.join(_READERS)}")
    axes = axes_of(plans["transpose_forward"])
    weights = renamed(content["network_weights"], _RULES, twice=_TWICE, axes=axes, where=path)
    channels = dataset.get("channel_names") or dataset["modality"]
    return TrainedModel(
        version=2,
        checkpoint=path,
        trainer=str(content.get("trainer_name", "")),
        epochs=int(content["current_epoch"]),
        modalities=tuple(modalities) or tuple(str(channels[key]) for key in sorted(channels, key=int)),
        weights=weights,
        patch=along([int(side) for side in configuration["patch_size"]], axes),
        spacing=along([float(length) for length in configuration["spacing"]], axes),
        batch_size=int(configuration["batch_size"]),
        normalize=_normalize(configuration, folder),
        orientation=_READERS[reader],
        mirror=_mirror(content.get("inference_allowed_mirroring_axes"), axes),
        mean="geometric",
        dataset=str(plans["dataset_name"]),
    )


def _configuration(plans: Mapping[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """A configuration of the plans, with what it inherits."""
    chain: list[str] = []
    while name:
        if name in chain or name not in plans["configurations"]:
            raise unsupported(folder / PLANS, f"configuration {name!r} after {chain}", "configurations that exist")
        chain.append(name)
        name = plans["configurations"][name].get("inherits_from", "")
    return {key: value for name in reversed(chain) for key, value in plans["configurations"][name].items()}


def _check_labels(labels: Mapping[str, Any], folder: Path) -> None:
    regions = [name for name, value in labels.items() if isinstance(value, list) and len(value) > 1]
    classes = [name for name in labels if name != "ignore"]
    if regions or len(classes) != 2:
        found = f"overlapping regions {regions}" if regions else f"{len(classes)} classes: {', '.join(classes)}"
        raise unsupported(folder / "dataset.json", found, "two classes: background and one lesion label")


def _check_configuration(configuration: Mapping[str, Any], name: str, folder: Path) -> None:
    where = folder / PLANS
    if configuration.get("previous_stage"):
        raise unsupported(where, f"{name}: the second stage of a cascade", "a model that sees images alone")
    if len(configuration["patch_size"]) != 3:
        raise unsupported(where, f"{name}: patches {configuration['patch_size']}", "a 3D configuration")
    if configuration.get("preprocessor_name", "DefaultPreprocessor") != "DefaultPreprocessor":
        raise unsupported(where, f"preprocessor {configuration['preprocessor_name']}", "DefaultPreprocessor")
    architecture = configuration.get("architecture")
    kind = architecture["network_class_name"] if architecture else configuration["UNet_class_name"]
    if str(kind).rpartition(".")[2] not in ("PlainConvUNet", "ResidualEncoderUNet"):
        raise unsupported(where, f"network {kind}", "PlainConvUNet or ResidualEncoderUNet")
    layers = architecture["arch_kwargs"] if architecture else {}  # older plans have no choice of layers
    norm, nonlinearity = layers.get("norm_op_kwargs") or {}, layers.get("nonlin_kwargs") or {}
    as_ours = (
        str(layers.get("norm_op", "InstanceNorm3d")).endswith("InstanceNorm3d")
        and float(norm.get("eps", 1e-5)) == 1e-5
        and str(layers.get("nonlin", "LeakyReLU")).endswith("LeakyReLU")
        and float(nonlinearity.get("negative_slope", 0.01)) == 0.01
        and not layers.get("dropout_op")
        and not layers.get("nonlin_first")
    )
    if not as_ours:
        given = {key: layers.get(key) for key in ("norm_op", "norm_op_kwargs", "nonlin", "nonlin_kwargs", "dropout_op")}
        raise unsupported(where, f"layers {given}", "instance norm (eps 1e-5), then leaky ReLU (0.01), no dropout")


def _normalize(configuration: Mapping[str, Any], folder: Path) -> str:
    schemes = set(configuration["normalization_schemes"])
    masked = {bool(value) for value in configuration["use_mask_for_norm"]}
    if schemes == {"NoNormalization"}:
        return "none"
    if schemes == {"ZScoreNormalization"} and len(masked) == 1:
        return "zscore_nonzero" if masked.pop() else "zscore_volume"
    raise unsupported(
        folder / PLANS,
        f"normalisation {configuration['normalization_schemes']}, masked: {configuration['use_mask_for_norm']}",
        "ZScoreNormalization of all channels alike, or NoNormalization",
    )


def _mirror(mirrored: Sequence[int] | None, axes: Axes) -> str:
    return letters([letter for letter, axis in zip("xyz", axes, strict=True) if axis in (mirrored or ())])
