"""The ``strokelab`` command: ``app`` with all its commands, and ``main``, its door."""

from strokelab.cli import apply, campaigns, compare, data, nnunet
from strokelab.cli.app import app, main

__all__ = ["app", "apply", "campaigns", "compare", "data", "main", "nnunet"]
