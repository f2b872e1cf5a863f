"""Stands in for ``train.py`` whole: Hydra, our config and launcher for a sweep; a stand-in training for its members."""

import runpy
import sys
from pathlib import Path

if "hydra.mode=RUN" in sys.argv:
    runpy.run_path(str(Path(__file__).with_name("stand_in_training.py")), run_name="__main__")
else:
    import hydra

    @hydra.main(version_base="1.3", config_path=str(Path(__file__).resolve().parents[2] / "conf"), config_name="train")
    def main(cfg):
        raise AssertionError("a sweep trains nothing in its own process")

    main()
