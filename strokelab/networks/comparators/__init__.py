"""Rivals of the papers' tables, one file each. Knows layers; knows no data and no training."""
