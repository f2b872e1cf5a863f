"""Which words of a command Hydra composes, and which wait for the config of the run that goes on.

Hydra holds every setting against ``conf/``; a run to resume has a config of its own, with other keys.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_VALUED = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p")
_NO_TRAINING = ("-m", "--multirun", "-c", "--cfg", "-i", "--info", "-h", "--help", "--hydra-help", "-sc")
_words: list[str] = []  # of the whole command, while Hydra sees a part of it
_held: list[str] = []


def hold_back() -> None:
    """Leave in ``sys.argv`` what Hydra is to compose: with ``resume=RUN`` nothing but that and its flags."""
    words, held = _divided(sys.argv[1:])
    if held:
        _words[:], _held[:] = sys.argv, held
        sys.argv = [sys.argv[0], *words]


def typed() -> list[str]:
    """The settings of this command, held back or not; ``sys.argv`` is whole again, for the processes it starts."""
    from hydra.core.hydra_config import HydraConfig

    if _words:
        sys.argv = list(_words)
    return [*(HydraConfig.get().overrides.task if HydraConfig.initialized() else ()), *_held]


def _divided(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words for Hydra, and settings that wait."""
    resumes = [word for word in words if word.lstrip("+").startswith("resume=")]
    if not resumes or resumes[-1].partition("=")[2] in ("auto", "null", "") or set(words) & set(_NO_TRAINING):
        return list(words), []
    now: list[str] = []
    held: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_setting = "=" in word or word.startswith("~")
        own = word.startswith(("-", "hydra.", "hydra/", "+hydra", "~hydra", "++hydra")) or word in resumes
        (held if is_setting and not own and before not in _VALUED else now).append(word)
    return now, held
