"""Independent random streams, addressed by what they are for and never by the order of calls."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_of(seed: int, *keys: str | int) -> int:
    """A 63-bit seed that is a pure function of (seed, keys): the same on every machine and in every process."""
    text = "\x1f".join([str(int(seed)), *(f"{type(key).__name__}:{key}" for key in keys)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def stream(seed: int, *keys: str | int) -> np.random.Generator:
    """A generator of its own for (seed, keys), e.g. ``stream(7, "augment", epoch, case_id)``."""
    return np.random.Generator(np.random.PCG64(seed_of(seed, *keys)))
