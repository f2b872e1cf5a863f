"""Where Hydra makes a folder: nowhere but where results go. Knows Hydra's settings; writes nothing into the folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from strokelab.errors import DataError
from strokelab.files import make_folder


class OneOutput(Callback):
    """Hydra's callback: with ``run_dir=``, ``out=`` or ``resume=`` no folder is made in the working folder.

    Hydra makes its output folder for every command, also where results go to another one; the working folder may be
    one that cannot be written to.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Take the working folder itself, which is there, where the default output folder is not wanted."""
        raw = OmegaConf.to_container(config, resolve=False)
        setting = "run_dir" if "run_dir" in config else "out"
        place = raw.get(setting) if isinstance(raw, dict) else None
        if "hydra:runtime.output_dir" not in str(place) or config.get("resume") not in (None, "auto"):
            with read_write(config), open_dict(config):
                config.hydra.run.dir = "."
        else:
            named = str(dict(config.hydra.run.items_ex(resolve=False))["dir"]).partition("${")[0]  # up to the date
            _make(Path(named) if named.endswith("/") else Path(named).parent, setting)


def _make(folder: Path, setting: str) -> None:
    """Make the folder of the results before Hydra does, which would end with a traceback where that fails."""
    try:
        make_folder(folder)
    except DataError as error:
        error = DataError(
            folder, found=error.found, expected=error.expected, remedy=f"choose another one: {setting}=FOLDER"
        )
        print(f"{type(error).__name__} {error}", file=sys.stderr)
        sys.exit(1)  # Hydra turns other exceptions of a callback into warnings
