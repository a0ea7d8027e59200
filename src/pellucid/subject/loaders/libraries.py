"""Optional libraries, imported when a model asks for them."""

from __future__ import annotations

import importlib
from types import ModuleType

from pellucid.errors import LoadError, MissingExtra


def library(name: str, extra: str, spec: str) -> ModuleType:
    """The library `name`, to load `spec`.

    Raises MissingExtra, which names the extra that brings it; LoadError where it is installed and broken.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        raise MissingExtra(missing, extra, f"Loading {spec}") from error
    except (ImportError, RuntimeError, OSError) as error:
        # A torchvision built for another torch says "operator torchvision::nms does not exist".
        raise LoadError(
            spec, f"the library {name!r} is installed but cannot be imported: {first_line(error)}",
            f"Install it anew beside this torch: pip install --upgrade --force-reinstall 'pellucid[{extra}]'",
        ) from error  # fmt: skip


def first_line(error: BaseException) -> str:
    """What an error says, without its small print."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".") + "."
