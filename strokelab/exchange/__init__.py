"""To and from other tools: cohorts become nnU-Net's raw datasets, models of nnU-Net and SynthStroke become runs.

Imports none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from strokelab.exchange.raw_dataset import RawDataset, export_nnunet, recorded_splits

if TYPE_CHECKING:
    from strokelab.exchange.run_folder import Origin, import_nnunet

__all__ = ["Origin", "RawDataset", "export_nnunet", "import_nnunet", "recorded_splits"]


def __getattr__(name: str) -> Any:
    if name in ("Origin", "import_nnunet"):  # torch only where weights are read
        return getattr(importlib.import_module("strokelab.exchange.run_folder"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
