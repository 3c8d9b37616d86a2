"""Loads what torch loads when a model is first exported; for the server that commands fork off."""

from __future__ import annotations

from torch import nn

from gigafcn.analysis import analyze

analyze(nn.Conv2d(3, 2, 3, padding=1).eval(), size=64)
