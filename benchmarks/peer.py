"""nnU-Net's own environment: scripts run there with its Python, their answers come back. Nothing of ours imports it.

Made once, anywhere: ``python -m venv PEER && PEER/bin/pip install nnunetv2``; then
``export STROKELAB_NNUNET_PYTHON=PEER/bin/python``.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT

VARIABLE = "STROKELAB_NNUNET_PYTHON"
_PACKAGES = ("nnunetv2", "dynamic-network-architectures", "batchgeneratorsv2", "torch", "numpy")


class NoPeerError(RuntimeError):
    """There is no environment with nnU-Net; the message says how to make one."""


def peer_python() -> Path:
    """The Python that nnU-Net is installed for.

    Raises:
        NoPeerError: the variable is not set, or names no program.
    """
    given = os.environ.get(VARIABLE, "")
    found = shutil.which(given) if given else None
    if found is None:
        raise NoPeerError(f"{VARIABLE} {f'names no program: {given}' if given else 'is not set'}.\n{__doc__}")
    return Path(found)


def peer_is_there() -> bool:
    """Whether there is such an environment."""
    try:
        peer_python()
    except NoPeerError:
        return False
    return True


def in_peer(module: str, *words: str | Path, environment: Mapping[str, str | Path] | None = None) -> dict[str, Any]:
    """Run ``python -m module words`` in nnU-Net's environment and return the dict it printed as its last line.

    Args:
        module: of this package, e.g. ``benchmarks.peer_step``; it may import ``benchmarks.measure`` and its ``report``,
            but nothing of strokelab.
        words: its command line.
        environment: further variables, e.g. ``nnUNet_results``.

    Raises:
        NoPeerError: there is no such environment.
        RuntimeError: the module failed; the message holds the end of what it said.
    """
    words = (peer_python(), "-m", module, *words)
    quiet = {"nnUNet_compile": "f"}  # compiling takes minutes on a CPU and gains nothing there
    done = subprocess.run(
        [str(word) for word in words],
        cwd=ROOT,
        env={**os.environ, **quiet, **{key: str(value) for key, value in (environment or {}).items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        if done.returncode:
            raise ValueError
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        raise RuntimeError(f"{' '.join(map(str, words))} ended with status {done.returncode}\n{said}") from None
    return answer


@functools.cache
def peer_versions() -> str:
    """What is installed there, for the line under a table."""
    return ", ".join(f"{name} {version}" for name, version in in_peer("benchmarks.peer", *_PACKAGES).items())


def _main() -> None:
    import sys
    from importlib import metadata

    print(json.dumps({name: metadata.version(name) for name in sys.argv[1:]}))


if __name__ == "__main__":
    _main()
