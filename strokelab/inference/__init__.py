"""Scores of a volume, and what becomes of them. Takes callables: knows no model."""
