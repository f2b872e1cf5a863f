"""Train a model: ``python train.py experiment=sgnet_small``; from anywhere: ``strokelab train``."""

from strokelab.doors import enter
from strokelab.doors.train import main

if __name__ == "__main__":
    enter("train", main)
