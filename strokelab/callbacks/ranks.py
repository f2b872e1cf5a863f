"""State of every rank in checkpoints: see ``strokelab.ranks``, which rooms below callbacks use as well."""

from strokelab.ranks import gathered, own

__all__ = ["gathered", "own"]
