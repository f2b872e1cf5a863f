"""Gradient reversal: identity forward, minus lambda backward, to the last bit."""

from __future__ import annotations

import pytest
import torch

from strokelab.networks.gradient_reversal import reverse_gradient


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.5])
def test_identity_forward_and_minus_lambda_backward(strength):
    x = torch.randn(3, 4, requires_grad=True)
    upstream = torch.randn(3, 4)
    y = reverse_gradient(x, strength)
    y.backward(upstream)
    assert torch.equal(y, x)
    assert torch.equal(x.grad, -strength * upstream)
    if strength == 0:
        assert torch.count_nonzero(x.grad) == 0


def test_the_direct_path_is_untouched():
    x = torch.ones(2, requires_grad=True)
    (3 * x + reverse_gradient(5 * x, 0.5)).sum().backward()
    assert x.grad.tolist() == [3 - 2.5, 3 - 2.5]
