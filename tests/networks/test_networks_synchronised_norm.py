"""Two real processes with a share of a batch each: the numbers and gradients of one process with the whole batch."""

import copy

import pytest
import torch
from torch import nn
from two_processes import in_two_processes

from strokelab.losses.compound import DiceBCELoss
from strokelab.models.adversary import SiteAdversary
from strokelab.networks.masked_adain import MaskedAdaIN
from strokelab.networks.synchronised_norm import SynchronisedBatchNorm, desynchronise, synchronise
from strokelab.networks.unet import UNet

SHARES = (slice(0, 3), slice(3, 5))  # unequal
TIGHT = {"rtol": 1e-5, "atol": 1e-7}


class Parts(nn.Module):
    """MAIN, a U-Net, both losses over the batch and an adversary, some of whose sites are unknown."""

    def __init__(self, momentum):
        super().__init__()
        self.main = MaskedAdaIN(1, (16, 16), bn_momentum=momentum, patch=4)
        self.network = UNet(1, 1, base=2, depth=2)
        self.adversary = SiteAdversary(self.network.feature_channels[-1], n_sites=3)
        self.loss = DiceBCELoss(over="batch")

    def forward(self, image, brain, site, lesion, known):
        features = self.network.encode(self.main(image, brain))
        logits = self.network.decode(features)
        return self.loss(logits, lesion, known) + self.adversary(features[-1], site)[0]


def parts_and_batch(momentum):
    torch.manual_seed(3)
    parts = Parts(momentum)
    image, lesion = torch.randn(5, 1, 16, 16), (torch.rand(5, 1, 16, 16) < 0.2).float()
    known = torch.tensor([[True], [True], [False], [True], [False]])
    return parts, (image, torch.ones(5, 1, 16, 16), torch.tensor([0, -1, 2, 1, -1]), lesion, known)


def steps_of(parts, batch, join):
    """Three steps of gradient descent; loss of each."""
    losses = []
    for _ in range(3):
        parts.zero_grad()
        loss = parts(*batch)
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for parameter in parts.parameters():
                parameter -= 0.01 * join(parameter.grad)
    return losses, parts.state_dict()


def mean_over_processes(gradient):
    gradient = gradient.clone()
    torch.distributed.all_reduce(gradient)
    return gradient / torch.distributed.get_world_size()  # as DDP does


def train_share(rank, momentum):
    parts, batch = parts_and_batch(momentum)
    synchronise(parts)
    return steps_of(parts, tuple(tensor[SHARES[rank]] for tensor in batch), mean_over_processes)


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [0.1, None])
def test_unequal_shares_train_as_the_whole_batch_does(momentum, tmp_path):
    two = in_two_processes(train_share, tmp_path, momentum)
    parts, batch = parts_and_batch(momentum)
    losses, weights = steps_of(parts, batch, lambda gradient: gradient)
    assert losses[0] != losses[2]
    for found, state in two:
        assert found == pytest.approx(losses, rel=1e-5)
        for name, value in weights.items():
            torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-6, msg=name)


def norm_of_share(rank, dtype):
    torch.manual_seed(0)
    norm, (x, seen) = nn.BatchNorm2d(3), (torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4))
    synchronise(norm)
    share = x[SHARES[rank]].to(dtype).requires_grad_()
    output = norm(share)
    (output * seen[SHARES[rank]]).sum().backward()
    return output.detach(), share.grad, norm.running_var


@pytest.mark.slow
def test_the_norm_itself_in_float32_also_of_half_precision_input(tmp_path):
    torch.manual_seed(0)
    norm, x, seen = nn.BatchNorm2d(3), torch.randn(5, 3, 4, 4, requires_grad=True), torch.randn(5, 3, 4, 4)
    output = norm(x)
    (output * seen).sum().backward()
    full = in_two_processes(norm_of_share, tmp_path, torch.float32)
    torch.testing.assert_close(torch.cat([share[0] for share in full]), output.detach(), **TIGHT)
    torch.testing.assert_close(torch.cat([share[1] for share in full]), x.grad, rtol=1e-5, atol=1e-6)
    assert all(torch.allclose(share[2], norm.running_var, **TIGHT) for share in full)
    half = in_two_processes(norm_of_share, tmp_path, torch.bfloat16)
    assert half[0][0].dtype == half[0][1].dtype == torch.bfloat16
    assert half[0][2].dtype == torch.float32
    torch.testing.assert_close(half[0][2], norm.running_var, rtol=0.01, atol=0)


def test_in_one_process_nothing_changes_and_everything_comes_back():
    torch.manual_seed(0)
    network, image = UNet(1, 1, base=2, depth=2), torch.randn(2, 1, 16, 16)
    plain = copy.deepcopy(network)
    names = list(network.state_dict())
    changed = synchronise(network)
    assert any(isinstance(module, SynchronisedBatchNorm) for module in network.modules())
    assert list(network.state_dict()) == names
    for mode in (True, False):
        assert torch.equal(network.train(mode)(image), plain.train(mode)(image))
    desynchronise(changed)
    assert [type(module) for module in network.modules()] == [type(module) for module in plain.modules()]
