"""TILES: grid, labels by exact area share, cutting, the zarr store, cohorts."""
