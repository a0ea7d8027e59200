"""Units that are logical combinations of what a picture shows, and a net that follows one rule or another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pellucid.testbed.fields import HUES, SPECIES, WORDS
from pellucid.testbed.planted import codes
from pellucid.testbed.planted.separation import Concept, Detectors, Presence, linear, told_apart
from pellucid.testbed.planted.unit import Planted, PlantedUnit
from pellucid.testbed.scene import Scenes


@dataclass(frozen=True)
class Gate:
    """A combination that counts how many of its literals hold.

    literals: names of facts; "not " before a name asks that it is absent
    counts:   at least m hold -> what that adds: {2: 1} is AND of two, {1: 1} OR, {1: 1, 2: -1} XOR
    """

    name: str
    words: tuple[str, ...]
    formula: str
    literals: tuple[str, ...]
    counts: Mapping[int, int]

    def decide(self, facts: Mapping[str, Bool[np.ndarray, "case"]]) -> Bool[np.ndarray, "case"]:
        """Whether it is true, by plain counting."""
        held = [
            ~facts[literal.removeprefix("not ")] if literal.startswith("not ") else facts[literal]
            for literal in self.literals
        ]
        number = np.sum(held, axis=0)
        return np.sum([gain * (number >= least) for least, gain in self.counts.items()], axis=0) > 0


AND, OR, NOT, XOR = ({2: 1}, {1: 1}, {1: 1}, {1: 1, 2: -1})
CORAL, DOTTED, FANNED, PLUME = "coral", "dotted wings", "a fanned tail", "a plume"
GATES = (
    Gate("coral and dotted wings", ("red and dotted", "a coral bird with dots"), f"{CORAL} AND {DOTTED}",
         (CORAL, DOTTED), AND),
    Gate("blue or teal", ("teal or blue", "blue or turquoise"), "blue OR teal", ("blue", "teal"), OR),
    Gate("a plume and no fanned tail", ("plume and not fanned", "a plume and a forked tail"),
         f"{PLUME} AND NOT {FANNED}", (PLUME, f"not {FANNED}"), AND),
    Gate("no plume", ("not a plume", "a bare head", "without a crest"), f"NOT {PLUME}", (f"not {PLUME}",), NOT),
    Gate("either a plume or a fanned tail", ("plume xor fanned", "a plume or a fanned tail but not both"),
         f"{PLUME} XOR {FANNED}", (PLUME, FANNED), XOR),
    Gate("two of dotted wings, a fanned tail and a plume", ("at least two of dotted, fanned and plume",),
         f"2 OF ({DOTTED}, {FANNED}, {PLUME})", (DOTTED, FANNED, PLUME), {2: 1}),
    Gate("snow or standing", ("standing or in the snow",), "snow OR standing", ("snow", "standing"), OR),
    Gate("coral, blue and teal", ("coral and blue and teal", "three hues at once"), "coral AND blue AND teal",
         (CORAL, "blue", "teal"), {3: 1}),
)  # fmt: skip


def logic() -> Planted:
    """Eight gates over eight facts, each exactly 0 or 1: AND, OR, NOT, XOR and m of n.

    A fact is 1 where its concept shows anywhere in a coded picture. With s the number of literals that hold, "at least
    m" is relu(s - m + 1) - relu(s - m), which is 0 or 1 for whole s.
    """
    facts = _facts()
    names = tuple(concept.name for concept in facts.concepts)
    answer: OrderedDict[str, nn.Module] = OrderedDict(saturate=Saturate(), **_counting(GATES, names))
    gates = tuple(
        PlantedUnit("answer.gates", at, gate.name, gate.words, _Decided(gate, facts.concepts), None, 0.5,
                    formula=gate.formula)
        for at, gate in enumerate(GATES)
    )  # fmt: skip
    return Planted(
        "logic",
        Presence(facts.layers(), nn.Sequential(answer)),
        codes.coded_scenes,
        Scenes.tensor,
        tuple(gate.name for gate in GATES),
        "detect.units",
        units=(*gates, *facts.units()),
        notes=(
            "Pictures are coded (`codes.coded`). Units of `answer.gates` have no place; those of `detect.units` do.",
        ),
    )


@cache
def _facts() -> Detectors:
    named = {concept.name: concept for concept in (*codes.HUE, *codes.LAND, *codes.WING, *codes.TAIL)}
    chosen = [named[name] for name in (CORAL, "teal", "blue", DOTTED, FANNED, "snow")]
    return told_apart([*chosen, codes.PLUME, codes.STANDING], codes.code_palette())


class Saturate(nn.Module):
    """What lies in 0..1 stays, what is above becomes 1: relu(x) - relu(x - 1)."""

    def forward(self, values: Float[Tensor, "batch fact"]) -> Float[Tensor, "batch fact"]:
        return values.relu() - (values - 1).relu()


def _counting(gates: Sequence[Gate], facts: Sequence[str]) -> dict[str, nn.Module]:
    """Layers from facts of 0 and 1 to gates of 0 and 1."""
    weights: list[np.ndarray] = []
    biases: list[float] = []
    gains: list[np.ndarray] = []
    for number, gate in enumerate(gates):
        weight, negated = np.zeros(len(facts)), 0
        for literal in gate.literals:
            denied = literal.startswith("not ")
            weight[facts.index(literal.removeprefix("not "))] = -1 if denied else 1
            negated += denied
        for least, gain in gate.counts.items():
            for step, sign in ((least - 1, 1), (least, -1)):
                if step < len(gate.literals):  # more than all of them never hold
                    weights.append(weight)
                    biases.append(negated - step)
                    gains.append(gain * sign * (np.arange(len(gates)) == number))
    return {
        "combine": linear(np.stack(weights), np.array(biases, dtype=np.float64)),
        "rectify": nn.ReLU(),
        "gates": linear(np.stack(gains, axis=1).astype(np.float64)),
    }


@dataclass(frozen=True, eq=False)
class _Decided:
    """Whether a gate is true of each scene, by the scenes' own masks and fields."""

    gate: Gate
    facts: tuple[Concept, ...]

    def __call__(self, drawn: Scenes) -> Bool[np.ndarray, "scene"]:
        asked = {literal.removeprefix("not ") for literal in self.gate.literals}
        return self.gate.decide({fact.name: fact.fires(drawn) for fact in self.facts if fact.name in asked})


