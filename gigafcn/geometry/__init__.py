"""Spans and boxes: integer geometry without arrays, without torch."""

from gigafcn.geometry.box import Box
from gigafcn.geometry.span import EMPTY, Span

__all__ = ["EMPTY", "Box", "Span"]
