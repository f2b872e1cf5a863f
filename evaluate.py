"""Evaluate trained runs: ``python evaluate.py runs=[outputs/a,outputs/b]``, or ``sweep=multirun/DATE/TIME-NAME``."""

import sys

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Compose the config, then hand over."""
    from strokelab.evaluation import evaluate_or_exit  # torch only when there is work

    evaluate_or_exit(cfg)


if __name__ == "__main__":
    # To Hydra, sweep= is the choice of a file in conf/sweep, which is train.py's; the key is called sweeps.
    sys.argv = ["sweeps=" + word.removeprefix("sweep=") if word.startswith("sweep=") else word for word in sys.argv]
    try:
        main()
    except SystemExit as stop:
        from strokelab.configuration import exit_with_suggestions

        exit_with_suggestions("evaluate", stop)
