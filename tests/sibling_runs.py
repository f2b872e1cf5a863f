"""Further members of an ensemble made from one trained run in milliseconds: a copy with other weights and split."""

import json
import shutil
from pathlib import Path

import torch
import yaml

from strokelab.configuration import build
from strokelab.data.splits import Split


def sibling(
    source: Path, folder: Path, *, nudge: int, seed: int = 0, fold: int | None = None, test=None, **settings
) -> Path:
    """A finished run beside ``source``, as if trained with another seed, fold or name.

    Args:
        source: a finished run.
        folder: where the new one goes.
        nudge: of the weights; another number, another model.
        seed: of the config.
        fold: of ``split.fold``.
        test: case ids of the test part; the others train.
        settings: further top-level settings, e.g. ``name``.
    """
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("cases.csv", "probabilities.csv"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config.update(settings, seed=seed)
    if fold is not None:
        config["split"] = {**config["split"], "fold": fold}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for path in (folder / "checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        generator = torch.Generator().manual_seed(nudge)
        for name, tensor in content["state_dict"].items():
            if tensor.is_floating_point() and "running" not in name:
                tensor += 0.05 * tensor.abs().mean() * torch.randn(tensor.shape, generator=generator)
        torch.save(content, path)
    if test is not None:
        old = Split.read(folder / "split.csv")
        train = tuple(case_id for case_id in old.about if case_id not in test)
        Split(train, (), tuple(test), old.about).write(folder / "split.csv")
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "finished"}))
    return folder


def volume_sibling(source: Path, folder: Path, *, seed: int, windows: dict) -> Path:
    """A run of a 3D network beside ``source``, with windows of its own; untrained, with the weights of a seed."""
    sibling(source, folder, nudge=seed)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["model"]["network"]["dimensions"] = 3
    config["view"]["windows"] = windows
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(seed)
    weights = build(config["model"]).state_dict()
    for file in (folder / "checkpoints").glob("*.ckpt"):
        torch.save({**torch.load(file, weights_only=True), "state_dict": weights}, file)
    return folder


LOGITS = {
    "_target_": "strokelab.inference.geometric_mean.GeometricMean",
    "windows": {"_target_": "strokelab.inference.windows.PatchWindows", "patch": [16, 16, 16], "mirror": "none"},
    "scores": "logits",
}


def any_contrast_sibling(source: Path, folder: Path, *, seed: int = 0, **settings) -> Path:
    """A run of a 3D network that takes any contrast, untrained: windows of logits, finished on the native grid."""
    volume_sibling(source, folder, seed=seed, windows=LOGITS)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["view"] |= {"any_contrast": True, "finish": "native", "augment": None}
    config["view"]["preparation"] |= {"spacing": [8.0, 8.0, 8.0], "crop": None, "offset": None, "box": None}
    config["view"]["preparation"]["normalize"] = "zscore_brain"
    (folder / "config.yaml").write_text(yaml.safe_dump(config | settings))
    return folder
