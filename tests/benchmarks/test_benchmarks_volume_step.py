"""The plain 3D ResU-Net of the benchmark computes what ours computes."""

import torch

from benchmarks.plain_resunet3d import PlainResUNet3D
from strokelab.networks.resunet3d import ResUNet3D


def test_the_plain_network_is_the_same_network():
    ours, plain = ResUNet3D(2, base=4), PlainResUNet3D(2, base=4)
    plain.load_state_dict(dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True)))
    image = torch.rand(1, 2, 16, 24, 16)
    torch.testing.assert_close(ours(image), plain(image), rtol=0, atol=0)
