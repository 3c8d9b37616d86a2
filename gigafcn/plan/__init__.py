"""Plans as data: what is computed, kept, read and written, before the first pixel is touched."""
