"""One full-size case, alone in a process: ``python -m benchmarks.one_case WHAT FOLDER`` prints seconds and peak memory.

Its own process, because peak memory is a property of a process and never goes down again.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from pathlib import Path

from benchmarks.material import SGNET, full_size_cases
from benchmarks.measure import report

SLICES = 8  # slices at once: the result is the same, peak memory grows with it


def prepare_ours(folder: Path) -> None:
    """From a T1 file to the z-scored, cropped slices of SG-Net with their brain mask."""
    from strokelab.preparation.recipe import prepare

    case = full_size_cases(folder)[0]
    start = time.perf_counter()
    prepare(case, SGNET)
    report(seconds=time.perf_counter() - start)


def prepare_torchio(folder: Path) -> None:
    """The nearest chain of TorchIO: read, canonical, crop, z-score over a brain mask that is given as a file."""
    import torchio as tio

    from strokelab.grid import Grid
    from strokelab.nifti import read_voxels, write_volume
    from strokelab.preparation.brain import find_brain

    case = full_size_cases(folder)[0]
    brain = folder / "brain.nii.gz"
    if not brain.exists():
        voxels, grid = read_voxels(case.reference_image)
        write_volume(brain, find_brain(case, grid, voxels)[0], Grid.of(grid.shape, grid.affine))
    chain = tio.Compose([tio.ToCanonical(), tio.CropOrPad((192, 224, 189)), tio.ZNormalization(masking_method="brain")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        subject = tio.Subject(
            image=tio.ScalarImage(case.reference_image),
            brain=tio.LabelMap(brain),
            **{f"lesion_{index}": tio.LabelMap(file.path) for index, file in enumerate(case.lesions)},
        )
        chain(subject)
        report(seconds=time.perf_counter() - start)


def predict_sgnet(folder: Path) -> None:
    """A prepared case through the full-size SG-Net, and the floor: its multiply-adds as matrix products.

    A product is timed before each batch, so that both see the same machine; its time is not the prediction's.
    """
    import torch
    from torch import Tensor

    from strokelab import build_model
    from strokelab.inference.postprocess import threshold
    from strokelab.inference.predict import case_scores, to_native
    from strokelab.inference.slices import SliceWindows
    from strokelab.networks.cost import cost_of
    from strokelab.preparation.store import PreparedStore

    stored = PreparedStore(folder / "store").prepare(full_size_cases(folder)[:1], SGNET, progress=False)[0]
    model = build_model("sgnet", in_channels=1, n_sites=8).eval()
    windows = SliceWindows(batch_size=SLICES)
    macs = 2 * cost_of(model.network, torch.zeros(1, 1, 224, 96)).macs  # two halves a slice
    slices = sum(count >= windows.min_brain_pixels for count in stored.brain_voxels_per_slice)
    matrix = torch.randn(4096, 4096)
    matrix @ matrix
    products: list[float] = []

    def predict(image: Tensor, brain: Tensor) -> Tensor:
        start = time.perf_counter()
        matrix @ matrix
        products.append(time.perf_counter() - start)
        return model.predict_scores(image, brain)

    start = time.perf_counter()
    prepared = stored.load()
    to_native(prepared, case_scores(prepared, predict=predict, windows=windows), postprocess=threshold)
    seconds = time.perf_counter() - start - sum(products)
    rate = matrix.shape[0] ** 3 / statistics.median(products)  # multiply-adds per second
    report(seconds=seconds, floor=macs * slices / rate, slices=slices, gmacs=macs / 1e9, gflops=2 * rate / 1e9)


if __name__ == "__main__":
    {"prepare": prepare_ours, "prepare_torchio": prepare_torchio, "predict": predict_sgnet}[sys.argv[1]](
        Path(sys.argv[2])
    )
