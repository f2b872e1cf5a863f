"""SUNet's dense inference beside a plain float32 loop over the same patches, and what coarser steps give up.

The loop cuts batches of 64 into a preallocated array and adds maps to preallocated volumes: no straw man, but void as a
peer where it takes more than 30 ms a patch, since that machine was busy or is no match for the paper's case.
Weights are random but for the Dice: that is of a small SUNet which has learnt to find bright blobs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import Row, in_child, report

CHILD = "benchmarks.dense_patches"
PATCH = (24, 24, 16)
GOAL, VOID_MS = 3.0, 30.0
SHAPE = (56, 56, 41)  # of a part of a SISS case
BATCHES = 4  # that are computed, of 64 patches
COARSER = ((8, 8, 4), (12, 12, 8))


def rows(folder: Path, rounds: int) -> list[Row]:
    """Time per patch in float32 and, where the processor has the arithmetic, in bfloat16; then the coarser steps."""
    answer = in_child(CHILD, "speed", str(rounds))
    quality = in_child(CHILD, "quality")
    loop = answer["loop"]
    void = f"; VOID: the loop took {loop * 1000:.0f} ms a patch, above {VOID_MS:.0f}" if loop * 1000 > VOID_MS else ""
    lines = []
    for name in ("bf16", "32"):
        if name not in answer:
            continue
        goal = GOAL if name == "bf16" and not void else None
        note = f"per patch of 24 x 24 x 16, 8 channels; around the network {answer['around'] * 1000:.2f} ms{void}"
        work = f"dense SUNet, {'bfloat16' if name == 'bf16' else 'float32'}"
        lines.append(Row(work, answer[name], "plain float32 loop, batches of 64", loop, goal, note=note))
    for step in COARSER:
        key = "x".join(map(str, step))
        note = f"Dice of the masks to step 4 x 4 x 1: {quality[f'dice {key}']:.4f} (small trained network)"
        fine, coarse = quality["seconds"], quality[f"seconds {key}"]
        lines.append(Row(f"dense SUNet, step {key.replace('x', ' x ')}", coarse, "step 4 x 4 x 1", fine, note=note))
    return lines


def speed(rounds: int) -> None:
    """Median seconds a patch of each contestant; they take turns, after a first turn that does not count."""
    from strokelab import allocator
    from strokelab.inference.dense_patches import DensePatches
    from strokelab.inference.precision import computing, settle
    from strokelab.networks.folding import for_prediction
    from strokelab.networks.sunet import SUNet

    allocator.keep_resident()  # for everybody
    torch.manual_seed(0)
    network = SUNet(8).eval().requires_grad_(False)
    fast = for_prediction(network)
    image = np.random.default_rng(0).standard_normal((8, *SHAPE), dtype=np.float32)
    brain = _some_centres(64 * BATCHES)
    plan = DensePatches(PATCH)
    patches = plan.count(brain)

    def dense(precision: str) -> Callable[[], object]:
        def work() -> object:
            with torch.inference_mode(), computing(settle(precision, trained="", device="cpu"), "cpu"):
                return plan(image, lambda x, _: fast(x).float().softmax(1)[:, 1:], brain)

        return work

    def around() -> object:
        return plan(image, lambda x, _: x[:, :1], brain)

    contestants: dict[str, Callable[[], object]] = {"loop": lambda: plain_loop(network, image, plan.corners(brain))}
    contestants |= {"32": dense("32"), "around": around}
    if settle("as_trained", trained="bf16-mixed", device="cpu") == "bf16":
        contestants["bf16"] = dense("bf16")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            begun = time.perf_counter()
            work()
            if turn:
                seconds[name].append((time.perf_counter() - begun) / patches)
    report(**{name: float(np.median(values)) for name, values in seconds.items()}, patches=patches)


def plain_loop(network: nn.Module, image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The lesion's map (X, Y, Z): batches of 64 patches cut one by one, maps added one by one."""
    ends = [((side + 1) // 2,) * 2 for side in PATCH]
    padded = np.pad(image, [(0, 0), *ends])
    total, count = (np.zeros(padded.shape[1:], np.float32) for _ in range(2))
    batch = np.empty((64, len(image), *PATCH), np.float32)
    boxes = [tuple(slice(c, c + side) for c, side in zip(corner, PATCH, strict=True)) for corner in corners.tolist()]
    for begin in range(0, len(boxes), 64):
        part = boxes[begin : begin + 64]
        for place, box in enumerate(part):
            batch[place] = padded[:, *box]
        with torch.inference_mode():
            scores = network(torch.from_numpy(batch[: len(part)])).softmax(1)[:, 1].numpy()
        for box, score in zip(part, scores, strict=True):
            total[box] += score
            count[box] += 1
    return total / np.maximum(count, 1)


def quality() -> None:
    """Dice of the masks of coarser steps to those of the paper's, over three unseen volumes, and seconds."""
    from benchmarks.window_case import case_of, lesions
    from strokelab.inference.dense_patches import DensePatches
    from strokelab.inference.predict import case_scores
    from strokelab.networks.folding import for_prediction

    network = for_prediction(_trained_network())

    def predict(image: Tensor, brain: Tensor) -> Tensor:
        return network(image).softmax(1)

    steps = {"": (4, 4, 1), **{"x".join(map(str, step)): step for step in COARSER}}
    seconds, dice = dict.fromkeys(steps, 0.0), dict.fromkeys(steps, 1.0)
    for seed in range(3):
        image, _ = lesions((44, 40, 32), 1000 + seed)
        masks = {}
        for name, step in steps.items():
            begun = time.perf_counter()
            case = case_of(image.numpy())
            masks[name] = case_scores(case, predict=predict, windows=DensePatches(PATCH, step), lesion_channel=1).lesion
            seconds[name] += time.perf_counter() - begun
            one, other = masks[""] > 0.5, masks[name] > 0.5
            dice[name] = min(dice[name], float(2 * (one & other).sum() / (one.sum() + other.sum())))
    report(
        **{f"dice {name}": value for name, value in dice.items() if name},
        **{f"seconds {name}".strip(): value / 3 for name, value in seconds.items()},
    )


def _trained_network(steps: int = 150) -> nn.Module:
    from benchmarks.window_case import lesions
    from strokelab.networks.sunet import SUNet

    torch.manual_seed(0)
    network = SUNet(1, base=4, depth=3, bn_momentum=0.1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(steps):
        image, lesion = lesions(PATCH, step)
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(image[None]), lesion.long()[None]).backward()
        optimiser.step()
    return network.eval().requires_grad_(False)


def _some_centres(count: int) -> np.ndarray:
    """A brain (X, Y, Z) around which ``count`` patches lie, in the middle of the volume."""
    from strokelab.inference.dense_patches import DensePatches

    brain, middle = np.zeros(SHAPE, bool), [side // 2 for side in SHAPE]
    distance = sum((axis - at) ** 2 for axis, at in zip(np.ogrid[tuple(map(slice, SHAPE))], middle, strict=True))
    for radius in range(1, max(SHAPE)):
        brain = distance <= radius**2
        if DensePatches(PATCH).count(brain) >= count:
            break
    return brain


if __name__ == "__main__":
    if sys.argv[1] == "speed":
        speed(int(sys.argv[2]))
    else:
        quality()
