"""A packed model, ``model.zip``: run folders with weights as safetensors, a card, and the digest of every member.

Read with distrust: names are known ones, nothing is larger than the file, every digest is checked each time it is
opened. What is unpacked is then loaded as any run folder of others. Layout::

    manifest.json     format, licence, SHA-256 and bytes of each member, the run folders in their order
    model_card.md     what it is, for readers
    runs/NAME/        config.yaml, split.csv, sites.json, environment.json, status.json, training_scans.json,
                      tuning.json and .csv where there are any, checkpoints/NAME.safetensors
"""

from __future__ import annotations

import atexit
import hashlib
import json
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from strokelab.errors import DataError, DataWarning, RunError, StrokelabError
from strokelab.files import replacing
from strokelab.foreign_text import as_printable
from strokelab.runs.checkpoints import refuse_inflation
from strokelab.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    SITES,
    SPLIT,
    STATUS,
    TRAINING_SCANS,
    TUNED,
    TUNING,
)
from strokelab.runs.tensor_file import TENSORS

ENDING = ".zip"
FORMAT = "strokelab.model/1"
MANIFEST, CARD, RUNS = "manifest.json", "model_card.md", "runs"
MODELS = "models"
"""The folder of unpacked models in the prepared store."""
KEPT = (CONFIG, SPLIT, SITES, ENVIRONMENT, STATUS, TRAINING_SCANS, TUNED, TUNING)
"""The files of a run folder that a packed model may have, beside its weights."""
_NAME = r"[A-Za-z0-9][\w.+-]{0,99}"
_MEMBER = re.compile(
    rf"{RUNS}/{_NAME}/(?:{'|'.join(map(re.escape, KEPT))}|{CHECKPOINTS}/{_NAME}{re.escape(TENSORS)})", re.ASCII
)
_MOST_TEXT = 16 * 2**20  # bytes of the manifest
_BLOCK = 2**20


@dataclass(frozen=True)
class Packed:
    """A packed model that was opened.

    Args:
        folders: its run folders, unpacked, in the order in which they are averaged.
        licence: under which it may be used; "" = its card names none.
        digest: SHA-256 of its manifest, which holds those of all else.
        card: its model card, Markdown.
    """

    folders: tuple[Path, ...]
    licence: str
    digest: str
    card: str


def is_packed(place: Path | str) -> bool:
    """Whether this is, or was to be, the file of a packed model, as far as its name says."""
    return Path(place).suffix.lower() == ENDING and not Path(place).expanduser().is_dir()


def run_folders(places: Sequence[str | Path]) -> list[Path]:
    """Run folders as they are, packed models as the folders that they hold.

    Raises:
        RunError: as ``open_packed``.
    """
    each = [open_packed(place).folders if is_packed(place) else [Path(place)] for place in places]
    return [folder for folders in each for folder in folders]


def the_run(place: str | Path) -> Path:
    """The one run folder that a path names, also one in a packed model.

    Raises:
        RunError: as ``open_packed``, or the packed model is the mean of several runs.
    """
    folders = run_folders([place])
    if len(folders) > 1:
        raise RunError(
            place,
            found=f"a mean of {len(folders)} runs",
            expected="one run",
            remedy=f"load_ensemble([{str(place)!r}]) of strokelab.runs loads all as one, else pack one run",
        )
    return folders[0]


