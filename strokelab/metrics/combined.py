"""One number for choosing a post-processing: overlap and distance together. Knows two means, no mask and no case."""

from __future__ import annotations


def combined_score(mean_dice: float, mean_hd_voxels: float, hd_max: float = 200.0) -> float:
    """Half the harmonic mean of Dice and of the nearness 1 - HD / ``hd_max``; 0.5 is perfect.

    SUNet (Clerigues et al. 2019) chooses threshold and smallest lesion by it, from means over all validation cases.

    Args:
        mean_dice: mean Dice, 0 to 1.
        mean_hd_voxels: mean Hausdorff distance over the cases that have one, voxels; infinite when none has.
        hd_max: distance from which on a result is worth nothing, voxels; 200 in their code.
    """
    nearness = max(0.0, 1 - mean_hd_voxels / hd_max)
    return mean_dice * nearness / (mean_dice + nearness) if mean_dice + nearness else 0.0
