"""Plans of nnU-Net's own planners for given geometries; runs in its environment (``benchmarks.peer``).

``python -m benchmarks.peer_plans FILE``: a list of ``{network, spacings, shapes, share, channels}`` along x, y, z.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner as module
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    ResEncUNetPlanner,
)
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

from benchmarks.measure import report

BLOCKS = (1, 2, 3, 4, 4, 4, 4, 4, 4, 4)  # of MAPPING's residual encoder


def plan(job: dict[str, Any]) -> dict[str, Any]:
    """One plan, its axes back in x, y, z: nnU-Net has z, y, x, and then the coarsest axis first."""
    spacings, shapes = ([row[::-1] for row in job[name]] for name in ("spacings", "shapes"))
    _in_place_of_files(job, spacings, shapes)
    planner = {"plain": module.ExperimentPlanner, "residual": ResEncUNetPlanner}[job["network"]]("any")
    if job["network"] == "residual":
        planner.UNet_blocks_per_stage_encoder = BLOCKS
    target = planner.determine_fullres_target_spacing()
    forward, _ = planner.determine_transpose()
    new = [compute_new_shape(shape, spacing, target) for spacing, shape in zip(spacings, shapes, strict=True)]
    median = np.median(new, 0)[forward]
    voxels = float(np.prod(median, dtype=np.float64) * len(new))
    found = planner.get_plans_for_configuration(np.array(target)[forward], median, "any", voxels, {})

    def xyz(values: Any) -> list[Any]:
        return [values[forward.index(axis)] for axis in (2, 1, 0)]

    network = found["architecture"]["arch_kwargs"]
    return {
        "patch": [int(side) for side in xyz(found["patch_size"])],
        "spacing": [float(mm) for mm in xyz(found["spacing"])],
        "batch_size": int(found["batch_size"]),
        "widths": list(network["features_per_stage"]),
        "kernels": [xyz(kernel) for kernel in network["kernel_sizes"]],
        "strides": [xyz(stride) for stride in network["strides"]],
        "normalize": "zscore_nonzero" if found["use_mask_for_norm"][0] else "zscore_volume",
    }


def _in_place_of_files(job: dict[str, Any], spacings: list[Any], shapes: list[Any]) -> None:
    channels = {str(index): "MR" for index in range(job["channels"])}
    dataset = {"labels": {"background": 0, "lesion": 1}, "channel_names": channels}
    share = job["share"]
    seen = {"spacings": spacings, "shapes_after_crop": shapes, "median_relative_size_after_cropping": share}
    module.load_json = lambda path: dataset if path.endswith("dataset.json") else seen
    module.isfile = lambda path: path.endswith("dataset_fingerprint.json")
    module.maybe_convert_to_dataset_name = lambda name: name
    module.get_filenames_of_train_images_and_targets = lambda *_: {}


if __name__ == "__main__":
    torch.set_default_device("meta")  # networks are built to be measured, not to be used
    with contextlib.redirect_stdout(sys.stderr):
        plans = [plan(job) for job in json.loads(Path(sys.argv[1]).read_text())]
    report(plans=plans)
