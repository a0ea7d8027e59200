"""Pictures: read safely, kept with the geometry that made them model input, blurred, cut up and put into words."""

from pellucid.images import baselines, masks, position, superpixels
from pellucid.images.frame import Box, Frame, Geometry
from pellucid.images.reading import SUFFIXES, Source, find, read, read_many

__all__ = [
    "SUFFIXES",
    "Box",
    "Frame",
    "Geometry",
    "Source",
    "baselines",
    "find",
    "masks",
    "position",
    "read",
    "read_many",
    "superpixels",
]
