"""The run's numbers on Weights & Biases, or in its offline files where nobody is logged in. Knows no metric."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger


class WeightsAndBiases(WandbLogger):
    """A logger whose names and values are those of ``metrics.csv``.

    Lightning's own leaves its run open until the process ends, and the next member of a sweep would go on in it.

    Args:
        save_dir: where its files go: the run folder.
        project: the project on the server.
        mode: ``online``, ``offline`` or ``disabled``; None: ``WANDB_MODE``, else online where this machine has a key
            and offline where it has none, so that a training never waits for a login.
        **init: further settings of ``wandb.init``, e.g. ``name``, ``entity``, ``group``, ``tags``.
    """

    def __init__(
        self, save_dir: str | Path, *, project: str = "strokelab", mode: str | None = None, **init: Any
    ) -> None:
        self.mode = mode or os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
        super().__init__(save_dir=save_dir, project=project, mode=self.mode, **init)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left and end the run."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None


def has_key() -> bool:
    """Whether wandb would find an API key: ``WANDB_API_KEY``, or an entry for its server in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    file = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
