"""``strokelab submit``: a sweep whose members are jobs, started as ``train.py -m`` would start it."""

from __future__ import annotations

from collections.abc import Sequence

from strokelab.sweeps.members import training_script
from strokelab.sweeps.slurm.job import run_door


def submit_sweep(overrides: Sequence[str], *, dry_run: bool) -> None:
    """Do what ``python train.py -m OVERRIDES hydra/launcher=slurm trainer=slurm`` does; own choices of both stand.

    Args:
        overrides: and Hydra's flags, such as ``--config-dir``.
        dry_run: print what would be submitted, submit nothing.

    Raises:
        SystemExit: as the sweep ends.
    """
    chosen = [
        item
        for item in ("hydra/launcher=slurm", "trainer=slurm")
        if not any(given.startswith(item.partition("=")[0] + "=") for given in overrides)
    ]
    dry = ["hydra.launcher.dry_run=true"] if dry_run else []
    # Flags such as --config-dir stand first among the overrides, or argparse would not take what follows them.
    arguments = ["--multirun", *overrides, *chosen, *dry]
    run_door(training_script(), arguments)
