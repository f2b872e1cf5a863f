"""nnU-Net's networks: equal to nnU-Net's own weight for weight, and what they refuse.

``STORED`` is what ``peer_networks.py`` printed with dynamic-network-architectures 0.4.4; where that environment is at
hand (STROKELAB_NNUNET_PYTHON) it is asked again.
"""

import json
import re
import subprocess
from pathlib import Path

import peer_networks
import pytest
import torch

from benchmarks.peer import peer_is_there, peer_python
from strokelab.errors import ConfigError
from strokelab.networks.nnunet import NNUNet

STORED = {
    "plain": [0.1845501716526701, 0.2438375093563269, 0.018888254348914967, 0.4533988874753511, 0.554154263988267,
              0.18501903577838985, 0.1629341777145743],
    "anisotropic": [0.24027324633824526, 0.25386986701970604, 0.05626311135588754, 0.32494844457789485,
                    0.5824952402379673, 2.0617929161912394, 0.1302380906551761],
    "slices": [0.09088606342354935, 0.7916249337023952, -0.1305940761884632, 0.15656550808650876, 0.14267811351242793,
               0.07920882927271466, 0.3640920255135983, 0.5302671218521103, 0.17961050346374988, 0.26406384452479886],
    "residual": [0.07137747327178431, 0.8517279973436123, -0.07422996776743572, 0.1333138904314471, 0.4248569736406714,
                 -0.7405413071331712, 0.24709750129884092, 0.5057225703530455, 0.17571291430702463,
                 0.6621907283246067],
}  # fmt: skip
NAMES = [  # ours -> nnU-Net's
    (r"stem\.", "encoder.stem.convs.0."),
    (r"encoder\.(\d+)\.(\d+)\.first\.", r"encoder.stages.\1.blocks.\2.conv1."),
    (r"encoder\.(\d+)\.(\d+)\.second\.", r"encoder.stages.\1.blocks.\2.conv2."),
    (r"encoder\.(\d+)\.(\d+)\.shortcut\.", r"encoder.stages.\1.blocks.\2.skip."),
    (r"encoder\.(\d+)\.(\d+)\.", r"encoder.stages.\1.0.convs.\2."),
    (r"decoder\.(\d+)\.(\d+)\.", r"decoder.stages.\1.convs.\2."),
    (r"ups\.", "decoder.transpconvs."),
    (r"heads\.", "decoder.seg_layers."),
]
TINY = {"widths": [4, 6, 8], "kernels": [[3] * 3] * 3, "strides": [[1] * 3, [2] * 3, [2] * 3]}


def theirs(name: str) -> str:
    """The name of a parameter in nnU-Net."""
    rule, new = next((rule, new) for rule, new in NAMES if re.match(rule, name))
    return re.sub(rule, new, name)


def answered(case: str) -> list[float]:
    (widths, kernels, strides), blocks, decoder = peer_networks.CASES[case]
    network = NNUNet(
        1,
        widths=widths,
        kernels=kernels,
        strides=strides,
        residual=case == "residual",
        blocks_encoder=blocks,
        units_decoder=decoder,
        biases="all",
        shortcut="pooled",
    ).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(peer_networks.weight(theirs(name), tuple(parameter.shape)))
    return peer_networks.answer(network, len(strides[0]))


@pytest.mark.parametrize("case", list(STORED))
def test_same_weights_same_logits_and_gradients_as_stored(case):
    assert answered(case) == pytest.approx(STORED[case], abs=1e-9)


@pytest.mark.slow
@pytest.mark.skipif(not peer_is_there(), reason="no environment with nnU-Net's networks")
def test_same_weights_same_logits_and_gradients_as_nnunet():
    script = Path(peer_networks.__file__)
    done = subprocess.run([peer_python(), script], capture_output=True, text=True, check=True)
    live = json.loads(done.stdout.splitlines()[-1])
    assert set(live) == set(STORED)
    for case, numbers in live.items():
        assert answered(case) == pytest.approx(numbers, abs=1e-9)


def reference(network: NNUNet, image: torch.Tensor) -> torch.Tensor:
    """The released residual U-Net of MAPPING in plain calls, from the words of its specification."""
    import torch.nn.functional as f

    def unit(x, module, *, stride=1, padding=1, rectified=True):
        x = f.conv3d(x, module.conv.weight, module.conv.bias, stride=stride, padding=padding)
        x = f.instance_norm(x, weight=module.norm.weight, bias=module.norm.bias, eps=1e-5)
        return f.leaky_relu(x, 0.01) if rectified else x

    x, skips = unit(image, network.stem), []
    for level, stage in enumerate(network.encoder):
        for index, block in enumerate(stage):
            stride = 2 if level and not index else 1
            inner = unit(unit(x, block.first, stride=stride), block.second, rectified=False)
            changes = stride == 2 or x.shape[1] != inner.shape[1]
            by = unit(x, block.shortcut, stride=stride, padding=0, rectified=False) if changes else x
            x = f.leaky_relu(inner + by, 0.01)
        skips.append(x)
    x = skips.pop()
    for up, stage in zip(network.ups, network.decoder, strict=True):
        x = torch.cat([f.conv_transpose3d(x, up.weight, stride=2), skips.pop()], dim=1)
        for each in stage:
            x = unit(x, each)
    return f.conv3d(x, network.heads[-1].weight)


