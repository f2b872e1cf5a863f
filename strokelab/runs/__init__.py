"""The run folder: everything one training left, and the only thing prediction and evaluation need.

The one reader and writer of run folders; reading how a run stands imports no torch. Layout::

    config.yaml       every setting, resolved, late facts bound        split.csv      who was trained on and who not
    sites.json        training sites in the classifier's order         metrics.csv    one row per logged step
    checkpoints/      last.ckpt, best.ckpt, snapshot-*.ckpt            cases.csv      the test part, scored
    probabilities.csv the same cases' voxels by lesion probability     status.json    running, finished, killed, failed
    environment.json  versions, machine, git commit                plan.json      what a planner decided, and from what
    training_scans.json  spacing, grid, field of view, orientation, space and contrasts of the training cases
    init_weights.json    the run whose weights the training started from, and which of them it left out
    tuning.csv, tuning.json  threshold and smallest component: every pair tried on every case, and the pair found
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from strokelab.runs.checkpoints import (
    SNAPSHOTS,
    check_weights,
    each_named,
    find_checkpoint,
    load_weights,
    read_checkpoint,
    resumable_checkpoint,
)
from strokelab.runs.folder import (
    CASES,
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    INIT_WEIGHTS,
    METRICS,
    PLAN,
    PROBABILITIES,
    SITES,
    SPLIT,
    STATUS,
    TRAINING_SCANS,
    claimed,
    environment,
    erase,
    is_claimed,
    read_environment,
    read_score,
    read_settings,
    read_split,
    read_status,
    refuse_to_replace,
    write_digest,
    write_settings,
    write_start,
    write_status,
)
from strokelab.runs.init_weights import start_from, trained_on_test, with_init_weights
from strokelab.runs.objective import TEST_DICE, check_objective, nothing_found, read_objective, validation_remedy
from strokelab.runs.own import own_classes, remember
from strokelab.runs.packed import is_packed, open_packed, run_folders
from strokelab.runs.settings_digest import Before, as_before, differences, settings_digest, taken_back, with_full_places

if TYPE_CHECKING:
    from strokelab.runs.ensemble import Ensemble, load_ensemble
    from strokelab.runs.trained import Run, load_run

__all__ = [
    "CASES",
    "CHECKPOINTS",
    "CONFIG",
    "ENVIRONMENT",
    "INIT_WEIGHTS",
    "METRICS",
    "PLAN",
    "PROBABILITIES",
    "SITES",
    "SNAPSHOTS",
    "SPLIT",
    "STATUS",
    "TEST_DICE",
    "TRAINING_SCANS",
    "Before",
    "Ensemble",
    "Run",
    "as_before",
    "check_objective",
    "check_weights",
    "claimed",
    "differences",
    "each_named",
    "environment",
    "erase",
    "find_checkpoint",
    "is_claimed",
    "is_packed",
    "load_ensemble",
    "load_run",
    "load_weights",
    "nothing_found",
    "open_packed",
    "own_classes",
    "read_checkpoint",
    "read_environment",
    "read_objective",
    "read_score",
    "read_settings",
    "read_split",
    "read_status",
    "refuse_to_replace",
    "remember",
    "resumable_checkpoint",
    "run_folders",
    "settings_digest",
    "start_from",
    "taken_back",
    "trained_on_test",
    "validation_remedy",
    "with_full_places",
    "with_init_weights",
    "write_digest",
    "write_settings",
    "write_start",
    "write_status",
]


def __getattr__(name: str) -> Any:
    if name in ("Run", "load_run"):  # torch only where a model is needed: states are read often and at once
        return getattr(importlib.import_module("strokelab.runs.trained"), name)
    if name in ("Ensemble", "load_ensemble"):
        return getattr(importlib.import_module("strokelab.runs.ensemble"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
