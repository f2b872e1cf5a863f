"""How long a question about the configuration takes: ours against a script that imports its libraries first."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import ROOT, Row, command, interleaved

GOAL = 10.0
_IMPORTS_FIRST = """
import hydra
import lightning
import torch
import torchio
import wandb
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path={conf!r}, config_name="train")
def main(cfg: DictConfig) -> None:
    lightning.seed_everything(cfg.seed)


main()
"""


def rows(folder: Path, rounds: int) -> list[Row]:
    """``--help`` and ``--cfg job``, on the same config tree."""
    peer = folder / "imports_first.py"
    peer.write_text(_IMPORTS_FIRST.format(conf=str(ROOT / "conf")))
    lines = []
    for words in (["--help"], ["--cfg", "job"]):
        seconds = interleaved({"ours": command("train.py", *words), "peer": command(peer, *words)}, rounds)
        name = "script that imports lightning, torch, torchio, wandb first"
        lines.append(Row(f"train.py {' '.join(words)}", seconds["ours"], name, seconds["peer"], GOAL))
    return lines
