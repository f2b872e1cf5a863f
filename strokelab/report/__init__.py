"""What a reader is shown: figures, overlays and one offline page, made from tables and arrays.

Knows no torch, no configuration and no training; whoever evaluates fills a ``material.Evaluation``.
"""
