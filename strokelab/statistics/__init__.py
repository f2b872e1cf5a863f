"""Across cases: tables in, tables out. Knows no voxels."""
