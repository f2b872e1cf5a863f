"""Losses: (logits, target, labelled_classes) in, one float32 number out.

In a training on several processes each of them gets the loss of all samples (``strokelab.distributed.summed``), so
that the numbers do not depend on how many processes share a batch.
"""
