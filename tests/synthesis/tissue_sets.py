"""Small sets of tissue maps in MNI space, as files: a ball of white matter in a shell of grey, fluid around both."""

import numpy as np

from strokelab.grid import Grid
from strokelab.nifti import write_volume
from strokelab.preparation.template import template_brain

MM = 6.0
GRID = Grid.of((33, 39, 32), [[MM, 0, 0, -95.5], [0, MM, 0, -131.5], [0, 0, MM, -69.5], [0, 0, 0, 1]])


def brain():
    return template_brain(GRID)


def fractions():
    """GM, WM and CSF (X, Y, Z) that sum to 1 inside the brain; a quarter of the voxels hold both tissues."""
    inside = brain().astype(np.float32)
    stream = np.random.default_rng(0)
    white = np.clip(stream.uniform(-0.5, 1.5, GRID.shape), 0, 0.9).astype(np.float32) * inside
    fluid = np.float32(0.1) * inside
    return {"GM": inside - white - fluid, "WM": white, "CSF": fluid}


def skull():
    """Half of each voxel around the brain."""
    return np.float32(0.5) * ~brain()


def write(folder, name, maps, grid=GRID):
    """``<name>_<class>.nii.gz`` of each map."""
    for role, values in maps.items():
        write_volume(folder / f"{name}_{role}.nii.gz", np.asarray(values, dtype=np.float32), grid)


def write_channels(path, channels, grid=GRID):
    """One file with several channels."""
    import nibabel as nib

    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.stack(channels, axis=-1).astype(np.float32), grid.matrix), path)
