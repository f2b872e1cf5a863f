"""A second of trial steps on the CPU: is bf16 faster here, is memory worth keeping? Knows layers; knows no settings."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from strokelab.allocator import keep_resident
from strokelab.networks.blocks import conv_block

BUDGET = 0.3
"""Seconds after which a question is closed, once everybody had two turns."""
TURNS = 6


@dataclass(frozen=True)
class Trial:
    """How many times as fast a step became; None: was not asked."""

    half: float | None  # bf16 autocast against float32
    resident: float | None  # memory kept against glibc's own settings
    seconds: float  # that the trial took


def try_out(dimensions: int, *, half: bool, resident: bool, channels_last: bool = False) -> Trial:
    """Time forward and backward of the blocks that networks are made of.

    What counts is the processor time of one thread: neither other work on the machine nor threads that wait for one
    another change it much. torch's random state and threads are as before. The allocator is left as ``keep_resident``
    sets it where that was tried: what it was like before cannot be timed afterwards, so it comes first
    (``allocator.give_back`` is the way back).

    Args:
        dimensions: 2 for slices, 3 for volumes.
        half: ask whether bf16 is faster.
        resident: ask whether keeping memory is faster, for tensors of 36 MiB.
        channels_last: memory layout of 2D networks.
    """
    start = time.perf_counter()
    faster_half = faster_resident = None
    with torch.random.fork_rng(devices=[]), _one_thread():
        if half:
            shape = (1, 32, 96, 96) if dimensions == 2 else (1, 32, 20, 20, 24)
            step = _step(conv_block(32, 32, dimensions=dimensions), shape, channels_last=channels_last)
            seconds = _medians({"float32": lambda: step(False), "bf16": lambda: step(True)})
            faster_half = seconds["float32"] / seconds["bf16"]
        if resident:
            # Pointwise, as the allocator cares for sizes alone: 3x3x3 would take three times as long for one answer.
            pointwise = nn.Sequential(nn.Conv2d(16, 16, kernel_size=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            large = _step(pointwise, (1, 16, 768, 768), channels_last=channels_last)
            before = _medians({"default": lambda: large(False)})["default"]
            keep_resident()
            faster_resident = before / _medians({"resident": lambda: large(False)})["resident"]
    return Trial(faster_half, faster_resident, time.perf_counter() - start)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _step(network: nn.Module, shape: tuple[int, ...], *, channels_last: bool) -> Callable[[bool], None]:
    """One training step on an image of that shape; the argument of what is returned: in bf16?"""
    image = torch.randn(shape)
    if channels_last and len(shape) == 4:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        image = image.to(memory_format=torch.channels_last)
    image.requires_grad_()  # as in the middle of a network

    def step(in_half: bool) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_half):
            output: Tensor = network(image)
        output.float().square().mean().backward()  # type: ignore[no-untyped-call]
        network.zero_grad()
        image.grad = None

    return step


def _medians(contestants: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """Median processor seconds of each; they take turns, and the first turn does not count."""
    begin = time.perf_counter()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(TURNS):
        if turn > 1 and time.perf_counter() - begin > BUDGET:
            break
        for name, work in contestants.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}
