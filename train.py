"""Train a model: ``python train.py experiment=sgnet_small``."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Compose the config, then hand over."""
    from strokelab.training import train_or_exit  # torch only when there is work

    return train_or_exit(cfg)


if __name__ == "__main__":
    from strokelab.configuration.command_line import hold_back

    try:
        hold_back()
        main()
    except SystemExit as stop:
        from strokelab.configuration import exit_with_suggestions

        exit_with_suggestions("train", stop)
