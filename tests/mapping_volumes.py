"""Constructed volumes for MAPPING's post-processing, with what its authors' released function makes of them."""

import numpy as np
from scipy import ndimage


def cubes(*boxes, points=()):
    """A volume 48^3 of zeros with (corner, sides, value) boxes, later ones over earlier, and (place, value) voxels."""
    volume = np.zeros((48, 48, 48), np.float32)
    for corner, sides, value in boxes:
        corner = (corner,) * 3 if isinstance(corner, int) else corner
        sides = (sides,) * 3 if isinstance(sides, int) else sides
        volume[tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))] = value
    for place, value in points:
        volume[place] = value
    return volume


FIVE = [((corner, 5, 5), side, 0.9) for corner, side in ((2, 2), (11, 3), (20, 4), (29, 5), (38, 6))]
TWO_LARGE = [((2, 2, 2), 14, 0.9), ((20, 2, 2), 14, 0.9)]
BLOCK = [((2, 2, 2), (15, 15, 13), 0.9)]

# Case: volume, voxels and components (6 neighbours) of the result; all of them from the authors' released function.
CASES = {
    1: (cubes((5, 4, 0.6), (20, 4, 0.6), points=[((21, 21, 21), 0.8)]), 64, 1),
    2: (cubes((5, 4, 0.6), (20, 4, 0.65)), 128, 2),
    3: (cubes((5, 3, 0.3), (20, 2, 0.15)), 27, 1),
    4: (cubes(*FIVE), 432, 4),
    5: (cubes(*FIVE[:4]), 224, 4),
    6: (cubes(*FIVE[1:], ((4, 5, 5), (7, 1, 1), 0.6), FIVE[0]), 447, 4),
    7: (cubes(*TWO_LARGE, ((16, 8, 8), (4, 1, 1), 0.52)), 5488, 2),
    8: (cubes(*TWO_LARGE, ((16, 8, 8), (4, 1, 1), 0.60)), 5492, 1),
    9: (cubes((2, 15, 0.9), (30, 3, 0.53)), 3402, 2),
    10: (cubes((2, 17, 0.53), (3, 15, 0.9)), 4913, 1),
    11: (
        cubes(
            *[((x, 2, 2), 16, 0.52) for x in (2, 22)],
            *[((x, 3, 3), 14, 0.9) for x in (3, 23)],
            ((18, 8, 8), (4, 1, 1), 0.52),
        ),
        5488,
        2,
    ),
    12: (cubes(*BLOCK, ((2, 2, 15), (15, 5, 1), 0.9), (30, 3, 0.6)), 3027, 2),
    13: (cubes(*BLOCK, ((2, 2, 15), (15, 4, 1), 0.9), (30, 2, 0.6)), 2985, 1),
    14: (cubes((5, 4, 0.9), ((9, 5, 5), (1, 4, 4), 0.4), (20, 4, 0.4), points=[((4, 4, 4), 0.4)]), 80, 1),
    15: (cubes((2, 15, 0.9), ((17, 2, 2), (1, 15, 15), 0.4), (30, 3, 0.4)), 3627, 2),
    16: (cubes((5, 3, 0.9), (8, 3, 0.6)), 27, 1),
}


def components(mask):
    """(labels, count) with faces, by another library than the one in use."""
    return ndimage.label(mask)
