"""What a result was made with."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = (
    "pellucid",
    "torch",
    "numpy",
    "pillow",
    "timm",
    "torchvision",
    "transformers",
    "open_clip_torch",
    "onnxruntime",
)


@cache
def _found() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for library in _LIBRARIES:
        try:
            found.append((library, version(library)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def versions() -> dict[str, str]:
    """Python's and the libraries' versions, of those that are installed."""
    return dict(_found())
