"""Evaluate trained runs: ``python evaluate.py runs=[outputs/a,outputs/b]``, or ``sweep=multirun/DATE/TIME-NAME``.

From anywhere: ``strokelab evaluate``.
"""

import hydra
from omegaconf import DictConfig

from strokelab.doors import enter


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Compose the config, then hand over."""
    from strokelab.evaluation import evaluate_or_exit  # torch only when there is work

    evaluate_or_exit(cfg)


if __name__ == "__main__":
    enter("evaluate", main)
