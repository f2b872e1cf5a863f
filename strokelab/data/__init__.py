"""Cohorts on disk to training items. This page needs no torch: datamodules are imported when first named."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from strokelab.data import readers
from strokelab.data.case_table import Cases

DATAMODULES = ("ATLASv1", "ATLASv2", "ISLES2015", "ISLES2022", "Phantom", "CohortDataModule")
SEVERAL = "several"

__all__ = ["ISLES2015", "ISLES2022", "ATLASv1", "ATLASv2", "Cases", "CohortDataModule", "Phantom", "read_cases"]


def read_cases(dataset: str, root: str | Path, **options: Any) -> Cases:
    """The cases of a cohort on disk, in natural order of their ids; a list that is shown as a table. Opens no image.

    Args:
        dataset: a module name of ``strokelab.data.readers``: ``atlas_v1``, ``atlas_v2``, ``isles2015_siss``,
            ``isles2015_spes``, ``isles2022``, ``bids`` or ``folder``; ``several``: those of the option ``datasets``.
        root: the dataset's folder, or any folder above or inside that still holds whole cases.
        options: the reader's own (``docs/datasets.md``); every reader knows ``exclude`` and ``above``.

    Raises:
        DataError: no case there (the message guesses which dataset the folder is), an incomplete case, an id twice.
        ConfigError: an unknown dataset or option.
    """
    if dataset == SEVERAL:
        return Cases(importlib.import_module("strokelab.data.several").read(root, **options))
    return Cases(readers.read(dataset, root, **options))


def __getattr__(name: str) -> Any:
    if name in DATAMODULES:
        return getattr(importlib.import_module("strokelab.data.datamodule"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
