"""Files that are whole or absent: temporary name then move, content digests, locks between processes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from strokelab.errors import DataError

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts 2 before 10: digits compare as numbers, the rest as lower-case text."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d+)", text) if part)


def make_folder(path: Path) -> Path:
    """Create a folder (and parents) that can be written to.

    Raises:
        DataError: the path is a file, or the folder cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".write-test-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(
            path,
            found=f"{type(error).__name__}: {error.strerror or error}",
            expected="a folder that can be created and written to",
            remedy="choose another output folder, or free disk space and permissions",
        ) from error
    return path


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it into place only when the block ends without an error.

    The temporary name keeps the suffixes of ``path`` (writers choose their format by them).

    Args:
        path: a file or folder.
        durable: wait until the file is on the disk, so that a loss of power leaves the old or the new one.

    Raises:
        DiskFullError: the disk is full; what lay at ``path`` stands.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        with disk_errors(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if durable:
                sync(temporary)
            os.replace(temporary, path)
            if durable:
                sync(path.parent)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


class DiskFullError(DataError):
    """A file found no room; what was written before stands."""


@contextmanager
def disk_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Say of a full disk what a user needs to know; other errors pass.

    Args:
        path: the file that is written.
        temporary: its name until it is whole; the half of it is removed.

    Raises:
        DiskFullError: no space is left, or a quota or the limit of a file's size is reached.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = _full(error)
        if reason is None:
            raise
        written = temporary.stat().st_size if temporary and temporary.is_file() else 0
        if temporary:
            temporary.unlink(missing_ok=True)
        raise disk_full(path, reason, written) from error


def disk_full(path: Path, reason: str, written: int = 0) -> DiskFullError:
    """The error of a file that found no room.

    Args:
        path: the file.
        reason: the system's words.
        written: bytes that did find room.
    """
    place = next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
    before = path.stat().st_size if path.is_file() else 0
    needed = f"{before / 2**20:,.2f} MiB, as before" if before else f"more than {written / 2**20:,.2f} MiB"
    return DiskFullError(
        path,
        found=f"{reason}: {shutil.disk_usage(place).free / 2**20:,.2f} MiB free for {place}",
        expected=f"room for this file, {needed}; what was written before stands",
        remedy="free disk space or raise the quota, then go on with resume=RUN; or write to another disk",
    )


def _full(error: BaseException | None) -> str | None:
    """The system's words for a full disk, where that is the reason; PyTorch and NumPy hide it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return error.strerror or str(error)
        if isinstance(error, OSError) and re.fullmatch(r"\d+ requested and \d+ written", str(error)):
            return os.strerror(errno.ENOSPC)
        error = error.__cause__ or error.__context__
    return None


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names where that is possible, is on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():  # Windows
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any] | list[Any]) -> None:
    """Write readable JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=2, sort_keys=False) + "\n")


def digest(content: Any) -> str:
    """A 32-digit hexadecimal digest of plain data (what ``json`` can write), independent of key order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """A 32-digit hexadecimal digest of a file's bytes.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise DataError(
            path,
            found=f"{type(error).__name__}: {error.strerror or error}",
            expected="a readable file",
            remedy="check the path and its permissions",
        ) from error


@contextmanager
def locked(path: Path, timeout_seconds: float = -1) -> Iterator[bool]:
    """Hold the lock file ``path`` among processes; yields False when it could not be had in time (-1: wait)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(path), timeout=timeout_seconds)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
