"""Checkpoints: found, read without running anything that lies in them, loaded into a model all or none."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelab.command_words import setting
from strokelab.errors import RunError
from strokelab.files import replacing
from strokelab.runs.folder import CHECKPOINTS

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter


def find_checkpoint(folder: Path, name: str) -> Path:
    """The checkpoint ``last`` or ``best`` of a run folder, or a file by path.

    Raises:
        RunError: it does not exist; the message lists those that do.
    """
    candidates = [folder / CHECKPOINTS / f"{name}.ckpt", folder / CHECKPOINTS / name, Path(name)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    there = sorted(file.name for file in (folder / CHECKPOINTS).glob("*.ckpt"))
    raise RunError(
        candidates[0],
        found="no such file" + (f"; there are {there}" if there else "; the run has no checkpoint yet"),
        expected="a checkpoint of this run",
        remedy="wait for the first epoch to end, or resume the run"
        + (f"; or choose {setting('checkpoint', Path(there[0]).stem)}" if there else ""),
    )


def resumable_checkpoint(folder: Path) -> Path:
    """The checkpoint to go on from: ``last.ckpt``, or the one before when it cannot be read.

    Raises:
        RunError: there is none, or none that can be read.
    """
    last = find_checkpoint(folder, "last")
    try:
        read_checkpoint(last)
    except RunError:
        previous = last.with_name("previous.ckpt")
        if not previous.is_file():
            raise
        read_checkpoint(previous)
        return previous
    return last


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint; only tensors and plain data are ever unpickled.

    Raises:
        RunError: the file is damaged, or holds more than numbers and plain data.
    """
    import torch

    try:
        refuse_inflation(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the bytes may be anything: unpickling them may fail in any way, but runs nothing
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise RunError(
            path,
            found=f"a file that cannot be read safely ({reason})",
            expected="a checkpoint of numbers and plain data, as train.py writes it",
            remedy="copy it again; never load it with weights_only=False unless you trust its author",
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise RunError(path, found="no state_dict", expected="a Lightning checkpoint", remedy="choose another file")
    return content


def refuse_inflation(path: Path) -> None:
    """PyTorch stores its records as they are; packed ones, or several that share bytes, could fill any memory.

    Raises:
        ValueError: the file holds more than its size.
    """
    with zipfile.ZipFile(path) as archive:
        needed = sum(record.file_size for record in archive.infolist())
    if needed > path.stat().st_size:
        raise ValueError(f"{needed / 1e6:,.0f} MB in a file of {path.stat().st_size / 1e6:,.0f} MB")


def load_weights(model: Segmenter, state: Mapping[str, Any], path: Path) -> None:
    """Load weights into a model, all or none.

    Args:
        model: to load them into.
        state: ``state_dict`` of ``read_checkpoint``.
        path: of the checkpoint, for messages.

    Raises:
        RunError: names or shapes are those of another model.
    """
    check_weights(model, state, path)
    model.load_state_dict(state)


def check_weights(model: Segmenter, state: Mapping[str, Any], path: Path) -> None:
    """Whether weights are those of a model; arguments and errors as ``load_weights``."""
    own = model.state_dict()
    wrong = [
        str(name)
        for name in sorted(own.keys() | state.keys(), key=str)
        if name not in own or getattr(state.get(name), "shape", None) != own[name].shape
    ]
    if wrong:
        raise RunError(
            path,
            found=f"weights of another model: {len(wrong)} entries differ, first {wrong[:3]}",
            expected="the weights of the model in config.yaml",
            remedy="choose the checkpoint that lies in the same run folder, and settings of its model",
        )


def weights_digest(model: Segmenter) -> str:
    """SHA-256 of a model's weights and buffers; equal for equal numbers, whatever file they came from."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def relocate(node: Any, former: str, present: str) -> Any:
    """Plain data in which paths at or below the folder ``former`` lie at or below ``present`` instead."""
    if isinstance(node, dict):
        return {relocate(key, former, present): relocate(value, former, present) for key, value in node.items()}
    if isinstance(node, list):
        return [relocate(value, former, present) for value in node]
    if isinstance(node, str) and (node == former or node.startswith(former.rstrip("/") + "/")):
        return present + node.removeprefix(former)
    return node


def relocate_checkpoint(path: Path, former: str, present: str) -> None:
    """Rewrite what callbacks remember of a run folder's former place, or the best score so far would be forgotten."""
    import torch

    content = read_checkpoint(path)
    content["callbacks"] = relocate(content.get("callbacks", {}), former, present)
    with replacing(path) as temporary:
        torch.save(content, temporary)
