"""A prepared case in, a ``Prediction`` on the native grid out: the one path of validation, evaluation and the CLI.

Knows arrays and callables; knows no run folders, no readers and no model classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from strokelab.contract import Prediction, PreparedCase
from strokelab.inference.accumulate import scan_on
from strokelab.inference.postprocess import finish
from strokelab.inference.precision import Precision, computing
from strokelab.preparation.restore import restore, restore_mask

if TYPE_CHECKING:
    from torch import Tensor

Predict = Callable[["Tensor", "Tensor"], "Tensor"]


def lesion_probability(
    prepared: PreparedCase,
    *,
    predict: Predict,
    windows: Callable[..., Tensor],
    lesion_channel: int = 0,
    device: torch.device | str = "cpu",
    precision: Precision = "32",
) -> NDArray[np.float32]:
    """The lesion probability (X, Y, Z) of a case on the prepared grid.

    The scan is brought to the device once, where it has the room, and of K maps only the lesion's is added up, unless
    the windows need ``every_class`` (``inference.geometric_mean``).

    Args:
        prepared: the case; its lesion and site are not looked at.
        predict: (B, C, *S) image and (B, 1, *S) brain -> (B, K, *S) probabilities.
        windows: how a volume is cut for ``predict`` and put together again.
        lesion_channel: which of the K classes is the lesion.
        device: where ``predict`` computes.
        precision: in which it does (``inference.precision``); probabilities and their sums are in float32 always.
    """
    every_class = getattr(windows, "every_class", False)

    def lesion_map(image: Tensor, brain: Tensor) -> Tensor:
        scores = predict(image.to(device), brain.to(device))
        return scores if every_class else scores[:, lesion_channel].unsqueeze(1)

    with torch.inference_mode(), computing(precision, device):
        image, brain = scan_on(device, prepared.image, prepared.brain)
        scores = windows(image, lesion_map, brain)
    return scores[lesion_channel if every_class else 0].float().cpu().numpy()


def predict_case(
    prepared: PreparedCase,
    *,
    predict: Predict,
    windows: Callable[..., Tensor],
    postprocess: Callable[..., NDArray[np.uint8]],
    lesion_channel: int = 0,
    device: torch.device | str = "cpu",
    precision: Precision = "32",
    provenance: Mapping[str, str] | None = None,
) -> Prediction:
    """Scores over windows, post-processing on the prepared grid, then back to the input's own grid.

    Args:
        prepared: the case on the model's grid.
        predict: see ``lesion_probability``.
        windows: see ``lesion_probability``.
        postprocess: lesion probability (X, Y, Z) -> mask 0/1 (X, Y, Z).
        lesion_channel: which of the K classes is the lesion.
        device: where ``predict`` computes.
        precision: see ``lesion_probability``.
        provenance: run, checkpoint, post-processing; travels with the prediction.
    """
    probability = lesion_probability(
        prepared, predict=predict, windows=windows, lesion_channel=lesion_channel, device=device, precision=precision
    )
    return to_native(prepared, probability, postprocess=postprocess, provenance=provenance)


def to_native(
    prepared: PreparedCase,
    probability: NDArray[np.float32],
    *,
    postprocess: Callable[..., NDArray[np.uint8]],
    provenance: Mapping[str, str] | None = None,
    disagreement: NDArray[np.float32] | None = None,
) -> Prediction:
    """Post-processing on the prepared grid, where its constants mean something, then back to the input's own grid.

    Args:
        prepared: the case the probability belongs to.
        probability: of the lesion (X, Y, Z), on the prepared grid.
        postprocess: see ``predict_case``.
        provenance: see ``predict_case``.
        disagreement: of the members of an ensemble (X, Y, Z), on the prepared grid.
    """
    mask = finish(postprocess, probability, voxel_mm3=prepared.grid.voxel_volume_mm3)
    return Prediction(
        case_id=prepared.case_id,
        grid=prepared.native,
        mask=restore_mask(mask, prepared.steps),
        probability=_restored(probability, prepared),
        provenance=dict(provenance or {}),
        disagreement=None if disagreement is None else _restored(disagreement, prepared),
    )


def _restored(values: NDArray[np.float32], prepared: PreparedCase) -> NDArray[np.float32]:
    return restore(values, prepared.steps).astype(np.float32, copy=False)
