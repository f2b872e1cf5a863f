"""``strokelab submit``: a sweep whose members are jobs, started as ``train.py -m`` would start it."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from strokelab.configuration import conf_folder
from strokelab.errors import ConfigError


def submit_sweep(overrides: Sequence[str], *, dry_run: bool) -> None:
    """Do what ``python train.py -m OVERRIDES hydra/launcher=slurm trainer=slurm`` does; own choices of both stand.

    Args:
        overrides: and Hydra's flags, such as ``--config-dir``.
        dry_run: print what would be submitted, submit nothing.

    Raises:
        ConfigError: there is no ``train.py`` to start.
    """
    places = (Path.cwd(), conf_folder().parent, conf_folder().parents[1])
    script = next((place / "train.py" for place in places if (place / "train.py").is_file()), None)
    if script is None:
        raise ConfigError(
            "train.py",
            found=f"no such file in {Path.cwd()}",
            expected="the script that each job runs",
            remedy="start this in the folder with train.py: a clone of strokelab, or your own project",
        )
    chosen = [
        item
        for item in ("hydra/launcher=slurm", "trainer=slurm")
        if not any(given.startswith(item.partition("=")[0] + "=") for given in overrides)
    ]
    dry = ["hydra.launcher.dry_run=true"] if dry_run else []
    # Flags such as --config-dir stand first among the overrides, or argparse would not take what follows them.
    sys.argv = [str(script), "--multirun", *overrides, *chosen, *dry]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")
