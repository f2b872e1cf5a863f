"""Evaluate runs from anywhere: ``strokelab evaluate runs=[outputs/a]``, the same door as ``evaluate.py`` of a clone."""

from omegaconf import DictConfig

from strokelab.configuration import door
from strokelab.doors import enter


@door("evaluate")
def main(cfg: DictConfig) -> None:
    """Compose the config, then hand over."""
    from strokelab.evaluation import evaluate_or_exit  # torch only when there is work

    evaluate_or_exit(cfg)


if __name__ == "__main__":
    enter("evaluate", main)
