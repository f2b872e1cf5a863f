"""Sweeps: their members, how they are started, and what became of each.

Knows run folders and command lines; knows no trainer and imports no torch, so that starting many trainings stays light.
"""
