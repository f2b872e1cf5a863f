"""``init_weights=RUN[:checkpoint]``: a training that starts from the weights of another run, or of a packed model.

Of the other run its tensors are read, and its settings and split as plain data; nothing of it is built. What was found
stands in the settings of the training from then on, so that a run which goes on does not read the other one again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelab.command_words import setting, shown
from strokelab.configuration import Settings
from strokelab.errors import DataError, RunError
from strokelab.runs.checkpoints import copy_weights, own_choice, read_checkpoint, state_digest
from strokelab.runs.folder import CHECKPOINTS, CONFIG, INIT_WEIGHTS, read_json, read_settings, read_split
from strokelab.runs.packed import is_packed, the_run
from strokelab.runs.recipe import kind_of
from strokelab.runs.tensor_file import TENSORS

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter


def with_init_weights(settings: Settings, folder: Path | None = None) -> Settings:
    """Settings in which the other run that ``init_weights`` names is found: a mapping in place of the text.

    Keys of the mapping: ``run`` (absolute), ``checkpoint`` as asked for, ``file``, ``weights`` (their digest) and
    ``source`` (``recipe.kind_of`` the other run).

    Args:
        settings: resolved, as the command gives them, or of a run.
        folder: a run that may have begun with these settings; what it found then holds as long as it is asked for the
            same run and checkpoint.

    Raises:
        RunError: the other run or its checkpoint cannot be read.
    """
    text = settings.get("init_weights")
    if not isinstance(text, str):
        return settings
    begun: Any = None
    if folder is not None and (folder / CONFIG).is_file():
        with suppress(RunError):  # what is wrong with it is reported where the run is read
            begun = read_settings(folder).get("init_weights")
    if isinstance(begun, dict) and any((str(run), name) == _asked(begun) for run, name in _readings(text)):
        return {**settings, "init_weights": begun}
    return {**settings, "init_weights": _found(*_named(text))}


def start_from(model: Segmenter, settings: Settings, tested: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Copy the other run's weights into a new model, by name and shape.

    Args:
        model: with random weights.
        settings: of the training, as ``with_init_weights`` gives them.
        tested: ids of the cases that will test.

    Returns:
        A line for the user, and the record for the run folder: what was found, what was left out, and which of the
        cases that test had trained the weights.

    Raises:
        RunError: the weights are others than when the training was asked for, or none of them fits.
    """
    found: Any = settings["init_weights"]
    found = found if isinstance(found, Mapping) else {}
    wrong = [key for key in ("run", "file", "weights") if not isinstance(found.get(key), str)]
    if wrong:
        raise RunError(
            "init_weights",
            found=f"no {wrong[0]} in what the run wrote down",
            expected="run, file and weights, as train.py writes them",
            remedy="start a new run",
        )
    run = the_run(found["run"])
    path = run / CHECKPOINTS / Path(found["file"]).name
    state = read_checkpoint(path)["state_dict"]
    if state_digest(state) != found["weights"]:
        raise RunError(
            path,
            found="other weights than when this training was begun",
            expected=f"weights with the digest {str(found['weights'])[:16]}",
            remedy="start a new run, which takes the weights as they are now",
        )
    copied = copy_weights(model, state, path)
    seen: set[str] = set()
    with suppress(RunError, DataError):  # a run without a split does not say
        seen = set(read_split(run).train) & set(tested)
    line = f"Starts from {shown(found['run'])} ({path.name}): {copied}"
    if is_packed(found["run"]):
        line += "\nWarning: a packed model does not say which scans trained it; the scans that test may be among them"
    if seen:
        line += f"\nWarning: {len(seen)} test cases trained these weights, e.g. {min(seen)}: their scores are too good"
    return line, {**found, "copied": len(copied.copied), "left_out": copied.left_out, "trained_on_test": sorted(seen)}


def trained_on_test(folder: Path) -> set[str]:
    """The cases of a run's test part that had trained the weights it started from."""
    found = read_json(folder / INIT_WEIGHTS).get("trained_on_test")
    return {str(case_id) for case_id in found} if isinstance(found, list) else set()


def _named(text: str) -> tuple[Path, str | None]:
    """Run and checkpoint; what exists under the whole text is the run, whatever colons it has."""
    whole, *parted = _readings(text)
    return parted[0] if parted and not whole[0].exists() else whole


def _readings(text: str) -> list[tuple[Path, str | None]]:
    """What a text may mean: all of it a run, or a run and a checkpoint."""
    run, colon, checkpoint = text.rpartition(":")
    parted = [(Path(run).expanduser().resolve(), checkpoint)] if colon else []
    return [(Path(text).expanduser().resolve(), None), *parted]


def _asked(begun: Mapping[str, Any]) -> tuple[Any, Any]:
    return begun.get("run"), begun.get("checkpoint")


def _found(given: Path, checkpoint: str | None) -> dict[str, Any]:
    run = the_run(given)
    settings = read_settings(run)
    name = own_choice(settings, run / CONFIG) if checkpoint is None else checkpoint
    there = {path.stem: path for path in sorted((run / CHECKPOINTS).glob("*")) if path.suffix in (".ckpt", TENSORS)}
    if name not in there:
        raise RunError(
            given / CHECKPOINTS,
            found=f"no {name}.ckpt; {f'there are {[*there]}' if there else 'the run has no checkpoint yet'}",
            expected="a checkpoint of the run that init_weights names",
            remedy=f"choose {setting('init_weights', f'{shown(given)}:{min(there)}')}"
            if there
            else "wait for its first epoch to end",
        )
    file = there[name]
    status = file.stat()
    weights = _digest(file, status.st_mtime_ns, status.st_size)
    return {
        "run": str(given),
        "checkpoint": checkpoint,
        "file": file.name,
        "weights": weights,
        "source": kind_of(settings),
    }


@lru_cache(maxsize=64)
def _digest(file: Path, modified: int, size: int) -> str:
    """Of the weights in a file; members of a sweep may ask for the same ones."""
    return state_digest(read_checkpoint(file)["state_dict"])
