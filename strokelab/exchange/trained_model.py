"""What a trained nnU-Net model is, in our words and our order of axes, whichever version wrote it.

Knows tensors by name; knows no files and no run folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from strokelab.errors import RunError
from strokelab.exchange.axes import Axes, turned

Weights = Mapping[str, Tensor]
REMEDY = "predict with nnU-Net itself, and compare its masks with strokelab score"


@dataclass(frozen=True)
class TrainedModel:
    """One fold of a trained model, ready to become a run.

    Args:
        version: of nnU-Net, 1 or 2.
        checkpoint: the file its weights came from.
        trainer: name of the class that trained it.
        epochs: it was trained for.
        modalities: channels, in order.
        weights: by the names of ``networks.nnunet.NNUNet``, axes X, Y, Z.
        patch: voxels along X, Y, Z.
        spacing: mm along X, Y, Z.
        batch_size: samples per training step.
        normalize: as ``Preparation.normalize``.
        orientation: as ``Preparation.orientation``.
        mirror: axes that predictions may be mirrored along, e.g. ``"xyz"``, or ``"none"``.
        mean: of windows and mirror images: of probabilities ("arithmetic"), or of logits ("geometric").
        dataset: nnU-Net's name of it.
    """

    version: Literal[1, 2]
    checkpoint: Path
    trainer: str
    epochs: int
    modalities: tuple[str, ...]
    weights: Weights
    patch: tuple[int, int, int]
    spacing: tuple[float, float, float]
    batch_size: int
    normalize: str
    orientation: Literal["RAS", "file"]
    mirror: str
    mean: Literal["arithmetic", "geometric"]
    dataset: str

    def network(self) -> dict[str, Any]:
        """The arguments of ``NNUNet``, read off the weights' shapes.

        Raises:
            RunError: the weights are of no such network, or it has other classes than background and lesion.
        """
        return structure(self.weights, self.checkpoint) | {"shortcut": "strided" if self.version == 1 else "pooled"}


def structure(weights: Weights, where: Path) -> dict[str, Any]:
    """Widths, kernels, strides, blocks, units and biases of the network that weights belong to.

    Args:
        weights: by our names, axes X, Y, Z.
        where: the file they came from, for messages.

    Raises:
        RunError: as ``TrainedModel.network``.
    """
    residual = "stem.conv.weight" in weights
    first = "first.conv" if residual else "conv"
    stages = _count(weights, r"encoder\.(\d+)\.")
    decoders = _count(weights, r"decoder\.(\d+)\.")
    try:
        opening = [weights[f"encoder.{stage}.0.{first}.weight"] for stage in range(stages)]
        ups = [weights[f"ups.{index}.weight"] for index in range(stages - 1)]
        head = weights[f"heads.{stages - 2}.weight"]
        channels = (weights["stem.conv.weight"] if residual else opening[0]).shape[1]
    except KeyError as error:
        raise unsupported(
            where, f"no weight {error} among {len(weights)}", "those of an nnU-Net of either kind"
        ) from error
    units = {_count(weights, rf"decoder\.{index}\.(\d+)\.") for index in range(decoders)}
    if len(units) != 1 or head.ndim != 5:
        found = (
            f"decoder stages of {sorted(units)} units" if head.ndim == 5 else f"a network of {head.ndim - 2} dimensions"
        )
        raise unsupported(where, found, "a 3D network with as many units in every decoder stage")
    if head.shape[0] != 2:
        raise unsupported(where, f"{head.shape[0]} classes", "two: background and lesion, with softmax")
    return {
        "in_channels": channels,
        "out_channels": 2,
        "widths": [weight.shape[0] for weight in opening],
        "kernels": [list(weight.shape[2:]) for weight in opening],
        "strides": [[1, 1, 1], *(list(up.shape[2:]) for up in reversed(ups))],
        "residual": residual,
        "blocks_encoder": [_count(weights, rf"encoder\.{stage}\.(\d+)\.") for stage in range(stages)],
        "units_decoder": units.pop(),
        "biases": "all" if "ups.0.bias" in weights else "units",
    }


def renamed(weights: Weights, rules: Sequence[tuple[str, str]], *, twice: str, axes: Axes, where: Path) -> Weights:
    """Weights by our names, their kernels turned to X, Y, Z.

    Args:
        weights: by nnU-Net's names.
        rules: (pattern of a whole name, our name with its groups).
        twice: pattern of names under which a network lists a weight for a second time.
        axes: see ``exchange.axes``.
        where: the file they came from, for messages.

    Raises:
        RunError: a name that no rule knows, one that is no tensor, or numbers that are not finite.
    """
    result: dict[str, Tensor] = {}
    for name, weight in weights.items():
        plain = re.sub(r"^(module\.|_orig_mod\.)+", "", str(name))
        if re.fullmatch(twice, plain):
            continue
        ours = next((match.expand(new) for old, new in rules if (match := re.fullmatch(old, plain))), None)
        if ours is None or not isinstance(weight, Tensor):
            raise unsupported(where, f"a weight called {plain!r}", "those of nnU-Net's plain or residual-encoder U-Net")
        if not weight.isfinite().all():
            raise RunError(
                where,
                found=f"numbers that are NaN or infinite, first in {plain!r}",
                expected="a training that did not diverge",
                remedy="look at the training's log, and train again or take another checkpoint",
            )
        result[ours] = turned(weight.detach(), axes).float()
    return result


def unsupported(where: Path, found: str, expected: str) -> RunError:
    """The error for a model that we would not predict alike."""
    return RunError(where, found=found, expected=expected, remedy=REMEDY)


def letters(axes: Sequence[str]) -> str:
    """Axes to mirror, as ``PatchWindows`` names them."""
    return "".join(sorted(axes)) or "none"


def _count(weights: Weights, pattern: str) -> int:
    """How many numbers a pattern finds at the beginning of the weights' names."""
    return len({match[1] for name in weights if (match := re.match(pattern, name))})
