"""A model as a graph of rules: traced from torch, folded, ready to be planned and swept."""
