"""A whole volume through nnU-Net's own predictor and network; runs in its environment (``benchmarks.peer``).

``python -m benchmarks.peer_windows CALLS`` prints seconds of the volume with 8 mirror images, reckoned from so many
passes of the network, and the peak memory. ``CALLS`` 0: a pointwise network, its time taken off.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import nn

from benchmarks.measure import Watch, report
from benchmarks.partly import Partly

SHAPE, PATCH = (197, 233, 189), (128, 128, 128)
WIDTHS = (32, 64, 128, 256, 320, 320)


def main(calls: int) -> None:
    """As ``nnUNetv2_predict`` does on a CPU: float32, sums in main memory."""
    torch.manual_seed(0)
    network: nn.Module
    if calls:
        norm = {"norm_op": nn.InstanceNorm3d, "norm_op_kwargs": {"eps": 1e-5, "affine": True}}
        rectifier = {"nonlin": nn.LeakyReLU, "nonlin_kwargs": {"inplace": True}}
        network = PlainConvUNet(
            1, len(WIDTHS), WIDTHS, nn.Conv3d, 3, (1, 2, 2, 2, 2, 2), 2, 2, 2, conv_bias=True, **norm, **rectifier
        )
    else:
        network = nn.Conv3d(1, 2, kernel_size=1)
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.network = partly = Partly(network.eval(), calls)
    predictor.configuration_manager = SimpleNamespace(patch_size=PATCH)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=2)
    predictor.allowed_mirroring_axes = (0, 1, 2)
    image = torch.randn(1, *SHAPE)
    watch = Watch()
    with torch.inference_mode():
        predictor.predict_sliding_window_return_logits(image)
    total = watch.read()
    if calls:
        report(**partly.whole(total), calls=partly.asked)
    else:
        report(**{key: value - partly.spent[key] for key, value in total.items()})


if __name__ == "__main__":
    main(int(sys.argv[1]))
