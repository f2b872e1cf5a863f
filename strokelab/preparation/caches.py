"""What lies in a prepared store, by kind: how large it is, and how it is removed. Knows names and sizes, no content.

Everything here is made again when it is needed. Only entries by the names that we give are looked at, never what else
lies in the folder, and no link is followed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from strokelab.errors import ConfigError, DataError
from strokelab.files import locked
from strokelab.preparation.store import default_store

_BYTE = "[0-9a-f]{2}"
KINDS: Mapping[str, tuple[str, str]] = {
    "prepared": ("", rf"{_BYTE}/[0-9a-f]{{32}}"),
    "tissues": ("tissues", rf"{_BYTE}/[0-9a-f]{{32}}"),
    "scores": ("scores", rf"{_BYTE}/[0-9a-f]{{32}}"),
    "models": ("models", r"[A-Za-z0-9][\w.+-]*-[0-9a-f]{16}|[0-9a-f]{64}"),  # the second: of earlier versions
    "digests": ("digests", rf"{_BYTE}/[0-9a-f]{{32}}\.json"),
}
"""Kind -> its folder in the store, and what its entries are called there."""
_LOCKS = "locks"


@dataclass(frozen=True)
class Cache:
    """The entries of one kind.

    Args:
        name: of the kind.
        folder: where they lie.
        places: each of them.
        bytes: of all of them.
    """

    name: str
    folder: Path
    places: tuple[Path, ...]
    bytes: int

    @property
    def entries(self) -> int:
        """How many there are."""
        return len(self.places)


def caches_of(store: Path | None = None, kinds: Sequence[str] = ()) -> list[Cache]:
    """The caches in a store.

    Args:
        store: its folder; None: the usual one.
        kinds: of ``KINDS``; (): all.

    Raises:
        ConfigError: there is no such kind, or no such store.
    """
    wrong = [kind for kind in kinds if kind not in KINDS]
    if wrong:
        raise ConfigError(
            "strokelab cache", found=repr(wrong[0]), expected=f"some of {', '.join(KINDS)}", remedy="choose among them"
        )
    root = (store or default_store()).expanduser().absolute()
    if store is not None and not root.is_dir():
        raise ConfigError(
            "--store", found=f"no folder {root}", expected="a store", remedy="leave it out: the usual one"
        )
    return [_cache(root, kind) for kind in kinds or KINDS]


def cleared(caches: Sequence[Cache]) -> int:
    """Remove entries, but those that a process is writing at this moment.

    Returns:
        Bytes that were removed.

    Raises:
        DataError: an entry cannot be removed.
    """
    removed = 0
    for cache in caches:
        for place in cache.places:
            lock = cache.folder / _LOCKS / f"{place.name}.lock"
            size = _size(place)
            try:
                if cache.name == "prepared" and lock.is_file():
                    with locked(lock, 0) as free:
                        if not free:
                            continue
                        _remove(place)
                else:
                    _remove(place)
            except OSError as error:
                raise DataError(
                    place,
                    found=f"{type(error).__name__}: {error.strerror or error}",
                    expected="an entry that may be removed",
                    remedy="remove it as the user whose store it is",
                ) from error
            removed += size
            with suppress(OSError):  # of its two digits, when the last one has gone
                place.parent.rmdir()
    return removed


def _cache(root: Path, kind: str) -> Cache:
    below, pattern = KINDS[kind]
    folder = root / below if below else root
    depth = "*/*" if "/" in pattern else "*"
    named = re.compile(pattern)
    places = tuple(
        sorted(
            path
            for path in folder.glob(depth)
            if named.fullmatch(path.relative_to(folder).as_posix())
            and not (path.is_symlink() or path.parent.is_symlink() or folder.is_symlink())
        )
    )
    return Cache(kind, folder, places, sum(map(_size, places)))


def _size(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    return sum(path.lstat().st_size for path in place.rglob("*") if not path.is_dir())


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
