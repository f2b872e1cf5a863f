"""3D ResU-Net, number by number: network, loss and refused input of Tomita 2020 (spec sections 4, 5 and 11)."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from strokelab.errors import ConfigError
from strokelab.losses.compound import BCEDiceLoss
from strokelab.networks.cost import count_parameters, saved_bytes
from strokelab.networks.resunet3d import Deconvolution, ResidualBlock, ResUNet3D

PARAMETERS = [(16, 1, 18_438_561), (16, 2, 18_439_425), (16, 3, 18_440_289), (16, 4, 18_441_153), (32, 1, 73_728_833)]


def on_meta(*shape: int, **settings: object) -> tuple[ResUNet3D, torch.Tensor]:
    """A network and an image without numbers."""
    with torch.device("meta"):
        return ResUNet3D(1, **settings), torch.empty(1, 1, *shape)


@pytest.mark.parametrize(("base", "channels", "parameters"), PARAMETERS)
def test_parameters(base, channels, parameters):
    with torch.device("meta"):
        assert count_parameters(ResUNet3D(channels, base=base)) == parameters


def test_parts():
    network, _ = on_meta()
    counts = {kind: sum(isinstance(layer, kind) for layer in network.modules()) for kind in (
        nn.Conv3d, nn.ConvTranspose3d, nn.GroupNorm, ResidualBlock
    )}  # fmt: skip
    assert list(counts.values()) == [28, 4, 31, 14]
    levels = [[count_parameters(block) for block in level] for level in network.encoder]
    assert levels == [[28_704], [166_272, 221_568], [664_320, 885_504], [2_655_744, 3_540_480]]
    assert [count_parameters(block) for block in network.bottom] == [3_540_480, 3_540_480]
    assert [count_parameters(up) for up in network.ups] == [262_528, 65_728, 16_480]
    levels = [[count_parameters(block) for block in level] for level in network.decoder]
    assert levels == [[1_327_872, 885_504], [332_160, 221_568], [83_136]]
    assert count_parameters(network.head) == 33


@pytest.mark.parametrize("shape", [(32, 32, 32), (36, 44, 40), (48, 57, 63), (144, 172, 168), (8, 9, 15)])
def test_the_output_is_as_large_as_the_input(shape):
    network, image = on_meta(*shape)
    features = network.encode(image)
    assert [tuple(level.shape[1:]) for level in features] == [
        (32 * 2**k, *(length // 2**k for length in shape)) for k in range(4)
    ]
    assert network.decode(features).shape == image.shape


@pytest.mark.parametrize(("shape", "calls"), [((144, 172, 168), [(36, 43, 42)]), ((128, 128, 128), [])])
def test_interpolation_is_used_where_a_size_differs(shape, calls):
    network, image = on_meta(*shape)
    seen: list[tuple[int, ...]] = []
    network.interpolation.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[2:])))
    network(image)
    assert seen == calls


def fingerprinted() -> ResUNet3D:
    """The spec's weights, in double precision."""
    network = ResUNet3D(1).double().eval()
    for layer in network.modules():
        if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d)):
            nn.init.constant_(layer.weight, 1 / (layer.kernel_size[0] ** 3 * layer.in_channels))
            nn.init.zeros_(layer.bias)
    return network


