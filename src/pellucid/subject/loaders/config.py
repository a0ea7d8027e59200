"""pellucid's own `config.json`: what a bare file of weights does not say.

    {"architecture": "timm:resnet18", "labels": ["cat", "dog"],
     "preprocess": {"size": [224, 224], "resize": 256, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
     "output": "logits", "activation": "softmax", "default_layer": "layer4"}

Every entry may be left out. It stands beside the file as `<name>.json` or `config.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pellucid.errors import LoadError, RequestError, UnknownModel
from pellucid.values import Preprocess

_WRAPPING = ("labels", "preprocess", "output", "activation", "input_size", "default_layer", "why_layer", "name")


@dataclass(frozen=True)
class Config:
    """A config that was read and checked: the spec of the architecture, and keywords for `pl.wrap`."""

    architecture: str | None = None
    wrapping: Mapping[str, Any] = field(default_factory=dict)


def beside(path: Path) -> Config | None:
    """The config that belongs to the file `path`, None where there is none. Raises LoadError for a faulty one."""
    for candidate in (path.with_suffix(".json"), path.with_name("config.json")):
        if candidate.is_file():
            return understood(str(candidate), read(candidate))
    return None


def read(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises LoadError for anything else."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LoadError(str(path), f"it is no JSON: {error}.", "Mend it, or take it away.") from error
    if not isinstance(entries, dict):
        raise LoadError(str(path), f"it holds a {type(entries).__name__}.", "Write an object of keys and values.")
    return entries


def understood(where: str, entries: Mapping[str, Any]) -> Config:
    """The entries as a Config. Raises LoadError for an unknown key or a value of the wrong kind."""
    known = ("architecture", *_WRAPPING)
    for key in entries:
        if key not in known:
            raise UnknownModel(where, f"its key {key!r} is not known.", asked=key, known=known,
                               remedy=f"The keys are {', '.join(known)}.")  # fmt: skip
    wrapping = {key: value for key, value in entries.items() if key != "architecture"}
    if "labels" in wrapping:
        wrapping["labels"] = _labels(where, wrapping["labels"])
    if "preprocess" in wrapping:
        wrapping["preprocess"] = _preprocess(where, wrapping["preprocess"])
    if "input_size" in wrapping:
        wrapping["input_size"] = _pair(where, "input_size", wrapping["input_size"])
    return Config(entries.get("architecture"), wrapping)


def _labels(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise LoadError(where, "its labels are no list of words.", 'Write "labels": ["cat", "dog"].')
    return tuple(value)


def _preprocess(where: str, value: Any) -> Preprocess:
    known = [entry.name for entry in fields(Preprocess)]
    if not isinstance(value, dict) or not set(value) <= set(known):
        raise LoadError(where, f"its preprocess {value!r} is not understood.", f"Its keys are {', '.join(known)}.")
    try:
        return Preprocess(**value)
    except RequestError as error:
        raise LoadError(where, f"its preprocess is faulty: {error}", "Mend it.") from error


def _pair(where: str, key: str, value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(length, int) for length in value):
        raise LoadError(where, f"its {key} is {value!r}.", "Write two whole numbers, [rows, columns].")
    return (value[0], value[1])
