"""Units, classes and prototypes of a model by what they go by, as claims that anyone can test again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.language import check
from pellucid.language.characteristics import Pair, Profile, Read, beside_chance, pairs, profiles
from pellucid.language.probes import Probe
from pellucid.language.readings import Reader, Reading
from pellucid.language.retouching import CHARACTERISTICS, SHIPPED, Levels
from pellucid.registry import claim_test
from pellucid.results import Beside, Claim
from pellucid.results.beside import all_beaten
from pellucid.subject import VisionModel

_SAME = 0.02  # shares this close are the same on another machine
LEVELS_DECIDE = (
    "The levels are those of the method's code; another level, or a change of another kind, can rank them otherwise."
)


@dataclass(frozen=True, eq=False)
class Characterised:
    """Readings of one model by what they go by.

    claims: one sentence for each reading
    pairs:  readings whose strongest patches look alike, and which go by the same or by something else
    seed:   of what stands beside it
    """

    profiles: tuple[Profile, ...]
    claims: tuple[Claim, ...]
    pairs: tuple[Pair, ...]
    seed: int = 0
    notes: tuple[str, ...] = (LEVELS_DECIDE,)

    @cached_property
    def beside(self) -> tuple[Beside, ...]:
        """What is important, beside what would be where nothing is, and what it costs, beside what else does."""
        return beside_chance(self.profiles, seed=self.seed)

    @property
    def beats_controls(self) -> bool:
        return all_beaten(self.beside)

    def __str__(self) -> str:
        lines = [*(one.text for one in self.claims), *map(str, self.pairs), *map(str, self.beside), *self.notes]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "readings": [
                {**profile.to_dict(), "verdict": claim.verdict, "claim": claim.to_dict()}
                for profile, claim in zip(self.profiles, self.claims, strict=True)
            ],
            "pairs": [asdict(one) for one in self.pairs],
            "beside": [one.to_dict() for one in self.beside], "beats_controls": self.beats_controls,
            "notes": list(self.notes),
        }  # fmt: skip


def probe_for(model: VisionModel, *, seed: int = 1000, count: int = 60) -> Probe:
    """The pictures that a model's characteristics are measured on.

    Raises RequestError for nets that read codes, which have no colours, textures or shapes.
    """
    if model.name in ("planted_edges", "planted_linear"):
        return Probe("scenes", seed, count)
    probe = Probe.for_model(model, seed=seed, count=count)
    if probe.paint == "coded":
        raise RequestError(f"{model.name} reads scenes in codes, and a code has no hue, texture or shape of its own.")
    return probe


def characterise(
    model: VisionModel, readings: Sequence[Reading], *, probe: Probe | None = None, levels: Levels = SHIPPED,
    seed: int = 0,
) -> Characterised:  # fmt: skip
    """What hue, saturation, contrast, texture and shape are worth to units, classes or prototypes of one layer.

    probe: the pictures; None is scenes for nets of the testbed, crops of photographs for others

    Raises RequestError for readings of several layers, and for pictures in codes.
    """
    shown = probe or probe_for(model, seed=1000)
    reader = Reader.of(model, tuple(readings))
    pictures = _pictures(model, shown)
    names = [one.name(model) for one in readings]
    found = profiles(_normalised(model, reader), pictures, names, levels=levels, seed=seed)
    rows, columns = reader(_inputs(model, pictures[:1])).shape[-2:]
    claims = tuple(_claim(one, reading, shown, levels, seed) for one, reading in zip(found, readings, strict=True))
    placed = [one for one, reading in zip(found, readings, strict=True) if reading.kind != "class"]
    return Characterised(found, claims, pairs(placed, pictures, (rows, columns)), seed)


@claim_test("characteristics")
def characteristics(model: VisionModel, claim: Claim) -> Claim:
    """Does the reading lose as much by each change as was claimed, and by the same ones more than by chance?

    The pictures are made and changed again. Verified where the same characteristics are important and no share of the
    answer differs by more than 2 percentage points.
    """
    asked = claim.arguments
    reading = Reading.from_dict(asked["reading"], claim.frame)
    probe, levels = Probe.from_dict(asked["probe"]), Levels.from_dict(asked["levels"])
    (again,) = characterise(model, [reading], probe=probe, levels=levels, seed=int(asked["seed"])).profiles
    measured = _figures(again)
    before = claim.first.measured
    shares = [(float(before.get(name, measured[name])), measured[name]) for name in CHARACTERISTICS if name in measured]
    near = all(abs(one - other) <= _SAME for one, other in shares)
    same = near and list(before.get("important", measured["important"])) == measured["important"]
    verdict = check.UNVERIFIABLE if again.silent else check.VERIFIED if same else check.REFUTED
    return replace(claim, template=_spelled(again.text), measured=measured, verdict=verdict)


def _claim(one: Profile, reading: Reading, probe: Probe, levels: Levels, seed: int) -> Claim:
    arguments = {
        "reading": reading.to_dict(), "probe": probe.to_dict(), "levels": levels.to_dict(), "seed": seed,
    }  # fmt: skip
    verdict = check.UNVERIFIABLE if one.silent else check.VERIFIED
    return Claim(_spelled(one.text), "goes_by", "characteristics", _figures(one), arguments, verdict, reading.frame)


def _figures(one: Profile) -> dict[str, Any]:
    shares = {name: found.share for name, found in one.importance.items() if found.share == found.share}
    chance = {f"{name}, random": found.by_chance for name, found in one.importance.items() if name in shares}
    return {**shares, **chance, "important": list(one.important()), "pictures": len(one.answer)}


def _pictures(model: VisionModel, probe: Probe) -> Float[Tensor, "picture 3 height width"]:
    """The probe's pictures at the size of the model's input, in 0..1."""
    if probe.paint == "coded":
        raise RequestError("Pictures in codes have no hue, texture or shape of their own.")
    mean, std = _scale(model)
    inputs = probe.inputs(model).float().cpu()
    return (inputs * std + mean).clamp(0, 1)


def _normalised(model: VisionModel, reader: Reader) -> Read:
    return lambda pictures: reader(_inputs(model, pictures))


def _inputs(model: VisionModel, pictures: Tensor) -> Tensor:
    mean, std = _scale(model)
    return (pictures.float() - mean) / std


def _scale(model: VisionModel) -> tuple[Tensor, Tensor]:
    own = model.preprocess
    mean, std = (own.mean, own.std) if own is not None else ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]


def _spelled(text: str) -> str:
    """A sentence as a template without figures."""
    return text.replace("{", "{{").replace("}", "}}")
