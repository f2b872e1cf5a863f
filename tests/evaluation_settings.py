"""Settings of an evaluation, and sweeps of run folders in which nothing was trained."""

import json
import os
from pathlib import Path

import yaml

from strokelab import runs
from strokelab.configuration.multirun import MULTIRUN

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def evaluation_settings(**changed):
    return {
        "runs": [],
        "sweeps": [],
        "part": "test",
        "checkpoint": None,
        "postprocess": None,
        "profile": "default",
        "save_predictions": None,
        "rescore": "auto",
        "store": os.environ["STROKELAB_STORE"],
        "allow": [],
        "device": "cpu",
        **changed,
    }


def write_multirun(folder: Path, *task: str, subdir: str = "${name}-fold${split.fold}-seed${seed}") -> Path:
    """The ``multirun.yaml`` of ``train.py -m <task>``, as far as it matters."""
    folder.mkdir(parents=True, exist_ok=True)
    hydra = {
        "sweep": {"dir": "gone", "subdir": subdir},
        "sweeper": {"_target_": BASIC, "params": None},
        "overrides": {"task": list(task)},
        "runtime": {"choices": {"model": "sgnet", "ablation": None}},
    }
    content = {"hydra": hydra, "name": "${hydra:runtime.choices.model}", "seed": 0, "split": {"fold": 0}}
    (folder / MULTIRUN).write_text(yaml.safe_dump(content))
    return folder


def write_member(folder: Path, state: str, *overrides: str, error: str = "") -> Path:
    """A folder that a training left in some state."""
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_status(folder, state, **({"error": error} if error else {}))
    (folder / runs.ENVIRONMENT).write_text(json.dumps({"overrides": list(overrides)}))
    return folder
