"""Maps as files that other programs open: OME-TIFF, GeoJSON, pictures, tables."""

from gigafcn.export.exporting import FORMATS, Export, export_map

__all__ = ["FORMATS", "Export", "export_map"]