def test_the_residual_network_of_mapping_is_the_specified_one():
    torch.manual_seed(0)
    plan = {"widths": [4, 6, 6], "kernels": [[3] * 3] * 3, "strides": [[1] * 3, [2] * 3, [2] * 3]}
    network = NNUNet(1, **plan, residual=True, blocks_encoder=[1, 2, 3], units_decoder=1).double().eval()
    image = torch.randn(2, 1, 8, 8, 16, dtype=torch.float64)
    assert torch.allclose(network(image), reference(network, image), atol=1e-12)


def test_lists_of_blocks_fit_any_number_of_stages():
    plan = {"widths": [2] * 3, "kernels": [[3, 3]] * 3, "strides": [[1, 1], [2, 2], [2, 2]]}
    assert [len(stage) for stage in NNUNet(1, **plan, blocks_encoder=[1, 2, 3, 4, 4, 4]).encoder] == [1, 2, 3]
    assert [len(stage) for stage in NNUNet(1, **plan, blocks_encoder=[1, 2]).encoder] == [1, 2, 2]
    assert [len(stage) for stage in NNUNet(1, **plan, blocks_encoder=3).encoder] == [3, 3, 3]


def test_deep_supervision_is_for_training():
    network, image = NNUNet(1, **TINY), torch.randn(1, 1, 8, 8, 8)
    in_training = network(image)
    assert [tuple(each.shape) for each in in_training] == [(1, 2, 8, 8, 8), (1, 2, 4, 4, 4)]
    assert torch.allclose(network.eval()(image), in_training[0], atol=1e-6)
    without = NNUNet(1, **TINY, deep_supervision=False)
    assert without(image).shape == (1, 2, 8, 8, 8)
    assert len(without.heads) == 1


def test_features_are_those_of_the_stages():
    network = NNUNet(3, **TINY)
    features = network.encode(torch.randn(2, 3, 8, 16, 8))
    assert [tuple(each.shape) for each in features] == [(2, 4, 8, 16, 8), (2, 6, 4, 8, 4), (2, 8, 2, 4, 2)]
    assert (network.feature_channels, network.dimensions, network.divisors) == ((4, 6, 8), 3, (4, 4, 4))


@pytest.mark.parametrize(
    ("size", "named"),
    [((8, 8, 6), r"\(8, 8, 6\).*\n.*divisible by \(4, 4, 4\)"), ((8, 8), "2 axes"), ((4, 4, 4), "leave one voxel")],
)
def test_images_that_cannot_be_divided_are_refused_by_name(size, named):
    with pytest.raises(ConfigError, match=named):
        NNUNet(1, **TINY)(torch.zeros(1, 1, *size))


@pytest.mark.parametrize(
    "change",
    [
        {"widths": [4, 8]},
        {"kernels": [[3] * 3, [2] * 3, [3] * 3]},
        {"kernels": [[3] * 2] * 3},
        {"strides": [[2] * 3] * 3},
        {"widths": [4], "kernels": [[3] * 3], "strides": [[1] * 3]},
    ],
)
def test_plans_that_do_not_fit_together_are_refused(change):
    with pytest.raises(ConfigError, match="one of each per stage"):
        NNUNet(1, **{**TINY, **change})


@pytest.mark.parametrize("change", [{"blocks_encoder": [2, 65_536]}, {"blocks_encoder": 0}, {"units_decoder": 0}])
def test_counts_out_of_range_are_refused_before_anything_is_built(change):
    with pytest.raises(ConfigError, match="in a stage"):
        NNUNet(1, **{**TINY, **change})


def test_weights_begin_as_he_draws_them_and_biases_at_zero():
    torch.manual_seed(0)
    network = NNUNet(1, widths=[16, 32], kernels=[[3] * 3] * 2, strides=[[1] * 3, [2] * 3])
    weight = network.encoder[1][1].conv.weight
    assert weight.std().item() == pytest.approx((2 / (1 + 0.01**2) / (32 * 27)) ** 0.5, rel=0.02)
    assert all((p == 0).all() for name, p in network.named_parameters() if name.endswith("conv.bias"))
