"""The site adversary as a part any family can carry. Knows features and sites; knows no network and no schedule.

A classifier tries to name the scanner site; the gradient it sends back is reversed, so that whatever made the
features learns to hide the site (Yu 2022, section II-D). Who sets ``strength`` over time is
``callbacks.site_adversary``.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.distributed import summed
from strokelab.errors import ConfigError
from strokelab.models.parts import u_shaped
from strokelab.networks.gradient_reversal import reverse_gradient
from strokelab.networks.site_classifier import SiteClassifier

UNKNOWN_SITE = -1


@buildable("model")
class SiteAdversary(nn.Module):
    """Reversal and site classifier in one: (features, site) -> (loss, confusion).

    Args:
        feature_channels: channels of the features it reads; the model fills this in from its network.
        dimensions: 2 or 3; likewise.
        n_sites: number of training sites, K.
        strength: lambda, what a reversed gradient is multiplied by.

    Attributes:
        strength: settable at any time. It touches only what flows back into the features: the classifier itself
            always gets the full gradient.

    Raises:
        ConfigError: fewer than two sites.
    """

    least_sites: ClassVar[int] = 2
    """Training sites that it needs."""

    def __init__(self, feature_channels: int, dimensions: int = 2, *, n_sites: int, strength: float = 1.0) -> None:
        super().__init__()
        check_sites(n_sites, self.least_sites)
        self.n_sites = n_sites
        self.strength = strength
        self.classifier = SiteClassifier(feature_channels, n_sites, dimensions=dimensions)

    def forward(self, features: Tensor, site: Tensor) -> tuple[Tensor, Tensor]:
        """Classify every sample; those whose site is unknown count nowhere.

        Args:
            features: (B, feature_channels, *S).
            site: (B,) int64 in 0..K-1, or -1 for unknown.

        Returns:
            The mean cross-entropy () over the samples of all processes, 0 when no site is known, and the confusion
            counts (K, K) int64 of this process: truth in rows, guess in columns. Accuracy and balanced accuracy follow
            from these, over any number of batches.
        """
        logits = self.classifier(reverse_gradient(features, self.strength))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        total = F.cross_entropy(logits, site, ignore_index=UNKNOWN_SITE, reduction="sum")
        known = site != UNKNOWN_SITE
        total, count = summed(torch.stack([total, known.sum().to(total.dtype)])).unbind()
        return total / count.clamp(min=1), confusion_counts(logits, site)

    def shown(self, network: nn.Module, image: Tensor) -> list[tuple[nn.Module, Tensor]]:
        """The classifier and the features (B, feature_channels, *S) of an image that it reads."""
        return [(self.classifier, u_shaped(network).encode(image)[-1])]


def check_sites(n_sites: int, least: int) -> None:
    """An adversary has sites to tell apart.

    Raises:
        ConfigError: fewer than ``least``.
    """
    if n_sites < least:
        raise ConfigError(
            "site adversary",
            found=f"{n_sites} training site{'s' if n_sites != 1 else ''}",
            expected="2 or more, to learn features from which the site cannot be recognised",
            remedy="switch it off with adversary=none, or train on a cohort with site labels",
        )


def confusion_counts(logits: Tensor, site: Tensor) -> Tensor:
    """How often each site (row) was taken for which (column), of samples whose site is known: (K, K) int64.

    Args:
        logits: (B, K); anything that grows with them serves.
        site: (B,), -1 for unknown.
    """
    n_sites, known = logits.shape[1], site != UNKNOWN_SITE
    counts = torch.zeros(n_sites**2, dtype=torch.int64, device=site.device)
    cell = torch.where(known, site * n_sites + logits.detach().argmax(dim=1), 0)
    return counts.index_add_(0, cell, known.long()).view(n_sites, n_sites)