@torch.no_grad()
def test_the_two_fingerprints():
    network = fingerprinted()
    for shape, expected in [
        ((32, 32, 32), [0.790932, 0.983480, 0.0, 4.882640]),
        ((36, 44, 40), [0.779464, 0.941987, 0.0, 4.575332]),
    ]:
        i, j, k = torch.meshgrid(*(torch.arange(length) for length in shape), indexing="ij")
        logits = network((((i + 2 * j + 3 * k) % 7).double() / 7)[None, None])[0, 0]
        centre = logits[shape[0] // 2, shape[1] // 2, shape[2] // 2]
        found = [value.item() for value in (logits.mean(), logits.std(), logits[0, 0, 0], centre)]
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("before", "after"), [(2, 8), (8, 8), (16, 8)])
def test_the_shortcut_alone(before, after):
    block = ResidualBlock(before, after)
    nn.init.zeros_(block.second_norm.weight)
    x = torch.randn(1, before, 4, 5, 6)
    given = x.clone()
    expected = torch.cat([x.new_zeros(1, after - before, 4, 5, 6), x], dim=1) if before < after else x[:, -after:]
    torch.testing.assert_close(block(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(x, given, rtol=0, atol=0)
    if before == 16:
        torch.testing.assert_close(block(x[:, :8], x[:, 8:]), expected, rtol=0, atol=0)


def test_weights_are_he_normal_by_fan_out():
    torch.manual_seed(0)
    block, up = ResidualBlock(16, 64), Deconvolution(64, 32, 8)
    network = ResUNet3D(1, base=16)
    for layer in (network.encoder[1][0].first, network.ups[1].up):
        fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
        assert layer.bias.abs().max() > 0
    assert {norm.eps for norm in (block.first_norm, up.norm)} == {1e-5}


PROBABILITY, LESION = torch.tensor([0.1, 0.6, 0.3, 0.8]), torch.tensor([0.0, 0.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("bce", "dice", "expected"), [(1.0, 0.0, 0.612192), (0.0, 1.0, 0.421053), (0.1, 0.9, 0.440167)]
)
def test_loss(bce, dice, expected):
    logits, target = PROBABILITY.double().logit().view(2, 1, 2), LESION.view(2, 1, 2)  # a batch of two
    assert BCEDiceLoss(bce, dice)(logits, target).item() == pytest.approx(expected, abs=1e-6)


def test_the_loss_of_logits_is_that_of_probabilities():
    logits = torch.randn(2, 1, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) > 0.7).double()
    p = logits.sigmoid()
    by_hand = 0.1 * functional.binary_cross_entropy(p, y) + 0.9 * (1 - 2 * (p * y).sum() / (p.sum() + y.sum()))
    assert BCEDiceLoss()(logits, y).item() == pytest.approx(by_hand.item(), abs=1e-6)
    assert BCEDiceLoss()(logits.bfloat16(), y).dtype == torch.float32


@pytest.mark.parametrize("logit", [-100.0, 100.0])
@pytest.mark.parametrize("lesion", [0.0, 1.0])
def test_extreme_logits_have_a_finite_loss_and_gradient(logit, lesion):
    logits = torch.full((1, 1, 8, 8, 8), logit, requires_grad=True)
    loss = BCEDiceLoss()(logits, torch.full_like(logits, lesion))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_an_empty_label_leaves_the_cross_entropy():
    logits = torch.zeros(1, 1, 8, 8, 8, requires_grad=True)
    loss = BCEDiceLoss()(logits, torch.zeros(1, 1, 8, 8, 8))
    loss.backward()
    assert loss.item() == pytest.approx(0.1 * 0.693147 + 0.9, abs=1e-6)
    torch.testing.assert_close(logits.grad, torch.full_like(logits, 0.1 * 0.5 / 512))


def test_samples_without_labels_do_not_count():
    logits = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    target = (logits > 0.5).float()
    alone = BCEDiceLoss()(logits[:1], target[:1])
    known = torch.tensor([[True], [False]])
    assert BCEDiceLoss()(logits, target, known).item() == pytest.approx(alone.item(), abs=1e-6)


def test_images_below_zero_are_refused_or_allowed():
    image = torch.zeros(1, 1, 10, 10, 10)
    image[..., 0, 0] = -1.0  # 1 %
    ResUNet3D(1, base=4).encode(image)
    image[0, 0, 0, 1, 1] = -1.0
    with pytest.raises(ConfigError, match="scale255"):
        ResUNet3D(1, base=4).encode(image)
    ResUNet3D(1, base=4, allow_negative=True).encode(image)


def test_sides_below_eight_are_refused():
    network, image = on_meta(8, 8, 7, base=4)
    with pytest.raises(ConfigError, match="at least 8"):
        network(image)


def step(recompute: str, dtype: torch.dtype | None = None, **kind: object) -> list[torch.Tensor]:
    """Logits and gradients of a training step on 24 x 18 x 20 voxels, three at the bottom (training.few_slices)."""
    torch.manual_seed(0)
    network = ResUNet3D(1, base=4, recompute=recompute).to(**kind)
    image = torch.rand(1, 1, 24, 18, 20)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        logits = network(image)
    BCEDiceLoss()(logits, (image > 0.9).float()).backward()
    return [logits.detach(), *(weight.grad for weight in network.parameters())]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_activations_made_again_change_no_bit(dtype):
    kept, *others = (step(recompute, dtype) for recompute in ("none", "full_resolution", "all"))
    assert kept[0].dtype == dtype or dtype is None
    for other in others:
        assert all(torch.equal(one, two) for one, two in zip(kept, other, strict=True))


def test_another_memory_layout_changes_rounding_alone():
    for one, other in zip(step("none"), step("none", memory_format=torch.channels_last_3d), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_what_is_kept_for_the_backward_pass():
    """5.7 GiB at 128^3 in float32 by section 12; half of ours is at full resolution, where blocks join their parts."""
    for recompute, gib in (("none", 5.58), ("full_resolution", 2.83)):
        network, image = on_meta(128, 128, 128, recompute=recompute)
        assert saved_bytes(network, image) / 2**30 == pytest.approx(gib, abs=0.01)
