"""Every site in every batch (unlearning). Knows site indices only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.sampling.site_balanced import check_sites


@buildable("view")
@dataclass(frozen=True)
class SiteStratified:
    """Sites take turns: each run of K samples holds every one of the K sites once, in random order.

    So a batch of B samples, a multiple of K, holds B / K of each site, and any batch of 2 K - 1 or more holds all of
    them. An epoch keeps its length. A site's own samples come without repetition until all were there; what is left of
    a large site comes in other epochs. Samples of unknown site count as one further site.

    Source: ours, for more sites than Dinsdale's two (2021), whose batches hold samples of both.
    """

    @property
    def fixed(self) -> bool:
        """False: each epoch has its own order."""
        return False

    def arrange(self, sites: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """N indices of samples; ``sites`` (N,) holds the site of each, -1 = unknown.

        Raises:
            ConfigError: no sample has a site.
        """
        check_sites(sites, "site-stratified")
        groups = [np.flatnonzero(sites == site) for site in np.unique(sites)]
        rounds = -(-len(sites) // len(groups))
        turns = np.stack([_repeated(group, rounds, rng) for group in groups], axis=1)  # (rounds, K)
        return np.asarray(rng.permuted(turns, axis=1).reshape(-1)[: len(sites)], dtype=np.int64)


def _repeated(group: NDArray[np.int64], length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Members of a group in random order, pass after pass."""
    passes = [rng.permutation(group) for _ in range(-(-length // len(group)))]
    return np.concatenate(passes)[:length]
