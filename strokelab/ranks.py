"""The former name of ``strokelab.distributed``, for losses and metrics of your own that import it."""

import warnings

from strokelab.distributed import gathered, own, rank, summed, together, world_size

__all__ = ["gathered", "own", "rank", "summed", "together", "world_size"]

warnings.warn("strokelab.ranks is now strokelab.distributed: change the import", FutureWarning, stacklevel=2)
