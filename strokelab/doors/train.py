"""Train a model from anywhere: ``strokelab train experiment=sgnet_small``, the same door as ``train.py`` of a clone."""

from omegaconf import DictConfig

from strokelab.configuration import door
from strokelab.doors import enter


@door("train")
def main(cfg: DictConfig) -> float | None:
    """Compose the config, then hand over."""
    from strokelab.training import train_or_exit  # torch only when there is work

    return train_or_exit(cfg)


if __name__ == "__main__":
    enter("train", main)
