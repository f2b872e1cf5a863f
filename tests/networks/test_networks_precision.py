"""What half precision may not touch: the statistics of normalisation, MAIN, and the losses' sums."""

import pytest
import torch
from torch import nn

from strokelab.losses.compound import DiceBCELoss
from strokelab.losses.dice import DiceLoss
from strokelab.networks.blocks import conv_block
from strokelab.networks.masked_adain import MaskedAdaIN
from strokelab.networks.site_classifier import SiteClassifier

HALF = [
    pytest.param("cpu", torch.bfloat16, id="cpu-bf16"),
    *(
        pytest.param(
            "cuda",
            dtype,
            id=f"cuda-{name}",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 and CUDA's kernels need a GPU"),
        )
        for name, dtype in (("bf16", torch.bfloat16), ("float16", torch.float16))
    ),
]


@pytest.mark.parametrize(("device", "dtype"), HALF)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_running_statistics_are_those_of_float32(device, dtype, dimensions):
    torch.manual_seed(0)
    block = conv_block(2, 3, dimensions=dimensions, bn_momentum=None).to(device)
    convolution, norm = block[0], block[1]
    seen = []
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    # A mean far from 0 beside a small spread, over so many voxels that sums in half precision come out wrong.
    image = 6 + 0.5 * torch.randn(2, 2, *((300, 300) if dimensions == 2 else (44, 44, 44)), device=device)
    with torch.autocast(device, dtype=dtype):
        block(image)
    assert convolution.weight.dtype == torch.float32
    assert seen[0].dtype == dtype
    exact = seen[0].double().transpose(0, 1).flatten(1)
    assert norm.running_mean.dtype == norm.running_var.dtype == torch.float32
    assert torch.allclose(norm.running_mean.double(), exact.mean(dim=1), rtol=1e-5)
    assert torch.allclose(norm.running_var.double(), exact.var(dim=1), rtol=1e-4)


@pytest.mark.parametrize(("device", "dtype"), HALF)
def test_main_is_never_in_half_precision(device, dtype):
    torch.manual_seed(0)
    main = MaskedAdaIN(2, (16, 24), patch=8).to(device)
    kinds = set()
    for module in main.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, inputs, output: kinds.update({inputs[0].dtype, output.dtype}))
    image, brain = torch.randn(4, 2, 16, 24, device=device), torch.ones(4, 1, 16, 24, device=device)
    with torch.autocast(device, dtype=dtype):
        half = main(image, brain)
    assert kinds == {torch.float32}
    assert half.dtype == main.gamma.dtype == main.beta.dtype == torch.float32
    main = MaskedAdaIN(2, (16, 24), patch=8).to(device)
    with torch.autocast(device, dtype=dtype):
        again = main.train()(image, brain)
    assert torch.equal(again, main(image, brain))  # training mode: batch statistics, the same both times


@pytest.mark.parametrize(("device", "dtype"), HALF)
@pytest.mark.parametrize("loss", [DiceLoss(), DiceLoss(over="batch"), DiceBCELoss()])
def test_losses_of_half_precision_logits_are_computed_in_float32(device, dtype, loss: nn.Module):
    torch.manual_seed(0)
    logits = (4 * torch.randn(2, 1, 160, 160, device=device) - 6).to(dtype)
    target = (torch.rand(2, 1, 160, 160, device=device) < 0.02).float()
    with torch.autocast(device, dtype=dtype):
        half = loss(logits, target)
    assert half.dtype == torch.float32
    assert torch.equal(half, loss(logits.float(), target))
    assert half.item() == pytest.approx(loss(logits.double(), target.double()).item(), rel=1e-5)


@pytest.mark.parametrize(("device", "dtype"), HALF)
def test_site_logits_keep_their_order(device, dtype):
    torch.manual_seed(0)
    classifier = SiteClassifier(8, 4).to(device)
    features = torch.randn(6, 8, 12, 10, device=device)
    with torch.autocast(device, dtype=dtype):
        half = classifier(features)
    assert torch.allclose(half.float(), classifier(features), atol=0.03)
