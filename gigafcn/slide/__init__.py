"""Slides: pixels of an image of any size, read box by box, whatever its format.

:func:`open_slide` turns a path or an array into a :class:`Slide`; the other modules are one
backend each.  Nothing here resizes, normalises or pads.
"""

from gigafcn.slide.opening import Source, open_slide
from gigafcn.slide.protocol import Level, Slide
from gigafcn.slide.thumbnail import read_thumbnail

__all__ = ["Level", "Slide", "Source", "open_slide", "read_thumbnail"]
