"""A training step alone in a process, and the memory it took: ``python -m strokelab.costs.one_step MODEL CROP ...``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from strokelab.allocator import give_back
from strokelab.configuration import build_model
from strokelab.costs.memory import PRECISIONS, crop_of
from strokelab.models.cost import channels_of, least_samples
from strokelab.models.segmenter import Segmenter
from strokelab.models.step_memory import step_loss

_SMALL = 16  # sides of the first step, which loads what is loaded once and makes the optimizer's state


def main(name: str, crop: str, precision: str, device: str) -> None:
    """Print the bytes as JSON: weights, the optimizer's state, and what the second step took above them."""
    sample, half = crop_of(crop), PRECISIONS[precision]
    torch.manual_seed(0)
    model = build_model(name).to(device).train()
    optimizer = model.optimizer(model.parameters())
    divisors = getattr(model.network, "divisors", None) or (1,) * len(sample)
    first = tuple(max(by * 2, _SMALL // by * by) for by in divisors)
    _step(model, optimizer, tuple(map(min, first, sample)), half, device)
    states = (value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value))
    known = sum(tensor.numel() * tensor.element_size() for tensor in (*model.state_dict().values(), *states))
    if device == "cpu":
        give_back()  # what the first step freed is not there already when the second one begins
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        _step(model, optimizer, sample, half, device)
        taken = _resident("VmHWM") - before
    else:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _step(model, optimizer, sample, half, device)
        taken = torch.cuda.max_memory_allocated(device) - before
    print(json.dumps({"bytes": known + taken}))


def _step(model: Segmenter, optimizer: Any, sample: tuple[int, ...], half: bool, device: str) -> None:
    count = least_samples(model)
    image = torch.rand(count, channels_of(model.network), *sample, device=device)
    mask = torch.ones(count, 1, *sample, dtype=torch.uint8, device=device)
    lesion = (image[:, :1] > 0.9).to(torch.uint8)
    batch = {
        "image": image,
        "brain": mask,
        "lesion": lesion,
        "site": torch.zeros(count, dtype=torch.int64, device=device),
    }
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=half):
        loss = step_loss(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()


def _resident(what: str) -> int:
    """Bytes: ``VmRSS``, of now; ``VmHWM``, the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{what}:")).split()[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:5])
