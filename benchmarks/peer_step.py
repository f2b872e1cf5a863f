"""Training steps of nnU-Net's own network, loss and optimiser; runs in its environment (``benchmarks.peer``).

``python -m benchmarks.peer_step SIDE BATCH float32|bf16 STEPS`` prints seconds of a step and the peak memory.
"""

from __future__ import annotations

import statistics
import sys

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from benchmarks.measure import Watch, report

WIDTHS = (32, 64, 128, 256, 320, 320)


def main(side: int, size: int, precision: str, steps: int) -> None:
    """What ``nnUNetTrainer.train_step`` does; the first step does not count."""
    network = PlainConvUNet(
        1,
        len(WIDTHS),
        WIDTHS,
        nn.Conv3d,
        3,
        (1, 2, 2, 2, 2, 2),
        2,
        2,
        2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )
    network.apply(InitWeights_He(1e-2))
    weights = [0.5**level for level in range(4)]
    each = DC_and_CE_loss(
        {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}, dice_class=MemoryEfficientSoftDiceLoss
    )
    loss = DeepSupervisionWrapper(each, [weight / sum(weights) for weight in weights] + [0])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)
    taken = []
    for step in range(steps + 1):
        torch.manual_seed(step)
        image = torch.randn(size, 1, side, side, side)
        target = (image > 2.5).float()
        targets = [target[..., :: 2**level, :: 2**level, :: 2**level] for level in range(5)]
        watch = Watch()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            total = loss(network(image), targets)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
        taken.append(watch.read())
    report(**{name: statistics.median(step[name] for step in taken[1:]) for name in ("seconds", "processor")})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
