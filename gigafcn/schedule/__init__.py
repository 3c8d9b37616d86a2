"""Tiles as Dask tasks: one task, one tile, a receipt back, no pixels in between."""
