"""LightningModules: the training step, the probability and the optimiser around a network and its parts."""
