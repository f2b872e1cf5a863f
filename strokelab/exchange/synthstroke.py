"""SynthStroke's published weights become a run folder that predicts like our own. Executes nothing of theirs.

Their files: ``model.safetensors`` beside ``config.json``, or an older checkpoint of PyTorch whose dictionary has
``net``; weights by the names of MONAI's ``UNet``. Section 16 of docs/methods/synthstroke.md.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from strokelab.configuration import Settings, compose, plain
from strokelab.contract import BACKGROUND, LESION
from strokelab.errors import DataWarning, RunError
from strokelab.exchange.foreign_files import read_json, read_weights
from strokelab.exchange.foreign_run import check_names, write_foreign
from strokelab.exchange.monai_unet import our_name
from strokelab.runs.tensor_file import read_tensors
from strokelab.synthesis.fractions import TISSUES

WEIGHTS, CONFIG = "model.safetensors", "config.json"
CLASSES: Mapping[int, tuple[str, ...]] = {
    2: (BACKGROUND, LESION),
    6: (BACKGROUND, *TISSUES, LESION),
}
_PREFIX = "unet."
_WIDEST, _DEEPEST = 4096, 8


def _lengths(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= _DEEPEST
        and all(type(number) is int and 1 <= number <= _WIDEST for number in value)
    )


# Key of config.json -> its default, and whether a value is one that we predict alike.
_KNOWN: Mapping[str, tuple[Any, Callable[[Any], bool]]] = {
    "spatial_dims": (3, lambda value: value == 3),
    "in_channels": (1, lambda value: value in (1, 4)),
    "out_channels": (6, lambda value: value in CLASSES),
    "channels": ([32, 64, 128, 256, 320, 320], _lengths),
    "strides": ([2, 2, 2, 2, 2], _lengths),
    "kernel_size": (3, lambda value: value == 3),
    "up_kernel_size": (3, lambda value: value == 3),
    "num_res_units": (1, lambda value: type(value) is int and value == 1),
    "act": ("PRELU", lambda value: str(value).upper() == "PRELU"),
    "norm": ("INSTANCE", lambda value: str(value).upper() == "INSTANCE"),
    "dropout": (0.0, lambda value: isinstance(value, (int, float)) and 0 <= value < 1),  # it has no weights
    "bias": (True, lambda value: value is True),
    "adn_ordering": ("NDA", lambda value: value == "NDA"),
    "model_type": ("", lambda value: isinstance(value, str) and value.isprintable() and len(value) <= 100),
}


@dataclass(frozen=True)
class Published:
    """Weights of theirs, in our words.

    Args:
        path: the file they came from.
        kind: what they call the model, e.g. ``synth``; empty where they say nothing.
        network: the arguments of ``SynthStrokeUNet``.
        weights: by its names, float32.
    """

    path: Path
    kind: str
    network: Mapping[str, Any]
    weights: Mapping[str, Tensor]


def read_published(path: Path) -> Published:
    """Weights and settings of a published model.

    Args:
        path: the folder with ``model.safetensors`` and ``config.json``, or a checkpoint of PyTorch.

    Raises:
        RunError: a file is missing or not safe to read, or the model is one that we would not predict alike.
    """
    if path.is_dir() or path.suffix == ".safetensors":
        folder = path if path.is_dir() else path.parent
        file = folder / WEIGHTS if path.is_dir() else path
        config = _checked(read_json(folder / CONFIG), folder / CONFIG)
        weights = _renamed(read_tensors(file)[0], len(config["channels"]), file)
    else:
        file, content = path, read_weights(path).get("net")
        if not isinstance(content, Mapping):
            raise _unsupported(path, "no dictionary 'net'", "a checkpoint whose dictionary has the weights as 'net'")
        names = [str(name) for name in content]
        blocks = 1 + max((name.count("1.submodule.") for name in names), default=0)
        weights = _renamed(content, blocks, file)
        config = _checked(_read_off(weights, blocks, file), file)
    network = {key: config[key] for key in ("in_channels", "out_channels", "channels", "strides")}
    return Published(file, config["model_type"], network | {"dropout": float(config["dropout"])}, weights)


def import_synthstroke(path: Path, out: Path, *, modalities: Sequence[str] = ()) -> Path:
    """Write a published model as a run folder.

    It prepares, cuts, mirrors and averages as their code does; logits then go back to the scan's own grid before they
    become classes. Scans are not clamped, which their code does with CT.

    Args:
        path: as for ``read_published``.
        out: the run folder.
        modalities: names of the images of the channels, in order; empty: T1w for a model of one channel, which takes
            any contrast anyway.

    Returns:
        ``out``.

    Raises:
        RunError: as ``read_published``; or another run lies at ``out``.
        ConfigError: other modalities than channels.
    """
    published = read_published(path)
    channels = published.network["in_channels"]
    named = tuple(modalities) or ("T1w",) * (channels == 1)
    check_names(named, channels)
    if channels > 1:
        message = "each map is equalised and z-scored alone; what the authors do with several is not published"
        warnings.warn(f"{', '.join(named)}: {message}", DataWarning, stacklevel=2)
    settings = _settings(published, named, out)
    note = {"synthstroke": published.kind or "unknown"}
    write_foreign(out, settings, published.weights, source=published.path, note=note)
    return out


def _settings(published: Published, modalities: Sequence[str], place: Path) -> Settings:
    """Those of ``model=synthstroke`` with everything that the published model says in their place."""
    chosen = ["model=synthstroke", "postprocess=argmax", "data=folder", "data.root=''", "data.modalities=[T1w]"]
    composed = plain(compose("train", chosen))
    network, view = published.network, composed["view"]
    model = {key: value for key, value in composed["model"].items() if key != "validation_metrics"}
    windows = {
        "_target_": "strokelab.inference.sliding_windows.SlidingWindows",
        **{
            "patch": [128, 128, 128],
            "step": 0.5,
            "gaussian": 0.125,
            "mirror": "xyz",
            "divisor": math.prod(network["strides"]),
        },
    }
    classes = CLASSES[network["out_channels"]]
    data = {key: value for key, value in composed["data"].items() if key not in ("sources", "mixing")}
    return composed | {
        "name": "synthstroke_published",
        "run_dir": str(place.resolve()),
        "checkpoint": "last",
        "trainer": composed["trainer"] | {"precision": "32-true", "max_epochs": 1},
        "cohort": {"dataset": "SynthStroke's training data", "root": "", "options": {}, "phantom": False},
        "split": {"_target_": "strokelab.data.splits.All", "part": "train"},
        "data": data | {"modalities": list(modalities)},
        "model": model
        | {
            "network": model["network"] | dict(network),
            "lesion_channel": len(classes) - 1,
            "scheduler": None,
        },
        "view": view
        | {
            "preparation": view["preparation"] | {"modalities": list(modalities)},
            "windows": windows,
            "classes": list(classes),
            "any_contrast": network["in_channels"] == 1,
            "augment": None,
        },
    }


def _checked(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The settings with their defaults; nothing but known keys and values."""
    wrong = [f"{key}={value!r}" for key, value in config.items() if key not in _KNOWN or not _KNOWN[key][1](value)]
    filled = {key: default for key, (default, _) in _KNOWN.items()} | dict(config)
    if not wrong and len(filled["strides"]) != len(filled["channels"]) - 1:
        wrong = [f"{len(filled['channels'])} channels with {len(filled['strides'])} strides"]
    if wrong:
        found = f"settings that are unknown or unlike ours: {', '.join(wrong)[:300]}"
        raise _unsupported(where, found, "the network of section 16: " + ", ".join(_KNOWN))
    return filled


