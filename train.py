"""Train a model: ``python train.py experiment=sgnet_small``; from anywhere: ``strokelab train``."""

import hydra
from omegaconf import DictConfig

from strokelab.doors import enter


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Compose the config, then hand over."""
    from strokelab.training import train_or_exit  # torch only when there is work

    return train_or_exit(cfg)


if __name__ == "__main__":
    enter("train", main)
