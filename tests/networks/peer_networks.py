"""nnU-Net's own networks with weights of a formula: what they answer. Runs with ``dynamic-network-architectures``.

``python peer_networks.py`` prints a JSON object; ``test_networks_nnunet.py`` compares it with our networks and with the
numbers that are stored there. It imports nothing of ours.
"""

import json
import zlib

import numpy as np
import torch

CUBE = [[3, 3, 3]] * 3
FLAT = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
CASES = {
    "plain": (([4, 6, 8], CUBE, [[1, 1, 1], [2, 2, 2], [2, 2, 2]]), [2, 2, 2], 2),
    "anisotropic": (([4, 6, 8], FLAT, [[1, 1, 1], [1, 2, 2], [2, 2, 1]]), [1, 2, 3], 1),
    "slices": (([4, 6, 8, 8], [[3, 3]] * 4, [[1, 1], [2, 2], [2, 2], [2, 1]]), [2, 2, 2, 2], 2),
    "residual": (([4, 6, 8, 8], [*CUBE, CUBE[0]], [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 1]]), [1, 2, 3, 2], 1),
}
"""Name -> ((widths, kernels, strides), blocks of the encoder's stages, units of a decoder stage)."""


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers that a parameter's name in nnU-Net and its shape determine."""
    count, phase = int(np.prod(shape)), zlib.crc32(name.encode()) % 1000
    waves = np.sin(0.7 * np.arange(count) + phase) + 0.5 * np.sin(0.013 * np.arange(count) ** 1.5)
    fan = max(1, count // shape[0])
    scale = 1 / np.sqrt(fan) if len(shape) > 1 else 0.2
    return torch.from_numpy((scale * waves + (1.0 if name.endswith("norm.weight") else 0.0)).reshape(shape)).float()


def image(dimensions: int) -> torch.Tensor:
    """(2, 1, *S) float64."""
    size = (16, 16, 8)[:dimensions]
    numbers = np.arange(2 * int(np.prod(size)))
    return torch.from_numpy((np.sin(0.31 * numbers) + np.cos(0.0017 * numbers**1.3)).reshape(2, 1, *size))


def answer(network: torch.nn.Module, dimensions: int) -> list[float]:
    """Of each of its logits the mean, the mean square and one number; then the norm of all gradients."""
    network.double().train()
    logits = network(image(dimensions))
    loss = sum((each * torch.cos(torch.arange(each.numel()).reshape(each.shape) * 0.1)).mean() for each in logits)
    loss.backward()
    numbers = [
        f(each).item()
        for each in logits
        for f in (torch.mean, lambda x: x.square().mean(), lambda x: x[1, 1].flatten()[7])
    ]
    norm = torch.sqrt(sum(p.grad.square().sum() for p in network.parameters()))
    return [*numbers, norm.item()]


def main() -> None:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

    answers = {}
    for name, ((widths, kernels, strides), blocks, decoder) in CASES.items():
        dimensions = len(strides[0])
        kind = ResidualEncoderUNet if name == "residual" else PlainConvUNet
        network = kind(
            1,
            len(widths),
            widths,
            torch.nn.Conv3d if dimensions == 3 else torch.nn.Conv2d,
            kernels,
            strides,
            blocks,
            2,
            [decoder] * (len(widths) - 1),
            conv_bias=True,
            norm_op=torch.nn.InstanceNorm3d if dimensions == 3 else torch.nn.InstanceNorm2d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=torch.nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
            deep_supervision=True,
        )
        with torch.no_grad():
            for key, parameter in network.named_parameters():
                parameter.copy_(weight(key.removeprefix("decoder.encoder."), tuple(parameter.shape)))
        answers[name] = answer(network, dimensions)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
