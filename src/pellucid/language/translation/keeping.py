"""Translators in files: safetensors for the net between, and beside it all that says what it may be used with."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from pellucid.errors import FileError, ModelError
from pellucid.language.translation.bridges import Shape
from pellucid.language.translation.counting import Histogram
from pellucid.language.translation.decoders import opened
from pellucid.language.translation.learning import Losses
from pellucid.language.translation.ports import Port
from pellucid.language.translation.said import Trial
from pellucid.language.translation.translator import Record, Translator
from pellucid.subject import VisionModel, load
from pellucid.values.place import place_of

_CHANGED = "{what} has other weights than the translator was fitted to ({got}, expected {expected}). Fit it anew."


def save(translator: Translator, path: str | Path) -> Path:
    """Write a translator; the whole file or none of it. Weights of the two models are not in it."""
    place = place_of(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "record": asdict(translator.record), "port": translator.port.to_dict(),
        "shape": translator.bridge.shape.to_dict(), "blind": translator.blind.to_dict(),
        "longest": translator.longest, "merged": translator.merged,
        "controls": None if translator.controls is None else translator.controls.to_dict(),
    }  # fmt: skip
    partial = place.with_suffix(f".{os.getpid()}.partial")
    state = {name: value.detach().cpu().contiguous() for name, value in translator.bridge.state_dict().items()}
    save_file(state, partial, metadata={"translator": json.dumps(about)})
    partial.replace(place)
    return place


def reopened(path: str | Path, model: VisionModel | None = None, lm: Any = None) -> Translator:
    """The translator that `save` wrote.

    model, lm: those it was fitted to, where they cannot be opened by their names

    Raises FileError for what is no such file, ModelError where one of the two has other weights than it had.
    """
    place = place_of(path)
    try:
        with safe_open(place, framework="pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["translator"])
        state = load_file(place)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FileError(place, "it holds no translator.", "Write one with `pellucid translate fit`.") from error
    told: dict[str, Any] = about["record"]
    told["losses"], told["notes"] = Losses(**told["losses"]), tuple(told["notes"])
    record = Record(**told)
    subject = load(record.model) if model is None else model
    decoder = opened(lm if lm is not None else record.decoder)
    for what, got, expected in (
        (subject.name, subject.fingerprint, record.model_hash),
        (record.decoder or "The language model", decoder.fingerprint, record.decoder_hash),
    ):
        if got != expected:
            raise ModelError(_CHANGED.format(what=what, got=got, expected=expected))
    bridge = Shape.from_dict(about["shape"]).build(0)
    bridge.load_state_dict(state)
    controls = None if about["controls"] is None else Trial.from_dict(about["controls"])
    return Translator(
        subject, decoder, Port.from_dict(about["port"]), bridge.eval(), blind=Histogram.from_dict(about["blind"]),
        record=record, longest=int(about["longest"]), merged=about["merged"], controls=controls,
    )  # fmt: skip
