"""The ``strokelab`` command: ``app`` with all its commands, and ``main``, its door."""

from strokelab.cli import apply, campaigns, compare, data, nnunet, train
from strokelab.cli.app import app, main

# Panels in the README's order: the help shows them as the commands come.
app.registered_commands.sort(key=lambda command: str(command.rich_help_panel))

__all__ = ["app", "apply", "campaigns", "compare", "data", "main", "nnunet", "train"]
