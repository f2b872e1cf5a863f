"""A whole volume through our windows, alone in a process: ``python -m benchmarks.window_case WHAT ...``.

``volume PRECISION CALLS``: seconds of an ATLAS-size case with 8 mirror images, reckoned from so many passes of the
full network, and the peak memory. ``around MIRROR``: what a pointwise network does not take, ours and MONAI's.
``quality``: how the masks of a small trained network differ in bf16 and in float32.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import Watch, report
from benchmarks.partly import Partly
from strokelab.contract import PreparedCase
from strokelab.grid import Grid
from strokelab.inference.precision import Precision, settle
from strokelab.inference.predict import case_scores
from strokelab.inference.windows import PatchWindows

SHAPE, PATCH = (197, 233, 189), (128, 128, 128)


def volume(precision: str, calls: int) -> None:
    """As ``strokelab predict`` does on a CPU."""
    from strokelab import build_model

    model = build_model("nnunet").eval()
    prepared = case_of(np.random.default_rng(0).standard_normal((1, *SHAPE)).astype(np.float32))
    brain = torch.ones(1, 1, *PATCH, dtype=torch.uint8)
    partly = Partly(lambda image: model.predict_scores(image, brain), calls)
    watch = Watch()
    settled = settle(precision, trained="", device="cpu")
    case_scores(
        prepared,
        predict=lambda image, inside: partly(image),
        windows=PatchWindows(PATCH),
        lesion_channel=1,
        precision=settled,
    )
    report(**partly.whole(watch.read()), calls=partly.asked)


def around(mirror: str, rounds: int) -> None:
    """Processor seconds of one thread, the network's own taken off: ours, MONAI's, and MONAI's of the lesion alone."""
    from monai.inferers import sliding_window_inference

    torch.set_num_threads(1)
    prepared = case_of(np.random.default_rng(0).standard_normal((1, *SHAPE)).astype(np.float32))
    pointwise = nn.Conv3d(1, 2, kernel_size=1).requires_grad_(False)
    flips = [tuple(axes) for axes in mirrored_axes(mirror)]

    def ours(network: Callable[[Tensor], Tensor]) -> object:
        windows = PatchWindows(PATCH, mirror=mirror)
        return case_scores(prepared, predict=lambda image, _: network(image), windows=windows, lesion_channel=1).lesion

    def monai(network: Callable[[Tensor], Tensor]) -> object:
        image, total = torch.from_numpy(prepared.image)[None], torch.zeros(())
        with torch.inference_mode():
            for flip in flips:  # MONAI has no mirroring of its own; this is what its users write
                turned = image.flip(flip) if flip else image
                scores = sliding_window_inference(turned, PATCH, 1, network, overlap=0.5, mode="gaussian")
                total = total + (scores.flip(flip) if flip else scores) if len(flips) > 1 else scores
        return (total / len(flips))[0, -1].numpy()

    def monai_lesion(network: Callable[[Tensor], Tensor]) -> object:
        return monai(lambda image: network(image)[:, 1:])

    contestants = {"ours": ours, "monai": monai, "monai_lesion": monai_lesion}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            watched = Partly(pointwise, sys.maxsize)
            watch = Watch()
            work(watched)
            if turn:
                seconds[name].append(watch.read()["processor"] - watched.spent["processor"])
    report(**{name: statistics.median(values) for name, values in seconds.items()})


def quality() -> None:
    """Dice of the masks, and the largest difference of probabilities, over three volumes nobody trained on."""
    network = trained_network()

    def predict(image: Tensor, brain: Tensor) -> Tensor:
        return network(image).float().softmax(1)

    windows = PatchWindows((48, 48, 48))
    dice, largest = [], 0.0
    for seed in range(3):
        image, _ = lesions((64, 48, 48), 1000 + seed)
        full, half = (
            case_scores(
                case_of(image.numpy()), predict=predict, windows=windows, lesion_channel=1, precision=precision
            ).lesion
            for precision in _both()
        )
        one, other = full >= 0.5, half >= 0.5
        dice.append(2 * (one & other).sum() / (one.sum() + other.sum()))
        largest = max(largest, float(np.abs(full - half).max()))
    report(dice=float(min(dice)), largest=largest)


def trained_network(steps: int = 150) -> nn.Module:
    """A small nnU-Net that has learnt to find bright blobs."""
    from strokelab.losses.compound import DiceCELoss
    from strokelab.networks.nnunet import NNUNet

    torch.manual_seed(0)
    shape = {"widths": (8, 16, 32), "kernels": [[3] * 3] * 3, "strides": [[1] * 3, [2] * 3, [2] * 3]}
    network = NNUNet(1, deep_supervision=False, **shape)
    compound = DiceCELoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    for step in range(steps):
        image, lesion = lesions((24, 24, 24), step)
        logits = network(image[None])
        loss = compound(logits, lesion[None, None].float(), None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def lesions(shape: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Noise with bright blobs (1, *shape), and where they are (*shape)."""
    stream = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.arange(side) for side in shape), indexing="ij")
    inside = np.zeros(shape, bool)
    for _ in range(max(1, int(np.prod(shape)) // 16_384)):
        centre, radius = stream.uniform(0, shape), stream.uniform(2, 7)
        inside |= sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)) < radius**2
    image = stream.standard_normal(shape) + 3 * inside
    return torch.from_numpy(image.astype(np.float32))[None], torch.from_numpy(inside)


def mirrored_axes(mirror: str) -> list[list[int]]:
    """Combinations of the axes of a (..., X, Y, Z) tensor."""
    axes = [axis for axis, letter in zip((-3, -2, -1), "xyz", strict=True) if letter in mirror and mirror != "none"]
    return [[a for a, on in zip(axes, turn, strict=True) if on] for turn in product((0, 1), repeat=len(axes))]


def case_of(image: np.ndarray) -> PreparedCase:
    """A case (C, X, Y, Z) of a millimetre, all of it brain."""
    grid = Grid.of(image.shape[1:], np.eye(4))
    brain = np.ones(image.shape[1:], bool)
    names = tuple(f"m{channel}" for channel in range(len(image)))
    return PreparedCase(
        case_id="case",
        subject_id="case",
        site=None,
        channels=names,
        image=image,
        lesion=None,
        brain=brain,
        grid=grid,
        steps=(),
        native=grid,
    )


def _both() -> tuple[Precision, Precision]:
    return "32", "bf16"


if __name__ == "__main__":
    if sys.argv[1] == "volume":
        volume(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "around":
        around(sys.argv[2], int(sys.argv[3]))
    else:
        quality()
