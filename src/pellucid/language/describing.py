"""Units of a model in words, named by an encoder where there is one, else by the model's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.language import neurons
from pellucid.language.pools import Pool, bird_pool, encoder_for, likeness
from pellucid.language.probes import Probe, responses
from pellucid.results import Claim
from pellucid.subject import VisionModel

BY_LABELS = (
    "No text encoder was asked. Names are labels of the model itself: the answer that goes with the unit, which is not "
    "what the unit sees. Name an encoder to have words that were not the model's: --encoder open_clip:..."
)
JUDGED = "Which pictures show what was told by {spec}; where it errs, so do the names."
FEW_PHOTOGRAPHS = (
    "The pictures are crops of six photographs, each in both halves: what stands here stands for these photographs, "
    "and crops of one photograph are no independent witnesses."
)


@dataclass(frozen=True, eq=False)
class Described:
    """Units of one layer in words.

    claims:    one sentence for each unit
    exemplars: for each unit the names of the pictures it answers to most
    notes:     where the names come from
    """

    layer: str
    naming: neurons.Naming
    claims: tuple[Claim, ...]
    exemplars: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*(claim.text for claim in self.claims), self.naming.text, *self.notes])

    def to_dict(self) -> dict[str, object]:
        return {
            "layer": self.layer, "pool": self.naming.pool, "method": self.naming.method, "notes": list(self.notes),
            "controls": self.naming.controls, "beats_controls": self.naming.beats_controls, "summary": self.naming.text,
            "units": [
                {"unit": unit.unit, "name": unit.name, "best": list(unit.names), "also": unit.also, "q": unit.q,
                 "text": claim.text, "verdict": claim.verdict, "measured": dict(claim.measured),
                 "exemplars": list(shown)}
                for unit, claim, shown in zip(self.naming.units, self.claims, self.exemplars, strict=True)
            ],
        }  # fmt: skip


def describe_units(
    model: VisionModel,
    layer: str | None = None,
    *,
    units: Sequence[int] | None = None,
    probe: Probe | None = None,
    words: Sequence[str] | None = None,
    encoder: str | None = None,
    method: str = neurons.METHOD,
    pool: str = "mean",
    seed: int = 0,
) -> Described:
    """Names units of a layer from the pictures they answer to.

    layer:   None is the model's default
    words:   what they may be called; None is the testbed's words for scenes, the model's labels for photographs
    encoder: a dual encoder by its spec; None is `testbed:dual` for scenes, and the model's own answers for photographs
    pool:    a unit's answer to a picture is its `mean` or `max` over the grid

    Raises RequestError for units that the layer has not.
    """
    pictures = probe or Probe.for_model(model)
    where = layer or model.layers.chosen("describe").name
    inputs = pictures.inputs(model)
    given = responses(model, inputs, where, pool=pool)
    wrong = [unit for unit in units or () if not 0 <= unit < given.shape[1]]
    if wrong:
        raise RequestError(f"{where} has no unit {wrong[0]}: it has {given.shape[1]}, 0 to {given.shape[1] - 1}.")
    named, like, notes = _likeness(model, inputs, pictures, words, encoder)
    naming = neurons.name_units(given, like, named, units=units, method=method, seed=seed)
    names = [frame.name for frame in pictures.frames()]
    exemplars = tuple(tuple(names[at] for at in unit.exemplars) for unit in naming.units)
    return Described(where, naming, neurons.claims(model, where, naming, pictures, pool=pool), exemplars, notes)


def _likeness(
    model: VisionModel, inputs: Tensor, pictures: Probe, words: Sequence[str] | None, encoder: str | None
) -> tuple[Pool, Float[np.ndarray, "picture word"], tuple[str, ...]]:
    scenes = pictures.source == "scenes"
    about = (FEW_PHOTOGRAPHS,) if pictures.source == "photographs" else ()
    if encoder is None and not scenes:
        if words is not None:
            raise RequestError("Words need an encoder that can tell where they are: --encoder open_clip:...")
        answers = model.predict(inputs).double().cpu().numpy()
        return Pool.of(model.labels.names, source=neurons.OWN_LABELS), answers, (BY_LABELS, *about)
    spec = encoder or "testbed:dual"
    asked = bird_pool() if words is None and scenes else Pool.of(words or model.labels.names)
    judge = encoder_for(asked, spec)
    seen = pictures.scenes().tensor() if scenes else judge.prepare(pictures.frames())
    return asked, likeness(judge, seen, asked), (JUDGED.format(spec=spec), *about)
