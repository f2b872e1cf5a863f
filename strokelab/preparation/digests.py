"""Digests of input files, remembered so that gigabytes are hashed once; knows paths, no voxels.

A digest is trusted as long as size, times and inode of the file are those it was taken at. Each is a small file of
its own, written whole: any number of processes may share the folder.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from strokelab.files import digest, file_digest, write_json
from strokelab.nifti import partner

SETTLED_SECONDS = 2.0
"""A file changed less than this before it was hashed may change again within one tick of its clock: not remembered."""


class FileDigests:
    """Content digests of files, remembered below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, path: Path) -> str:
        """The 32-digit digest of a file's bytes; of the bytes of both files where it is one of a pair (.hdr, .img).

        Raises:
            DataError: the file cannot be read.
        """
        other = partner(path)
        return self._of_one(path) if other is None else digest(sorted(self._of_one(half) for half in (path, other)))

    def _of_one(self, path: Path) -> str:
        path = path.absolute()
        name = digest(str(path))
        note = self.folder / name[:2] / f"{name}.json"
        signature = _signature(path)
        if signature is not None:
            remembered = _read(note)
            if remembered is not None and remembered.get("signature") == signature:
                return str(remembered["digest"])
        content = file_digest(path)
        if signature is not None and signature == _signature(path) and _settled(signature):
            write_json(note, {"path": str(path), "signature": signature, "digest": content})
        return content


def _signature(path: Path) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    # The change time cannot be set back by tools that copy modification times along.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _settled(signature: list[int]) -> bool:
    return time.time_ns() - max(signature[1:3]) > SETTLED_SECONDS * 1e9


def _read(note: Path) -> dict[str, object] | None:
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "digest" in content else None
