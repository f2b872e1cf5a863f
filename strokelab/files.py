"""Files that are whole or absent: temporary name then move, content digests, locks between processes."""

from __future__ import annotations

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
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it into place only when the block ends without an error.

    The temporary name keeps the suffixes of ``path`` (writers choose their format by them).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


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
