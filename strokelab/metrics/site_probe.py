"""How much of the site is left in features: a fresh classifier, fitted when training is over. Knows numbers only.

The head that trained beside the features misleads: it may have lost its way while the site is as plain as before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_SHRINKAGE = 0.1  # towards equal variances, for there are more features than samples; ours


def pooled(features: Sequence[Tensor]) -> Tensor:
    """What a probe reads of feature maps: mean and SD of each channel, (B, 2 x all channels) float32 or better.

    Args:
        features: (B, C, *S) each, of one or several places in a network.
    """
    flat = [each.to(torch.promote_types(each.dtype, torch.float32)).flatten(start_dim=2) for each in features]
    return torch.cat([part for each in flat for part in (each.mean(dim=2), each.std(dim=2, correction=0))], dim=1)


def probe(features: Tensor, site: Tensor, subject: Sequence[str]) -> Tensor | None:
    """Name the site of every subject by a classifier that was fitted on others.

    The subjects of each site, in the order of their names, belong to one of two halves in turn; a linear discriminant
    with a shrunken covariance, which is computed and not trained, is fitted on each half and asked about the other.

    Args:
        features: (N, D).
        site: (N,) int64; samples of unknown site (below 0) count nowhere.
        subject: of each sample.

    Returns:
        Confusion counts (K, K) int64, truth in rows, of the sites with two subjects or more; None: there are not two.
    """
    half = _halves(site.tolist(), subject)
    kept = torch.tensor([place >= 0 for place in half], dtype=torch.bool)
    names = sorted(set(site[kept].tolist()))
    label = torch.tensor([names.index(one) for one in site[kept].tolist()])
    if len(names) < 2:
        return None
    x, halves = features[kept].double(), torch.tensor(half)[kept]
    counts = torch.zeros(len(names), len(names), dtype=torch.int64)
    for asked in (0, 1):
        fitted, others = halves != asked, halves == asked
        guess = _fitted(x[fitted], label[fitted], len(names), x[others]).argmax(dim=1)
        counts += F.one_hot(label[others] * len(names) + guess, len(names) ** 2).sum(dim=0).view_as(counts)
    return counts


def _halves(site: Sequence[int], subject: Sequence[str]) -> list[int]:
    """0 or 1 for each sample; -1: of no known site, or of one with a single subject."""
    members = {one: sorted({name for name, of in zip(subject, site, strict=True) if of == one}) for one in set(site)}
    place = {(one, name): turn % 2 for one, names in members.items() for turn, name in enumerate(names)}
    known = {one for one, names in members.items() if one >= 0 and len(names) > 1}
    return [place[of, name] if of in known else -1 for name, of in zip(subject, site, strict=True)]


def _fitted(x: Tensor, label: Tensor, classes: int, asked: Tensor) -> Tensor:
    """Scores (M, classes) of ``asked`` (M, D) by a discriminant of ``x`` (N, D), standardised by it."""
    centre, scale = x.mean(dim=0), x.std(dim=0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    x, asked = (x - centre) / scale, (asked - centre) / scale
    means = torch.stack([x[label == one].mean(dim=0) for one in range(classes)])
    within = x - means[label]
    covariance = within.T @ within / len(x)
    even = covariance.diagonal().mean().clamp(min=1e-12) * torch.eye(len(covariance), dtype=x.dtype)
    weights = torch.linalg.solve((1 - _SHRINKAGE) * covariance + _SHRINKAGE * even, means.T).T
    return F.linear(asked, weights, -(weights * means).sum(dim=1) / 2)
