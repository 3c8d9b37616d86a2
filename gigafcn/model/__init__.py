"""Models: the bundled demonstration net, and how a model is loaded."""
