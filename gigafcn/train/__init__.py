"""Training of the bundled demonstration model: drawn patches, loop, evaluation, drawn slide."""
