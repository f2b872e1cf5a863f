"""``strokelab pack``: a run, or the mean of several, as one file that predicts elsewhere (``runs.packed`` reads it)."""

from __future__ import annotations

import hashlib
import re
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

from strokelab.configuration.allowlist import own_targets
from strokelab.configuration.foreign_yaml import plain_yaml
from strokelab.data.split_file import Split
from strokelab.errors import ConfigError, DataWarning, RunError
from strokelab.exchange.model_card import CardFacts, model_card, scores_of
from strokelab.exchange.travelling import (
    Member,
    environment_that_travels,
    private_words,
    settings_that_travel,
    status_that_travels,
    tuning_without_ids,
)
from strokelab.files import replacing, write_json, write_text
from strokelab.foreign_text import printable
from strokelab.runs import CHECKPOINTS, CONFIG, ENVIRONMENT, SITES, SPLIT, STATUS, TRAINING_SCANS, Ensemble, Run
from strokelab.runs.checkpoints import read_checkpoint
from strokelab.runs.folder import TUNED, TUNING, read_json, read_split
from strokelab.runs.packed import CARD, ENDING, FORMAT, MANIFEST, RUNS
from strokelab.runs.tensor_file import TENSORS, write_tensors

_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member: equal runs give equal files
_RIGHTS = 0o644 << 16


def pack(
    trained: Run | Ensemble, out: Path, *, licence: str = "", evaluation: Path | None = None, overwrite: bool = False
) -> str:
    """Write a run, or the mean of several, as one file.

    Args:
        trained: as it was loaded: with the checkpoint that is to travel, and the run's own windows and post-processing.
        out: ``model.zip``.
        licence: under which others may use it, e.g. ``CC-BY-4.0``; "" = the card says that none is given.
        evaluation: folder of an evaluation of these weights, whose scores the card gives; None: those of the runs' own
            tests.
        overwrite: replace a file that lies there.

    Returns:
        SHA-256 of the manifest, by which others can tell that they have the same model.

    Raises:
        ConfigError: another ending than ``.zip``, a file that lies there, or settings that cannot travel.
        RunError: a run cannot be read, or the evaluation is of other weights.
        DataError: the file cannot be written.
    """
    _check_out(out, overwrite)
    members = members_of(trained)
    names = _names(members)
    scores = scores_of(members, trained.digest, evaluation)
    if not licence:
        warnings.warn(
            f"{out}: the card names no licence, so that nothing says others may use the model: name one with --licence",
            DataWarning,
            stacklevel=2,
        )
    with tempfile.TemporaryDirectory(prefix="strokelab-pack-") as temporary:
        root = Path(temporary)
        for name, member in zip(names, members, strict=True):
            _write_run(root / RUNS / name, member)
        facts = CardFacts(trained, members, names, licence, scores, own=_own_classes(members))
        write_text(root / CARD, model_card(facts))
        files = sorted(path for path in root.rglob("*") if path.is_file())
        entries = {path.relative_to(root).as_posix(): _entry(path) for path in files}
        manifest = {"format": FORMAT, "licence": printable(licence), "runs": names, "members": entries}
        write_json(root / MANIFEST, manifest)
        with replacing(out) as whole, zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
            for path in (root / MANIFEST, *files):
                _add(archive, path, path.relative_to(root).as_posix())
        return hashlib.sha256((root / MANIFEST).read_bytes()).hexdigest()


def members_of(trained: Run | Ensemble) -> list[Member]:
    """The runs of a model in the order in which they are averaged."""
    if isinstance(trained, Run):
        return [Member(trained.folder, trained.checkpoint, trained.settings, trained.digest)]
    for member in trained.members:
        if member.applied:
            raise RunError(
                member.folder,
                found=f"a member applied to {member.applied}",
                expected="runs as they were trained",
                remedy="pack the runs without --as-each",
            )
    return [Member(one.folder, one.checkpoint, one.settings, one.digest) for one in trained.members]


def _write_run(folder: Path, member: Member) -> None:
    """A run folder with what travels."""
    split = read_split(member.folder)
    kept = settings_that_travel(member.settings, private_words(split), member.folder)
    kept["checkpoint"] = member.checkpoint.stem
    write_text(folder / CONFIG, plain_yaml(kept))
    Split((), (), ()).write(folder / SPLIT)
    write_json(folder / SITES, read_json(member.folder / SITES))
    write_json(folder / ENVIRONMENT, environment_that_travels(member.folder))
    write_json(folder / STATUS, status_that_travels(member.folder))
    for name in (TRAINING_SCANS, TUNED):
        if (member.folder / name).is_file():
            write_json(folder / name, read_json(member.folder / name))
    if (member.folder / TUNING).is_file():
        write_text(folder / TUNING, tuning_without_ids(member.folder / TUNING))
    content = read_checkpoint(member.checkpoint)
    state, epoch = content["state_dict"], content.get("epoch")
    odd = [name for name, value in state.items() if not hasattr(value, "untyped_storage")]
    if odd:
        raise RunError(
            member.checkpoint,
            found=f"{odd[0]!r}, which is no tensor, among the weights",
            expected="tensors alone",
            remedy="send the run folder itself",
        )
    told = {"epoch": str(epoch)} if isinstance(epoch, int) else {}
    write_tensors(folder / CHECKPOINTS / f"{member.checkpoint.stem}{TENSORS}", state, told)


def _names(members: list[Member]) -> list[str]:
    """Of the run folders: how each calls its model, numbered in the order of the mean."""
    words = [re.sub(r"[^\w.+-]+", "-", str(one.settings.get("name") or "run"), flags=re.ASCII) for one in members]
    words = [word.lstrip("-._+")[:60] or "run" for word in words]
    width = len(str(len(words)))
    return words if len(words) == 1 else [f"{n:0{width}d}_{word}" for n, word in enumerate(words, start=1)]


def _own_classes(members: list[Member]) -> list[str]:
    return sorted({name for member in members for name in own_targets(member.settings)})


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = _RIGHTS
    with path.open("rb") as source, archive.open(info, "w", force_zip64=path.stat().st_size > 2**31) as target:
        while block := source.read(2**20):
            target.write(block)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() != ENDING:
        raise ConfigError(
            out, found=f"the ending {out.suffix!r}", expected=ENDING, remedy=f"call it {out.with_suffix(ENDING).name}"
        )
    if out.exists() and not overwrite:
        raise ConfigError(
            out, found="a file that lies there", expected="a new file", remedy="choose another name, or add --overwrite"
        )
