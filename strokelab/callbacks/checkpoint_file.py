"""How a checkpoint becomes a file: whole or absent, on the disk before it has its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from strokelab.files import replacing


class CheckpointFile(TorchCheckpointIO):
    """Writes checkpoints so that neither a kill nor a loss of power leaves half of one.

    Lightning's own builds the whole file in memory first, writes it to the system's temporary folder and copies it
    from there when that is another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            DataError: the disk is full; what lay at the path stands.
        """
        with replacing(Path(path), durable=True) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
