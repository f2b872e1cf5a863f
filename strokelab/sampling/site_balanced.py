"""Equal shares of sites in every epoch (SG-Net, option). Knows site indices only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError


@buildable("view")
@dataclass(frozen=True)
class SiteBalanced:
    """Draw samples with replacement so that each of K sites fills 1/K of an epoch of unchanged length.

    Yu 2022 (SG-Net, Table VII; there it changes nothing). A slice weighs 1 / (slices of its site), which is
    1 / (scans of its site) wherever scans have equally many slices, and keeps the shares at 1/K where they do not.
    Samples of unknown site count as one further site.
    """

    @property
    def fixed(self) -> bool:
        """False: each epoch samples anew."""
        return False

    def arrange(self, sites: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """N indices sampled with replacement.

        Raises:
            ConfigError: no sample has a site.
        """
        check_sites(sites, "site-balanced")
        _, group, count = np.unique(sites, return_inverse=True, return_counts=True)
        chosen = rng.integers(len(count), size=len(sites))
        member = rng.integers(count[chosen])
        by_site = np.argsort(group, kind="stable")
        first = np.concatenate([[0], np.cumsum(count)[:-1]])
        return np.asarray(by_site[first[chosen] + member], dtype=np.int64)


def check_sites(sites: NDArray[np.int64], order: str) -> None:
    """An order by site needs sites.

    Raises:
        ConfigError: no sample has a site.
    """
    if not (sites >= 0).any():
        raise ConfigError(
            "view.order",
            found=f"{order} order on training data without sites",
            expected="cases whose site is known",
            remedy="use view.order._target_=strokelab.sampling.order.Shuffle",
        )
