"""One script per way of mapping an image; each runs in the environment of its tool."""
