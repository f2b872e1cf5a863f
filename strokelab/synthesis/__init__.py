"""Images that never existed, made of label maps (Chalcroft 2024, SynthStroke): tissues, pasted lesions, appearance.

Knows tensors and files of maps; knows no cohort, no split and no network.
"""
