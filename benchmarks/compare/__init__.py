"""gigafcn beside the tools that only approximate, on one image, model, machine and run."""
