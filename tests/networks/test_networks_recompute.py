"""Activations made again: the gradients of what keeps them, and half as much kept."""

import weakref

import pytest
import torch
import torch.nn.functional as f
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from strokelab.networks import units
from strokelab.networks.nnunet import NNUNet

PLAN = {"widths": [4, 8, 8], "kernels": [[3] * 3] * 3, "strides": [[1] * 3, [2] * 3, [2] * 3]}


def keeping(x, weight, bias, *, eps, slope):
    """The same in PyTorch's own operations, which keep everything."""
    return f.leaky_relu(f.instance_norm(x, weight=weight, bias=bias, eps=eps), slope, inplace=True)


def network_of(*, residual=False, dtype=torch.float32):
    torch.manual_seed(0)
    network = NNUNet(1, **PLAN, residual=residual, blocks_encoder=[1, 2, 2])
    with torch.no_grad():
        for parameter in network.parameters():  # norms with weights of either sign, and biases
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.to(dtype)


def step(network, image, *, autocast=False):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = network(image)
    loss = sum((each.to(torch.float64) ** 2).mean() for each in logits)
    loss.backward()
    return loss.item(), torch.cat([p.grad.double().flatten() for p in network.parameters()])


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(
    ("dtype", "autocast", "tolerance"),
    [(torch.float64, False, 1e-12), (torch.float32, False, 1e-5), (torch.float32, True, 2e-2)],
)
def test_gradients_are_those_of_the_plain_operations(residual, dtype, autocast, tolerance, monkeypatch):
    image = torch.randn(2, 1, 8, 8, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    loss, gradient = step(network_of(residual=residual, dtype=dtype), image, autocast=autocast)
    monkeypatch.setattr(units, "normalised_and_rectified", keeping)
    plain_loss, plain = step(network_of(residual=residual, dtype=dtype), image, autocast=autocast)
    assert loss == plain_loss
    assert (gradient - plain).norm() <= tolerance * plain.norm()


class Storages(TorchDispatchMode):
    """The memory of every tensor that comes out of an operation, for as long as it is in use."""

    def __init__(self):
        super().__init__()
        self.made = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.made[storage.data_ptr()] = StorageWeakRef(storage), storage.nbytes()
        return made

    def in_use(self):
        return sum(size for reference, size in self.made.values() if not reference.expired())


def test_a_step_of_the_plain_network_keeps_half(monkeypatch):
    """What is in use between the forward and the backward pass, weights apart."""
    kept = {}
    for name in ("lean", "plain"):
        if name == "plain":
            monkeypatch.setattr(units, "normalised_and_rectified", keeping)
        network, image = network_of(), torch.randn(1, 1, 16, 16, 16)
        with Storages() as storages:
            logits = network(image)
        kept[name] = storages.in_use()
        del logits
    assert kept["lean"] <= 0.55 * kept["plain"]


def test_nothing_outlives_the_backward_pass():
    network = network_of()
    first = network.encoder[0][0]
    seen = []
    handle = first.conv.register_forward_hook(lambda module, inputs, output: seen.append(weakref.ref(output)))
    logits = network(torch.randn(1, 1, 8, 8, 8))
    handle.remove()
    loss = sum(each.square().mean() for each in logits)
    loss.backward()
    del logits
    assert seen[0]() is None


def test_a_second_backward_pass_is_refused_in_words():
    network = network_of()
    loss = sum(each.square().mean() for each in network(torch.randn(1, 1, 8, 8, 8)))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="retain_graph"):
        loss.backward()


def test_frozen_weights_and_no_gradients_at_all():
    network, image = network_of(), torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert not network(image)[0].requires_grad
    for parameter in network.encoder.parameters():
        parameter.requires_grad = False
    sum(each.square().mean() for each in network(image)).backward()
    assert network.encoder[0][0].conv.weight.grad is None
    assert network.ups[0].weight.grad.abs().sum() > 0
