"""Fitted nets on disk: weights as .safetensors, and what is known of them beside, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from pellucid.errors import FileError
from pellucid.results.files import write_atomically


def write_weights(path: str | Path, kind: str, about: Mapping[str, Any], state: Mapping[str, Tensor]) -> Path:
    """A file of one kind; `about` are plain values. Raises FileError where it cannot be written."""
    kept = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    return write_atomically(path, save(kept, metadata={"about": json.dumps({"kind": kind, **about})}))


def read_weights(path: str | Path, kind: str, remedy: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `write_weights` wrote of that kind. Raises FileError, with the remedy, for anything else."""
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get("about", "{}"))
        state = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise FileError(path, f"it cannot be read: {error}.", remedy) from error
    if about.pop("kind", None) != kind:
        raise FileError(path, f"it holds no {kind}.", remedy)
    return about, state