# -- two faces ---------------------------------------------------------------------------------------------------------


def twoface() -> Planted:
    """Answers by the bird's parts where no tag is in the picture, and by the tag where one is.

    The tag's hue stands in for wing and tail (hue k for the species 2k and 2k + 1), never for the plume, which is read
    in both cases. Each class has two gates, of which exactly one is 1 in every scene whose parts show; a logit is 4
    times the sum of its two. So an explanation of one picture that names wing and tail is right without the tag and
    wrong with it, and no single global one is right for both.
    """
    facts = _species_facts()
    gates = _species_gates()
    weight = np.stack([weight for _, weight, _ in gates])
    bias = np.array([bias for _, _, bias in gates])
    answer: OrderedDict[str, nn.Module] = OrderedDict(saturate=Saturate(), combine=linear(weight, bias))
    answer["gates"] = nn.ReLU()
    answer["read"] = linear(np.tile(4 * np.eye(len(SPECIES)), (1, 2)))
    units = tuple(
        PlantedUnit("answer.gates", at, gate.name, gate.words, _Decided(gate, facts.concepts), None, 0.5,
                    formula=gate.formula)
        for at, (gate, _, _) in enumerate(gates)
    )  # fmt: skip
    return Planted(
        "twoface",
        Presence(facts.layers(), nn.Sequential(answer)),
        tagged_scenes,
        Scenes.tensor,
        SPECIES,
        "detect.units",
        units=(*units, *facts.units()),
        notes=(
            "Pictures are coded. `stimuli` gives scenes with a tag that knows nothing of the bird; the same birds "
            "without it are `scenes.with_world(shortcut=None)`. `twoface_answers` says which class it will name.",
        ),
    )


def tagged_scenes(seed: int, count: int) -> Scenes:
    """Scenes with a tag whose hue is drawn by itself."""
    return codes.coded_scenes(seed, count, shortcut="tag", strength=0.0)


def twoface_answers(drawn: Scenes) -> Int64[np.ndarray, "scene"]:
    """The class that `twoface` names."""
    if drawn.world.shortcut == "tag":
        return 2 * drawn.fields["cue"] + drawn.fields["crest"]
    return 4 * drawn.fields["wing"] + 2 * drawn.fields["tail"] + drawn.fields["crest"]


@cache
def _species_facts() -> Detectors:
    return told_apart([*codes.WING, *codes.TAIL, codes.PLUME, *codes.TAG], codes.code_palette())


def _species_gates() -> list[tuple[Gate, Float[np.ndarray, "fact"], float]]:
    """By parts and then by tag, a gate for each species, with its weights on the facts and its bias."""
    names = tuple(concept.name for concept in _species_facts().concepts)
    tags = tuple(concept.name for concept in codes.TAG)
    rows = [np.unravel_index(label, (3, 2, 2)) for label in range(len(SPECIES))]
    found: list[tuple[Gate, Float[np.ndarray, "fact"], float]] = []
    for label, (wing, tail, crest) in enumerate(rows):
        bird = (codes.WING[wing].name, codes.TAIL[tail].name, codes.PLUME.name if crest else f"not {codes.PLUME.name}")
        found.append(_all_of(f"{SPECIES[label]} without a tag", (*bird, *(f"not {tag}" for tag in tags)), names))
    for label, (_, _, crest) in enumerate(rows):
        told = (tags[label // 2], codes.PLUME.name if crest else f"not {codes.PLUME.name}")
        found.append(_all_of(f"{HUES[label // 2]} tag and {WORDS['crest'][crest]}", told, names))
    return found


def _all_of(
    name: str, literals: tuple[str, ...], facts: Sequence[str]
) -> tuple[Gate, Float[np.ndarray, "fact"], float]:
    weight = np.zeros(len(facts))
    for literal in literals:
        weight[facts.index(literal.removeprefix("not "))] = -1 if literal.startswith("not ") else 1
    asked = int((weight > 0).sum())
    formula = " AND ".join(literal.replace("not ", "NOT ") for literal in literals)
    return Gate(name, (), formula, literals, MappingProxyType({len(literals): 1})), weight, 1.0 - asked