def _renamed(weights: Mapping[str, Any], blocks: int, where: Path) -> dict[str, Tensor]:
    """Weights by our names."""
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        ours = our_name(str(name).removeprefix(_PREFIX), blocks)
        if ours is None or ours in found or not isinstance(weight, Tensor) or not weight.is_floating_point():
            raise _unsupported(where, f"a weight called {str(name)[:100]!r}", "those of MONAI's UNet, each once")
        if not weight.isfinite().all():
            raise _unsupported(where, f"numbers that are NaN or infinite in {name!r}", "weights of a whole training")
        found[ours] = weight.detach().float()
    return found


def _read_off(weights: Mapping[str, Tensor], blocks: int, where: Path) -> dict[str, Any]:
    """The settings that the shapes of weights tell; strides are taken for 2."""
    try:
        first = weights["encoder.0.unit.conv.weight"]
        widths = [len(weights[f"encoder.{block}.unit.conv.weight"]) for block in range(blocks)]
        maps = len(weights[f"decoder.{blocks - 2}.unit.weight"])
        return {"in_channels": first.shape[1], "out_channels": maps, "channels": widths, "strides": [2] * (blocks - 1)}
    except (KeyError, IndexError, TypeError) as error:
        raise _unsupported(where, f"no weight {error} among {len(weights)}", "those of MONAI's UNet") from error


def _unsupported(where: Path, found: str, expected: str) -> RunError:
    return RunError(
        where, found=found, expected=expected, remedy="download it again, or predict with the authors' code"
    )
