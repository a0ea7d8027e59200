"""A description made richer and truer: what it invents is taken out, what it leaves out is put in.

Pi et al., Image Textualization: an automatic framework for creating accurate and detailed image descriptions, 2024.
A reference description; each object it names is looked for by a detector, and deleted where there is none; objects that
it left out are described and added; the sentences are written anew, with their places. Every phrase keeps its trail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool

from pellucid.images import Frame
from pellucid.images.position import in_words
from pellucid.language import things
from pellucid.language.narrators import Narrator
from pellucid.results import Beside, Claim
from pellucid.stories.recipes.told import Told, told
from pellucid.subject import VisionModel
from pellucid.testbed import nets
from pellucid.testbed.captions import parse
from pellucid.testbed.fields import HUES, WORDS
from pellucid.testbed.nets import Captioner, Dual
from pellucid.trust.ground import box_around

Mask = Bool[np.ndarray, "height width"]
Detect = Callable[[Frame], Mapping[str, Mask]]
Describe = Callable[[Frame, str], Mapping[str, str]]
Fate = Literal["kept", "deleted", "added", "unverifiable"]
OBJECTS = ("wing", "tail", "crest", "bib", "beak")
SMALL = ("beak",)  # parts of which a detector may miss all: not found is no evidence that they are not there
_FIELDS = {"wing": ("wing", "wing_hue"), "tail": ("tail", "tail_hue"), "crest": ("crest_hue",), "bib": ("bib_hue",),
           "beak": ("beak", "beak_hue")}  # fmt: skip


@dataclass(frozen=True)
class Phrase:
    """What became of one object.

    fields: what is said of it
    box:    left, top, right, bottom of where the detector found it, the last two exclusive; None where it did not
    """

    part: str
    fate: Fate
    fields: Mapping[str, str]
    box: tuple[int, int, int, int] | None
    place: str = ""

    @property
    def words(self) -> str:
        """As a noun phrase: "a forked amber tail"."""
        return phrase(self.part, self.fields)

    def __str__(self) -> str:
        where = f", at {self.place}, box {list(self.box)}" if self.box else ", not found"
        return f"{self.fate}: {self.words}{where}"


def phrase(part: str, fields: Mapping[str, str]) -> str:
    said = " ".join(fields[name] for name in _FIELDS[part] if name in fields)
    noun = {"wing": "wings", "crest": "plume"}.get(part, part)
    return f"{'' if part == 'wing' else 'a '}{said} {noun}".replace("  ", " ")


def audited(
    reference: str, frame: Frame, *, detect: Detect, describe: Describe, small: Sequence[str] = SMALL
) -> tuple[Phrase, ...]:
    """Every object that the reference names or the detector finds, and what becomes of it.

    reference: in the grammar of the testbed's captions. Raises SceneError where it is not
    """
    said, found = parse(reference), detect(frame)
    phrases: list[Phrase] = []
    for part in OBJECTS:
        mask = found.get(part)
        seen = mask is not None and int(mask.sum()) >= things.LEAST_PIXELS
        own = {name: said[name] for name in _FIELDS[part] if name in said}
        named = bool(own) and not (part == "crest" and said.get("crest") == "none")
        if not named and not seen:
            continue
        fate: Fate = "kept" if named and seen else "added" if seen else "unverifiable" if part in small else "deleted"
        fields = own if named else dict(describe(frame, part))
        box, place = None, ""
        if seen and mask is not None:
            box, place = box_around(torch.from_numpy(mask)), in_words(mask)
        phrases.append(Phrase(part, fate, fields, box, place))
    return tuple(phrases)


def textualise(
    picture: Frame, model: VisionModel, *, reference: str | None = None, detect: Detect | None = None,
    describe: Describe | None = None, narrator: Narrator | str = "templates", seed: int = 0,
) -> Told:  # fmt: skip
    """A rendered bird described in detail, with what was deleted and added.

    reference: a description to begin with, in the grammar of the captions; None is the captioner's
    detect:    where parts are; None is the segmenter. describe: what a part is like; None asks the dual encoder
    """
    said = reference or nets.loaded("captioner", Captioner).generate(picture.tensor())[0]
    phrases = audited(
        said, picture, detect=detect or things.parts_of, describe=describe or by_dual(nets.loaded("dual", Dual))
    )
    claims: list[Claim] = []
    for one in phrases:
        if one.fate in ("kept", "added"):
            claims.append(things.there(picture, one.part))
            writer = "testbed:captioner" if one.fate == "kept" else "testbed:dual"
            claims += [things.like(picture, name, word, writer=writer) for name, word in one.fields.items()]
    stated = parse(said)
    claims += [things.like(picture, name, stated[name], writer="testbed:captioner")
               for name in ("body_hue", "land", "feet", "flip") if name in stated]  # fmt: skip
    kept = _told_fields(phrases)
    own, blind, chance = (_borne_out(picture, fields) for fields in (kept, _blind(kept), _random(kept, seed)))
    beside = Beside("Attributes that the witness bears out", own,
                    {"one place further in the list of words": blind, "random words": chance})  # fmt: skip
    trail = [f"Reference: {said}.", *map(str, phrases), f"Recaptioned: {recaption(stated, phrases)}."]
    parts: dict[str, Any] = {
        "reference": said, "recaption": recaption(stated, phrases),
        "phrases": [{**vars(one), "fields": dict(one.fields), "words": one.words} for one in phrases],
    }  # fmt: skip
    return told("textualise", model, claims, narrator=narrator, frame=picture, beside=[beside], trail=trail,
                parts=parts, seed=seed)  # fmt: skip


def recaption(stated: Mapping[str, str], phrases: Sequence[Phrase]) -> str:
    """The description written anew: what was found, with its place; what could not be checked is marked."""
    there = [f"{one.words} at {one.place}" for one in phrases if one.fate in ("kept", "added")]
    open_ones = [f"{one.words} [unchecked]" for one in phrases if one.fate == "unverifiable"]
    bird = f"a {stated['body_hue']} bird" if "body_hue" in stated else "a bird"
    return f"{bird} with {', '.join([*there, *open_ones])}" if there or open_ones else bird


def by_dual(net: Dual) -> Describe:
    """What a part is like, by the text of it that a dual encoder finds nearest to the picture.

    The text begins with the bird in its own hue: a bare "amber tail" is read as an amber bird with a tail. So asked, of
    100 scenes of seed 950 the hues of wings and beak come out right in 98 to 100 %, of the tail in 82 %, and of plume
    and bib in half; what is wrong is for the witness to refute.
    """

    @torch.no_grad()
    def describe(frame: Frame, part: str) -> dict[str, str]:
        picture, names = net.encode_images(frame.tensor()), _FIELDS[part]
        body = HUES[int((picture @ net.encode_texts([f"a {hue} bird" for hue in HUES]).T)[0].argmax())]
        hues = WORDS["beak_hue"] if part == "beak" else HUES
        shapes = WORDS[part] if len(names) == 2 else ("",)
        pairs = [[one for one in (shape, hue) if one] for shape in shapes for hue in hues]
        options = [dict(zip(names, pair, strict=True)) for pair in pairs]
        texts = net.encode_texts([f"a {body} bird with {phrase(part, fields)}" for fields in options])
        return options[int((picture @ texts.T)[0].argmax())]

    return describe


def _told_fields(phrases: Sequence[Phrase]) -> dict[str, str]:
    return {name: word for one in phrases if one.fate in ("kept", "added") for name, word in one.fields.items()}


def _blind(fields: Mapping[str, str]) -> dict[str, str]:
    """The words of another bird: each field's next word."""
    return {name: WORDS[name][(WORDS[name].index(word) + 1) % len(WORDS[name])] for name, word in fields.items()}


def _random(fields: Mapping[str, str], seed: int) -> dict[str, str]:
    generator = np.random.default_rng(seed)
    return {name: WORDS[name][int(generator.integers(len(WORDS[name])))] for name in fields}


def _borne_out(frame: Frame, fields: Mapping[str, str]) -> float:
    verdicts = [things.like(frame, name, word, writer="a control").verdict for name, word in fields.items()]
    return verdicts.count("verified") / len(verdicts) if verdicts else float("nan")
