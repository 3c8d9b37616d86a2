"""Where files are: on disks and in object stores, behind pathlib's methods."""
