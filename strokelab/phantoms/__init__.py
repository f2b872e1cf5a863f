"""Phantom cohorts: real anatomy, invented strokes and scanners, written in the exact layouts of the public datasets.

Knows the layouts from the outside only: it shares no code with the readers, so that a mistake in one is seen by the
other.
"""
