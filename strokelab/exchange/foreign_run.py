"""A run folder around weights that were trained elsewhere. Knows run folders; knows no foreign format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from strokelab import runs
from strokelab.configuration import Settings, build
from strokelab.configuration.late_facts import MISSING
from strokelab.data.split_file import Split
from strokelab.errors import ConfigError
from strokelab.files import file_digest, make_folder, replacing, write_json


def write_foreign(
    place: Path,
    settings: Settings,
    weights: Mapping[str, Tensor],
    *,
    source: Path,
    note: Mapping[str, Any],
    split: Split | None = None,
    epochs: int = 0,
) -> None:
    """Write weights as a finished run.

    Args:
        place: the run folder.
        settings: of the run, nothing of them open.
        weights: by the names of its network.
        source: the file they came from.
        note: what ``environment.json`` says of them, beside the file and its digest.
        split: who was trained on; None: the subjects are unknown.
        epochs: they were trained for.

    Raises:
        RunError: the weights are another network's, or another run lies at ``place``.
    """
    import torch

    segmenter = build(settings["model"])
    others = {name: part for name, part in segmenter.state_dict().items() if not name.startswith("network.")}
    state = others | {f"network.{name}": weight for name, weight in weights.items()}
    runs.load_weights(segmenter, state, source)
    make_folder(place)
    with runs.claimed(place):
        runs.refuse_to_replace(place)
        runs.write_start(place, settings, split or Split((), (), ()), {})
        told = {**note, "checkpoint": str(source), "digest": file_digest(source)}
        write_json(place / runs.ENVIRONMENT, runs.read_environment(place) | {"imported": told})
        with replacing(place / runs.CHECKPOINTS / "last.ckpt", durable=True) as temporary:
            torch.save({"state_dict": segmenter.state_dict(), "epoch": epochs, "global_step": 0}, temporary)
        runs.write_status(place, "finished")


def check_names(modalities: tuple[str, ...], channels: int) -> None:
    """Names of images, one for each channel, that a config can hold.

    Args:
        modalities: the names.
        channels: of the network.

    Raises:
        ConfigError: other names, or another number of them.
    """
    if len(modalities) != channels:
        raise ConfigError(
            "modalities",
            found=f"{len(modalities)}: {', '.join(modalities)}",
            expected=f"{channels}, as the network has channels",
            remedy="name each with --modality, in order",
        )
    odd = [name for name in modalities if not name.isprintable() or "${" in name or name == MISSING]
    if odd:
        raise ConfigError(
            "modalities",
            found=f"channels called {odd}",
            expected="names of images that a config can hold",
            remedy="name each with --modality, in order",
        )
