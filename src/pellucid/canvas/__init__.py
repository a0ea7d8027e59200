"""How anything draws itself: colour scales, maps over pictures, charts, pieces of HTML and PNG."""
