"""Checkpoints: found, read without running anything that lies in them, loaded whole, or copied as far as they fit."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelab.command_words import setting
from strokelab.errors import RunError
from strokelab.files import natural_key, replacing
from strokelab.runs.folder import CHECKPOINTS
from strokelab.runs.tensor_file import TENSORS, read_tensors

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter


SNAPSHOTS = "snapshots"
"""In place of a checkpoint's name: all snapshots of a run (``callbacks.snapshots``), to be averaged."""
_SNAPSHOT = re.compile(r"snapshot-(.+-)?\d{4,}")


def find_checkpoint(folder: Path, name: str) -> Path:
    """The checkpoint ``last`` or ``best`` of a run folder, or a file by path.

    Raises:
        RunError: it does not exist; the message lists those that do.
    """
    place = folder / CHECKPOINTS
    candidates = [place / f"{name}.ckpt", place / f"{name}{TENSORS}", place / name, Path(name)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    there = sorted(file.name for ending in (".ckpt", TENSORS) for file in place.glob(f"*{ending}"))
    raise RunError(
        candidates[0],
        found="no such file" + (f"; there are {there}" if there else "; the run has no checkpoint yet"),
        expected="a checkpoint of this run",
        remedy="wait for the first epoch to end, or resume the run"
        + (f"; or choose {setting('checkpoint', Path(there[0]).stem)}" if there else ""),
    )


def snapshots_of(folder: Path) -> list[str]:
    """The names of a run's snapshots, those of a stage in the order of their epochs."""
    names = [file.stem for file in (folder / CHECKPOINTS).glob("snapshot-*.ckpt")]
    return sorted(filter(_SNAPSHOT.fullmatch, names), key=natural_key)


def each_named(folder: Path, names: Sequence[str | None]) -> list[str | None]:
    """Names of checkpoints in which ``snapshots`` stands for every snapshot of the run.

    Raises:
        RunError: snapshots are asked for, and the run has none.
    """
    found: list[str | None] = []
    for name in names:
        if name != SNAPSHOTS or (folder / CHECKPOINTS / f"{SNAPSHOTS}.ckpt").is_file():  # a stage may be called so
            found.append(name)
            continue
        snapshots = snapshots_of(folder)
        if not snapshots:
            raise RunError(
                folder / CHECKPOINTS,
                found="no snapshot",
                expected="snapshot-<epoch>.ckpt, or snapshot-<stage>-<epoch>.ckpt",
                remedy="choose checkpoint=last, or train with "
                "+callbacks.snapshots._target_=strokelab.callbacks.snapshots.Snapshots (docs/inference.md)",
            )
        found += snapshots
    return found


def own_choice(settings: Mapping[str, Any], where: Path) -> str:
    """The checkpoint a run was configured to use; a run has no say in what is opened elsewhere.

    Args:
        settings: of the run.
        where: its config, for messages.

    Raises:
        RunError: it names a place.
    """
    name = settings.get("checkpoint", "last")
    if not isinstance(name, str) or Path(name).name != name:
        raise RunError(
            where, found=f"checkpoint: {name!r}", expected="a name such as last or best", remedy="give checkpoint=last"
        )
    return name


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

    Of weights that were packed (``runs.packed``), the same as far as they have it: ``state_dict`` and ``epoch``.

    Raises:
        RunError: the file is damaged, or holds more than numbers and plain data.
    """
    import torch

    if path.suffix == TENSORS:
        tensors, told = read_tensors(path)
        epoch = told.get("epoch", "")
        return {"state_dict": tensors} | ({"epoch": int(epoch)} if re.fullmatch(r"\d{1,9}", epoch, re.ASCII) else {})
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


@dataclass(frozen=True)
class Copied:
    """What became of weights that were copied by name and shape: names of tensors.

    Args:
        copied: taken over.
        missing: of the model, not among the weights.
        other_shape: of the model, with another shape among the weights.
        unused: of the weights, not in the model.
    """

    copied: tuple[str, ...]
    missing: tuple[str, ...]
    other_shape: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Names by reason, for a record."""
        reasons = {"missing": self.missing, "other_shape": self.other_shape, "unused": self.unused}
        return {reason: list(names) for reason, names in reasons.items()}

    def __str__(self) -> str:
        """In one line: numbers, and the first names that were left out."""
        words = {"of another shape": self.other_shape, "not there": self.missing, "there but not here": self.unused}
        told = [f"{len(names)} {what} ({_first(names)})" for what, names in words.items() if names]
        own = len(self.copied) + len(self.missing) + len(self.other_shape)
        return f"{len(self.copied)} of {own} tensors copied; left out: {', '.join(told) or 'none'}"


def copy_weights(model: Segmenter, state: Mapping[str, Any], path: Path) -> Copied:
    """Copy into a model what has its name and shape there; the rest of the model stays as it is.

    Args:
        model: to copy into.
        state: ``state_dict`` of ``read_checkpoint``.
        path: of the checkpoint, for messages.

    Raises:
        RunError: not one parameter fits.
    """
    own = model.state_dict()
    shared = [name for name in own if name in state]
    fitting = {name: state[name] for name in shared if getattr(state[name], "shape", None) == own[name].shape}
    if not fitting.keys() & dict(model.named_parameters()).keys():  # counters of batch norm fit anywhere
        raise RunError(
            path,
            found=f"no parameter of this model: {len(shared)} of {len(own)} names are known, none with its shape; "
            f"there {_first(sorted(map(str, state)))}, here {_first(sorted(own))}",
            expected="weights of which at least one has the name and shape of this model's",
            remedy="name a run of the same family, or set init_weights=null",
        )
    model.load_state_dict(fitting, strict=False)
    return Copied(
        copied=tuple(fitting),
        missing=tuple(name for name in own if name not in state),
        other_shape=tuple(name for name in shared if name not in fitting),
        unused=tuple(str(name) for name in state if name not in own),
    )


def _first(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def weights_digest(model: Segmenter) -> str:
    """SHA-256 of a model's weights and buffers; equal for equal numbers, whatever file they came from."""
    return state_digest(model.state_dict())


def state_digest(state: Mapping[str, Any]) -> str:
    """``weights_digest`` of a ``state_dict``."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted((str(name), value) for name, value in state.items() if torch.is_tensor(value)):
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