def open_packed(place: str | Path) -> Packed:
    """Check a packed model and unpack it: into the prepared store, or where that cannot be written, for this process.

    Warns where its card names no licence.

    Raises:
        RunError: it is no packed model, was changed after it was packed, or cannot be unpacked.
    """
    path = Path(place).expanduser()
    try:
        refuse_inflation(path)
        with zipfile.ZipFile(path) as archive:
            raw, manifest = _manifest(archive)
            _check_members(archive, manifest)
            digest = hashlib.sha256(raw).hexdigest()
            card = archive.read(CARD).decode("utf-8")
            root = _unpacked(archive, manifest, digest, path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise RunError(
            path,
            found=f"no packed model ({reason})",
            expected="a file that `strokelab pack` wrote, as it wrote it",
            remedy="get the file again, or pack the run again",
        ) from error
    licence = str(manifest["licence"])
    if not licence:
        warnings.warn(
            f"{path}: its model card names no licence, so that nothing says you may use it: ask its author; with "
            "`strokelab pack --licence` a card names one",
            DataWarning,
            stacklevel=3,
        )
    return Packed(tuple(root / RUNS / name for name in manifest["runs"]), licence, digest, card)


def _manifest(archive: zipfile.ZipFile) -> tuple[bytes, Mapping[str, Any]]:
    """The manifest, its shape checked."""
    if archive.getinfo(MANIFEST).file_size > _MOST_TEXT:
        raise ValueError(f"a {MANIFEST} of {archive.getinfo(MANIFEST).file_size:,} bytes")
    raw = archive.read(MANIFEST)
    content = as_printable(json.loads(raw.decode("utf-8")))
    if content["format"] != FORMAT:
        raise ValueError(f"format {str(content['format'])[:60]!r}, and this version reads {FORMAT}")
    members, names = content["members"], content["runs"]
    right = (
        isinstance(members, dict) and isinstance(names, list) and bool(names) and isinstance(content["licence"], str)
    )
    if not right or any(f"{RUNS}/{name}/{CONFIG}" not in members for name in names):
        raise ValueError(f"a {MANIFEST} without members, runs or licence")
    for name, entry in members.items():
        if name != CARD and not _MEMBER.fullmatch(name):
            raise ValueError(f"a member called {name[:100]!r}")
        if not (isinstance(entry["bytes"], int) and re.fullmatch("[0-9a-f]{64}", entry["sha256"])):
            raise ValueError(f"no size and digest of {name[:100]!r}")
    return raw, content


def _check_members(archive: zipfile.ZipFile, manifest: Mapping[str, Any]) -> None:
    """Raise where the file holds anything else than its manifest says."""
    found = [entry.filename for entry in archive.infolist()]
    wanted = [MANIFEST, *manifest["members"]]
    if sorted(found) != sorted(wanted):
        other = sorted({*found} ^ {*wanted}) or sorted(found)
        raise ValueError(f"{len(found)} members where the manifest has {len(wanted)}; first {other[0][:100]!r}")
    for name, entry in manifest["members"].items():
        with archive.open(name) as stream:
            if _digest(stream) != entry["sha256"]:
                raise ValueError(f"{name} is not as it was packed: another SHA-256")


def _unpacked(archive: zipfile.ZipFile, manifest: Mapping[str, Any], digest: str, path: Path) -> Path:
    """The folder with the members, each as the manifest has it."""
    from strokelab.preparation.store import default_store  # what only reads how runs stand needs no image library

    errors = []
    try:
        name = re.sub(r"[^\w.+-]+", "-", path.stem, flags=re.ASCII).lstrip("-._+")[:60] or "model"
        place = default_store() / MODELS / f"{name}-{digest[:16]}"  # messages about its runs name the file by this
        if not _is_whole(place, manifest):
            _write(archive, manifest, place)
        return place
    except (OSError, StrokelabError) as error:  # a read-only container
        errors.append(str(error).splitlines()[0])
    try:
        folder = Path(tempfile.mkdtemp(prefix="strokelab-model-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _write(archive, manifest, folder / digest)
        return folder / digest
    except (OSError, DataError) as error:
        errors.append(str(error).splitlines()[0])
    raise RunError(
        path,
        found=f"no place to unpack it: {'; '.join(errors)[:300]}",
        expected="room in the prepared store, or for temporary files",
        remedy="set STROKELAB_STORE to a folder that can be written, e.g. export STROKELAB_STORE=/scratch/strokelab",
    )


def _write(archive: zipfile.ZipFile, manifest: Mapping[str, Any], place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():  # damaged: a member is missing or another
        shutil.rmtree(place, ignore_errors=True)
    try:
        with replacing(place) as temporary:
            for name in manifest["members"]:
                file = temporary / name
                file.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, file.open("wb") as target:
                    shutil.copyfileobj(source, target, _BLOCK)
    except OSError:
        if not _is_whole(place, manifest):  # else another process has just unpacked the same
            raise


def _is_whole(place: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a folder holds every member as the manifest has it, and in its run folders nothing else."""
    wanted = {place / name: entry for name, entry in manifest["members"].items()}
    try:
        if {path for path in place.rglob("*") if not path.is_dir()} != set(wanted):
            return False
        for path, entry in wanted.items():
            with path.open("rb") as stream:
                if path.stat().st_size != entry["bytes"] or _digest(stream) != entry["sha256"]:
                    return False
    except OSError:
        return False
    return True


def _digest(stream: IO[bytes]) -> str:
    found = hashlib.sha256()
    while block := stream.read(_BLOCK):
        found.update(block)
    return found.hexdigest()
