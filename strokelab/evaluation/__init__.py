"""Runs and datasets in; predictions, tables and reports out. This page needs no torch: see ``evaluation.command``.

``command`` is ``evaluate.py``; ``matrix`` holds every run against every dataset.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strokelab.evaluation.command import KEYS, evaluate, evaluate_or_exit, evaluated
    from strokelab.evaluation.outcomes import save_qc
    from strokelab.evaluation.sweep import is_sweep

__all__ = ["KEYS", "evaluate", "evaluate_or_exit", "evaluated", "is_sweep", "save_qc"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # torch only where something is predicted: a matrix of kept scores needs none
        return getattr(importlib.import_module("strokelab.evaluation.command"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
