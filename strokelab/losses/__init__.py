"""Losses: (logits, target, known) in, one float32 number out."""
