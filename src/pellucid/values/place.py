"""A path as a user writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal


def place_of(path: str | os.PathLike[str]) -> Path:
    """The path with `~` put in full; as it is where there is no user of that name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def leads_to(path: str | os.PathLike[str]) -> Literal["file", "folder", "nothing"]:
    """What lies at a path; pipes and devices count as files, a name that cannot be one leads to nothing."""
    place = place_of(path)
    try:
        return "folder" if place.is_dir() else "file" if place.exists() else "nothing"
    except (OSError, ValueError):  # a name too long, or with a zero byte in it
        return "nothing"
