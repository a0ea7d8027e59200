"""What spans several explanations: the index page and the gallery sheet."""

from pellucid.report.gallery import gallery_sheet, write_gallery
from pellucid.report.index import Card, Section, Skipped, render_index, write_index

__all__ = ["Card", "Section", "Skipped", "gallery_sheet", "render_index", "write_gallery", "write_index"]
