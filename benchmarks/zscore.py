"""A z-score inside a brain mask, volume in memory: ours against TorchIO's ZNormalization."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
import torchio as tio

from benchmarks.material import SGNET, full_size_cases
from benchmarks.measure import Row, interleaved
from strokelab.nifti import read_voxels
from strokelab.preparation.brain import find_brain
from strokelab.preparation.normalize import normalize

GOAL = 6.0


def rows(folder: Path, rounds: int) -> list[Row]:
    """One 197 x 233 x 189 volume; both results must agree."""
    case = full_size_cases(folder)[0]
    image, grid = read_voxels(case.images[SGNET.modalities[0]])
    image = np.asfortranarray(image)  # as it leaves the file
    brain = np.asfortranarray(find_brain(case, grid, image)[0])
    # Copied to tensors of TorchIO's own memory order, so that the peer works on what it would have read itself.
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=torch.from_numpy(np.ascontiguousarray(image))[None]),
        brain=tio.LabelMap(tensor=torch.from_numpy(np.ascontiguousarray(brain))[None].to(torch.uint8)),
    )
    transform = tio.ZNormalization(masking_method="brain")
    out = np.empty_like(image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transform(subject).image.numpy()[0]
        ours = normalize(image, brain, "zscore_brain")
        # TorchIO divides by the sample deviation (n - 1), we by the population's.
        n = np.count_nonzero(brain)
        np.testing.assert_allclose(ours * np.sqrt((n - 1) / n), theirs, rtol=0, atol=1e-4)
        seconds = interleaved(
            {
                "volume": lambda: normalize(image, brain, "zscore_brain", out=out),
                "slices": lambda: normalize(image, brain, "zscore_slice_brain", out=out),
                "peer": lambda: transform(subject),
            },
            rounds * 3,
        )
    peer = "TorchIO ZNormalization, whole volume"
    return [
        Row("z-score over a brain, volume", seconds["volume"], peer, seconds["peer"], GOAL),
        Row("z-score over a brain, slice by slice", seconds["slices"], peer, seconds["peer"], GOAL),
    ]
