"""Pictures: read safely, kept with the geometry that made them model input, blurred, cut up and put into words."""

from pellucid.images import baselines, masks, position, superpixels
from pellucid.images.annotated import AnnotatedFolder, AnnotatedPicture, Category, Instance
from pellucid.images.coco import open_folder
from pellucid.images.frame import Box, Frame, Geometry
from pellucid.images.reading import SUFFIXES, Source, find, read, read_many

__all__ = [
    "SUFFIXES",
    "AnnotatedFolder",
    "AnnotatedPicture",
    "Box",
    "Category",
    "Frame",
    "Geometry",
    "Instance",
    "Source",
    "baselines",
    "find",
    "masks",
    "open_folder",
    "position",
    "read",
    "read_many",
    "superpixels",
]
