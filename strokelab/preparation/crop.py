"""Where a crop begins and how far it reaches; knows integers only.

A box may hang over the border of the volume; there is background there (``grid.CropPad``).
"""

from __future__ import annotations

Axes = tuple[int | None, int | None, int | None]


def crop_box(
    shape: tuple[int, int, int], crop: Axes, offset: Axes | None = None
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Start voxel and size of a crop of a volume of ``shape`` (X, Y, Z).

    Args:
        shape: the volume.
        crop: size along each axis; None leaves the axis whole.
        offset: first voxel along each axis (negative: padding before it); None centres the box. With an odd rest
            the box begins half a voxel early, as SG-Net's left-right crop of 192 from 197 does (offset 2).
    """
    starts, sizes = [], []
    for length, size, start in zip(shape, crop, offset or (None, None, None), strict=True):
        sizes.append(length if size is None else size)
        if size is None:
            starts.append(0)
        else:
            starts.append((length - size) // 2 if start is None else start)
    return (starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2])
