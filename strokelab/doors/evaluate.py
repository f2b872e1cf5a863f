"""Evaluate runs from anywhere: ``strokelab evaluate runs=[outputs/a]``, the same door as ``evaluate.py`` of a clone."""

import hydra
from omegaconf import DictConfig

from strokelab.configuration import conf_folder
from strokelab.doors import enter


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Compose the config, then hand over."""
    from strokelab.evaluation import evaluate_or_exit  # torch only when there is work

    evaluate_or_exit(cfg)


if __name__ == "__main__":
    enter("evaluate", main)
