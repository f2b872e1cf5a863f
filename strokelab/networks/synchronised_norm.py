"""Batch norm whose statistics are those of the whole batch, not of one process's share. Knows layers and processes.

``torch.nn.SyncBatchNorm`` does this on GPUs and refuses tensors of the CPU; here both work, so that a training on
several processes can be tried, and tested, where there is no GPU.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from strokelab.distributed import world_size


class SynchronisedBatchNorm(_BatchNorm):
    """``torch.nn.SyncBatchNorm`` that takes tensors of the CPU as well.

    Mean and variance over all samples of all processes, which need not have equally many, are computed in float32 and
    joined in float64. In evaluation mode, or in one process, it is plain batch norm. Not a subclass of PyTorch's,
    which DDP refuses to hold on the CPU; on GPUs it does its work with that one's code.
    """

    process_group = None  # all processes
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels

    def _check_input_dim(self, input: Tensor) -> None:
        nn.SyncBatchNorm._check_input_dim(cast(nn.SyncBatchNorm, self), input)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, *S); all processes call it together in training mode."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        if input.device.type != "cpu":
            return nn.SyncBatchNorm.forward(cast(nn.SyncBatchNorm, self), input)
        self._check_input_dim(input)
        output, mean, variance, count = _Normalise.apply(input, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        if self.track_running_stats:
            self._remember(mean, variance * count / (count - 1).clamp(min=1))
        return cast(Tensor, output)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        weight = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(variance.to(self.running_var.dtype), weight)


def synchronise(model: nn.Module) -> list[tuple[_BatchNorm, type[_BatchNorm]]]:
    """Let every batch norm of a model share its statistics with the other processes; weights stay where they are.

    Returns:
        What was changed, for ``desynchronise``.
    """
    changed = []
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            changed.append((module, type(module)))
            module.__class__ = SynchronisedBatchNorm  # in place: hooks, buffers and whoever holds it stay right
    return changed


def desynchronise(changed: list[tuple[_BatchNorm, type[_BatchNorm]]]) -> None:
    """Take ``synchronise`` back."""
    for module, kind in changed:
        module.__class__ = kind


class _Normalise(torch.autograd.Function):
    """(x (B, C, *S), weight (C,), bias (C,), eps) -> (output, mean (C,), biased variance (C,), count ())."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, dim=_all_but_channels(x), correction=0)
        count = x.numel() // x.shape[1]
        mine = torch.cat([mean.double(), variance.double(), mean.new_tensor([count], dtype=torch.float64)])
        all_of_them = [torch.empty_like(mine) for _ in range(world_size())]
        dist.all_gather(all_of_them, mine)
        table = torch.stack(all_of_them)  # (processes, 2 C + 1)
        counts = table[:, -1:]
        means, variances = table[:, :-1].chunk(2, dim=1)
        total = counts.sum()
        joint_mean = (counts * means).sum(dim=0) / total
        joint_variance = (counts * (variances + (means - joint_mean).square())).sum(dim=0) / total
        mean = joint_mean.to(wide.dtype)
        scale = (joint_variance + eps).rsqrt().to(wide.dtype)  # one over the standard deviation
        normal = (wide - _wide(mean, x)) * _wide(scale, x)
        output = normal if weight is None else normal * _wide(weight, x)
        output = output if bias is None else output + _wide(bias, x)
        ctx.save_for_backward(x, weight, mean, scale, total)
        ctx.has_bias = bias is not None
        ctx.mark_non_differentiable(joint_mean, joint_variance, total)
        return output.to(x.dtype), joint_mean, joint_variance, total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, mean, scale, total = ctx.saved_tensors
        gradient = gradients[0].to(mean.dtype)
        normal = (x.to(mean.dtype) - _wide(mean, x)) * _wide(scale, x)
        dims = _all_but_channels(x)
        by_bias, by_weight = gradient.sum(dim=dims), (gradient * normal).sum(dim=dims)
        both = torch.stack([by_bias, by_weight]).double()
        dist.all_reduce(both)  # what this process's samples did to all others through mean and variance
        along_mean, along_normal = (both / total).to(mean.dtype)
        slope = scale if weight is None else scale * weight
        by_x = (gradient - _wide(along_mean, x) - normal * _wide(along_normal, x)) * _wide(slope, x)
        return by_x.to(x.dtype), None if weight is None else by_weight, by_bias if ctx.has_bias else None, None


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]


def _wide(channels: Tensor, x: Tensor) -> Tensor:
    """(C,) to (1, C, 1, ...), to stand beside (B, C, *S)."""
    return channels.view(1, -1, *[1] * (x.dim() - 2))
