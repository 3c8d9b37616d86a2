"""What becomes of a run when workers, drivers, disks, files and stores fail: real processes."""
