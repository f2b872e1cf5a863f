"""Where samples are cut and in which order they come: integers only. Knows no voxels, files or models."""
