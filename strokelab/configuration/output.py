"""Where Hydra makes a folder: nowhere but where results go. Knows Hydra's settings; writes nothing."""

from __future__ import annotations

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write


class OneOutput(Callback):
    """Hydra's callback: with ``run_dir=``, ``out=`` or ``resume=`` no folder is made in the working folder.

    Hydra makes its output folder for every command, also where results go to another one; the working folder may be
    one that cannot be written to.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Take the working folder itself, which is there, where the default output folder is not wanted."""
        raw = OmegaConf.to_container(config, resolve=False)
        place = raw.get("run_dir", raw.get("out")) if isinstance(raw, dict) else None
        if "hydra:runtime.output_dir" not in str(place) or config.get("resume") not in (None, "auto"):
            with read_write(config), open_dict(config):
                config.hydra.run.dir = "."
