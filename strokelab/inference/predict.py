"""A prepared case in, a ``Prediction`` on the native grid out: the one path of validation, evaluation and the CLI.

Knows arrays and callables; knows no run folders, no readers and no model classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from strokelab.contract import Prediction, PreparedCase, Registered
from strokelab.grid import Grid
from strokelab.inference.accumulate import scan_on
from strokelab.inference.postprocess import finish
from strokelab.inference.precision import Precision, computing
from strokelab.inference.progress import followed
from strokelab.inference.scores import Kind, Scores
from strokelab.preparation.restore import restore_mask

if TYPE_CHECKING:
    from torch import Tensor

Predict = Callable[["Tensor", "Tensor"], "Tensor"]
Where = Literal["prepared", "native"]
"""The grid on which scores become a mask."""


def case_scores(
    prepared: PreparedCase,
    *,
    predict: Predict,
    windows: Callable[..., Tensor],
    lesion_channel: int = 0,
    device: torch.device | str = "cpu",
    precision: Precision = "32",
    classes: bool = False,
) -> Scores:
    """The scores of a case on the prepared grid.

    The scan is brought to the device once, where it has the room, and of K maps only the lesion's is added up, unless
    all are asked for or the windows need ``every_class`` (``inference.geometric_mean``).

    Args:
        prepared: the case; its lesion and site are not looked at.
        predict: (B, C, *S) image and (B, 1, *S) brain -> (B, K, *S) probabilities.
        windows: how a volume is cut for ``predict`` and put together again.
        lesion_channel: which of the K classes is the lesion.
        device: where ``predict`` computes.
        precision: in which it does (``inference.precision``); probabilities and their sums are in float32 always.
        classes: the maps of all classes; logits come so anyway, since they become probabilities together.
    """
    (scores,) = scores_together(
        prepared,
        predicts=[predict],
        windows=windows,
        lesion_channel=lesion_channel,
        device=device,
        precision=precision,
        classes=classes,
    )
    return scores


def scores_together(
    prepared: PreparedCase,
    *,
    predicts: Sequence[Predict],
    windows: Callable[..., Tensor],
    lesion_channel: int,
    device: torch.device | str,
    precision: Precision,
    classes: bool,
) -> list[Scores]:
    """The scores of several models that are given the same samples, each cut once; equal to those of one by one.

    Args:
        prepared: as for ``case_scores``.
        predicts: of each model, as ``predict`` of ``case_scores``.
        windows: that treat each map of a sample for itself, unless there is one model.
        lesion_channel: as for ``case_scores``, and so are the others.
        device: where all of them compute.
        precision: in which.
        classes: the maps of all classes.
    """
    kind: Kind = getattr(windows, "scores", "probabilities")
    classes = classes or kind == "logits"
    added = classes or getattr(windows, "every_class", False)

    def maps(image: Tensor, brain: Tensor) -> Tensor:
        image, brain = image.to(device), brain.to(device)
        found = [predict(image, brain) for predict in predicts]
        found = found if added else [scores[:, lesion_channel].unsqueeze(1) for scores in found]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    with torch.inference_mode(), computing(precision, device):
        image, brain = scan_on(device, prepared.image, prepared.brain)
        with followed(maps, prepared, windows) as predict:
            scores = windows(image, predict, brain)
    each = (part if classes else part[lesion_channel if added else 0] for part in scores.chunk(len(predicts)))
    return [Scores(part.float().cpu().numpy(), kind, lesion_channel) for part in each]


def where_finished(prepared: PreparedCase, scores: Scores, where: Where) -> tuple[Scores, Grid]:
    """Probabilities of a case, and the grid, on which post-processing makes a mask of them.

    Args:
        prepared: the case the scores belong to.
        scores: as for ``to_native``.
        where: as for ``to_native``.
    """
    if where == "native" and not scores.native:
        scores = scores.restored(prepared.steps)
    done = scores.finished()
    return done, prepared.native if done.native else prepared.grid


def to_native(
    prepared: PreparedCase,
    scores: Scores,
    *,
    postprocess: Callable[..., NDArray[np.uint8]],
    provenance: Mapping[str, str] | None = None,
    where: Where = "prepared",
    classes: bool = False,
    covered: NDArray[np.bool_] | None = None,
    class_names: Sequence[str] = (),
    registered: tuple[Registered, ...] = (),
) -> Prediction:
    """Scores become a mask, and all maps end on the input's own grid.

    Args:
        prepared: the case the scores belong to.
        scores: on the prepared grid, or on the native one already.
        postprocess: lesion probability (X, Y, Z) -> mask 0/1 (X, Y, Z); see ``inference.postprocess.finish``.
        provenance: run, checkpoint, post-processing; travels with the prediction.
        where: ``"prepared"``: post-processing before the way back, where its constants mean what they meant in
            training; ``"native"``: after it.
        classes: hand out the probabilities of all classes as well.
        covered: of ``covered_by``.
        class_names: of the classes, where they have names.
        registered: how the case was brought into a template's space.
    """
    done, grid = where_finished(prepared, scores, where)
    mask = finish(
        postprocess,
        done.lesion,
        voxel_mm3=grid.voxel_volume_mm3,
        classes=done.classes,
        lesion_channel=done.lesion_channel,
    )
    if not done.native:
        mask = restore_mask(mask, prepared.steps)
        done = (done if classes else done.finished(classes=False)).restored(prepared.steps)
    return Prediction(
        case_id=prepared.case_id,
        grid=prepared.native,
        mask=mask,
        probability=done.lesion,
        provenance=dict(provenance or {}),
        disagreement=done.disagreement,
        classes=done.classes if classes else None,
        covered=covered,
        class_names=tuple(class_names),
        registered=registered,
    )


def covered_by(seen: Iterable[tuple[PreparedCase, Callable[..., Tensor]]]) -> NDArray[np.bool_] | None:
    """Where members look at a case: voxels (X, Y, Z) of its native grid; the others are negative whatever they hold.

    Args:
        seen: the case as a member is given it, and the member's windows, which may have ``covered(brain)``: the box of
            the prepared grid that gets scores.

    Returns:
        The union over members, without what a crop of the preparation had cut; None where the windows of a member
        leave nothing out.
    """
    found: NDArray[np.bool_] | None = None
    for prepared, windows in seen:
        box = windows.covered(prepared.brain) if hasattr(windows, "covered") else None
        if box is None:
            return None
        inside = np.zeros(prepared.grid.shape, np.uint8)
        inside[box] = 1
        own = restore_mask(inside, prepared.steps) != 0
        found = own if found is None else found | own
    return found


def padding_of(shape: tuple[int, ...], windows: Callable[..., Tensor]) -> str:
    """That a volume is smaller than a window, in words, e.g. ``padded 160x190x40 -> 192x192x192 voxels``; else empty.

    Args:
        shape: of the prepared grid.
        windows: which may have ``padded(shape)``: the shape they bring it to.
    """
    padded = windows.padded(shape) if hasattr(windows, "padded") else shape
    if tuple(padded) == tuple(shape):
        return ""
    before, after = ("x".join(map(str, sides)) for sides in (shape, padded))
    return f"padded {before} -> {after} voxels"
