"""Structured evidence, several paragraphs made of it, and the one that the picture itself fits best.

Xie et al., Visual Clues: bridging vision and language foundations for image paragraph captioning, 2022. Tags, objects
with what they are like and where they are, and captions are written down as clues with ids; paragraphs are sampled; a
dual encoder scores each paragraph and each sentence, the best paragraph is taken, and sentences that something else
would fit better are cut. What is left goes to the check of claims, whose witness is neither the writer nor the chooser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import SceneError
from pellucid.images import Frame
from pellucid.images.position import in_words
from pellucid.language import things
from pellucid.language.narrators import Narrator
from pellucid.language.phrases import bird_phrases
from pellucid.results import Beside, Claim
from pellucid.stories.recipes.textualise import by_dual
from pellucid.stories.recipes.told import Told, told
from pellucid.subject import VisionModel
from pellucid.testbed import nets
from pellucid.testbed.captions import PLACES, parse
from pellucid.testbed.fields import LANDS, WORDS
from pellucid.testbed.nets import Captioner, Dual
from pellucid.testbed.nets.words import BEGIN, END, LONGEST
from pellucid.values import Seed

PARAGRAPHS = 40
TAGS = 6
WARMTH = 4.0  # of the sampling, among words of at least LEAST probability
LEAST = 1e-4
_OPENING = "a {} bird"


@dataclass(frozen=True)
class VisualClue:
    """One piece of evidence: `tag` (a phrase and its likeness), `object` (a part, like what and where) or `caption`."""

    id: str
    kind: str
    words: str
    place: str = ""
    share: float = 0.0
    score: float = 0.0
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])


def written(clues: Sequence[VisualClue]) -> str:
    """The clues as JSON, as any narrator takes them."""
    return json.dumps({"clues": [{**vars(one), "attributes": dict(one.attributes)} for one in clues]}, indent=1)


def read_back(text: str) -> tuple[VisualClue, ...]:
    """The clues that `written` wrote."""
    return tuple(VisualClue(**record) for record in json.loads(text)["clues"])


def gathered(frame: Frame, dual: Dual, captions: Sequence[str] = ()) -> tuple[VisualClue, ...]:
    """Tags by the dual encoder, parts by the segmenter with the likeliest words for each, and captions."""
    pool = bird_phrases()
    scores = _likeness(dual, frame, pool)
    best = scores.argsort(descending=True)[:TAGS].tolist()
    clues = [VisualClue(f"t{at}", "tag", pool[one], score=float(scores[one])) for at, one in enumerate(best, start=1)]
    masks, describe = things.parts_of(frame), by_dual(dual)
    for name, noun in (("wing", "wings"), ("tail", "tail"), ("crest", "plume"), ("bib", "bib"), ("beak", "beak")):
        mask = masks[name]
        if mask.sum() < things.LEAST_PIXELS:
            continue
        clues.append(VisualClue(f"o{len(clues) + 1}", "object", noun, in_words(mask), float(mask.mean()),
                                attributes=dict(describe(frame, name))))  # fmt: skip
    clues += [VisualClue(f"s{at}", "caption", text) for at, text in enumerate(captions, start=1)]
    return tuple(clues)


def sampled(net: Captioner, frame: Frame, count: int, *, warmth: float = WARMTH, seed: int = 0) -> tuple[str, ...]:
    """Captions drawn word by word from what the captioner does not rule out; those outside the grammar are left out.

    The likeliest caption is always among them.
    """
    generator = Seed(seed).child("paragraphs").generator()
    with torch.no_grad():
        seen = net.look(frame.tensor()).expand(count, -1, -1)
        said = torch.full((count, 1), BEGIN)
        over = torch.zeros(count, dtype=torch.bool)
        while said.shape[1] < LONGEST and not bool(over.all()):
            logits = net.speak(seen, said)[:, -1].log_softmax(dim=-1)
            shares = (logits.masked_fill(logits.exp() < LEAST, -torch.inf) / warmth).softmax(dim=-1)
            word = torch.multinomial(shares, 1, generator=generator)
            over |= word[:, 0] == END
            said = torch.cat([said, word], dim=1)
    drawn = (net.words.decode(row[1:]) for row in said.tolist())
    return (net.generate(frame.tensor())[0], *(text for text in drawn if _in_grammar(text)))


def sentences(caption: str) -> tuple[str, ...]:
    """A caption as short sentences of one clause each, all in the grammar: what can be kept or cut by itself."""
    said = parse(caption)
    opening = _OPENING.format(said["body_hue"]) if "body_hue" in said else None
    if opening is None:
        return (caption,)
    clauses: list[str] = []
    for part, noun in (("wing", "wings"), ("tail", "tail"), ("beak", "beak")):
        if part in said and f"{part}_hue" in said:
            article = "" if part == "wing" else "a "
            clauses.append(f"{opening} with {article}{said[part]} {said[f'{part}_hue']} {noun}")
    if said.get("crest") == "none":
        clauses.append(f"{opening} with no plume")
    elif "crest_hue" in said:
        clauses.append(f"{opening} with a {said['crest_hue']} plume")
    if "bib_hue" in said:
        clauses.append(f"{opening} with a {said['bib_hue']} bib")
    if "feet" in said and "land" in said:
        clauses.append(f"{opening} , {said['feet']} {PLACES[LANDS.index(said['land'])]}")
    if "flip" in said:
        clauses.append(f"{opening} , facing {said['flip']}")
    return tuple(clauses) or (opening,)


def chosen(frame: Frame, paragraphs: Sequence[str], dual: Dual) -> int:
    """The paragraph that the dual encoder finds nearest to the picture; of equals the first."""
    return int(_likeness(dual, frame, paragraphs).argmax())


def kept(frame: Frame, said: Sequence[str], dual: Dual) -> tuple[bool, ...]:
    """Of each sentence whether the picture fits it better than the same sentence with any one of its words changed.

    That is the threshold: not a number, but everything else that could have been said in its place.
    """
    verdicts: list[bool] = []
    for one in said:
        scores = _likeness(dual, frame, [one, *_rivals(one)])
        verdicts.append(bool(scores[0] >= scores[1:].max()) if len(scores) > 1 else True)
    return tuple(verdicts)


def clues(
    picture: Frame, model: VisionModel, *, paragraphs: Sequence[str] | None = None, count: int = PARAGRAPHS,
    narrator: Narrator | str = "templates", seed: int = 0,
) -> Told:  # fmt: skip
    """A paragraph about a rendered bird, chosen among many by how well the picture fits.

    paragraphs: captions in the grammar to choose from; None samples them from the captioner
    """
    dual, captioner = nets.loaded("dual", Dual), nets.loaded("captioner", Captioner)
    offered = tuple(paragraphs) if paragraphs is not None else sampled(captioner, picture, count, seed=seed)
    best = offered[chosen(picture, offered, dual)]
    said = sentences(best)
    left = [one for one, keep in zip(said, kept(picture, said, dual), strict=True) if keep]
    claims = [_stated(picture, one) for one in left]
    evidence = gathered(picture, dual, captions=[best])
    share = _borne_out(picture, said)
    random = offered[int(torch.randint(len(offered), (1,), generator=Seed(seed).child("any").generator()))]
    blind = offered[chosen(Frame(picture.pixels[::-1, ::-1].copy(), "turned"), offered, dual)]
    beside = Beside(
        "Sentences that the witness bears out, of those kept", _borne_out(picture, left),
        {"of the chosen paragraph before the cut": share, "of a paragraph drawn at random":
         _borne_out(picture, sentences(random)),
         "of the one chosen for the picture upside down": _borne_out(picture, sentences(blind))},
    )  # fmt: skip
    cut = [one for one in said if one not in left]
    trail = [f"{len(offered)} paragraphs ({len(set(offered))} different); taken: {best}.",
             *(f"Cut: {one}." for one in cut)]  # fmt: skip
    parts: dict[str, Any] = {"clues": json.loads(written(evidence))["clues"], "taken": best, "cut": cut}
    return told("clues", model, claims, narrator=narrator, frame=picture, beside=[beside], trail=trail, parts=parts,
                seed=seed)  # fmt: skip


def _stated(frame: Frame, said: str) -> Claim:
    arguments = {"said": said, "writer": "testbed:captioner", "encoder": "witness"}
    found = things.tested("statement", "concept_present", frame, arguments)
    quoted = said.replace(" ,", ",")
    spelled = (
        f"“{quoted}” is so: of its words the witness is least sure of “{{stated}}”, with {{probability:.0%}}."
        if "probability" in found.measured
        else f"“{quoted}” could not be tested."
    )
    return Claim(spelled, found.predicate, found.test, found.measured, found.arguments, found.verdict, found.frame)


def _borne_out(frame: Frame, said: Sequence[str]) -> float:
    verdicts = [_stated(frame, one).verdict for one in said]
    return verdicts.count("verified") / len(verdicts) if verdicts else float("nan")


def _rivals(sentence: str) -> tuple[str, ...]:
    """The sentence with one word that states something replaced by each other word of its field.

    The hue of the body stays: it says which bird is meant, and only the last clause is on trial.
    """
    words = sentence.split()
    found: dict[str, None] = {}
    said = parse(sentence)
    for name, word in said.items():
        if name == "body_hue" and len(said) > 1:
            continue
        if name == "land":
            place = PLACES[LANDS.index(word)]
            found |= dict.fromkeys(sentence.replace(place, other) for other in PLACES if other != place)
            continue
        for at in [place for place, one in enumerate(words) if one == word and (place > 1 or len(said) == 1)]:
            for other in WORDS[name]:
                changed = " ".join([*words[:at], other, *words[at + 1 :]])
                if other != word and _in_grammar(changed):
                    found[changed] = None
    return tuple(found)


def _in_grammar(text: str) -> bool:
    try:
        parse(text)
    except SceneError:
        return False
    return True


@torch.no_grad()
def _likeness(dual: Dual, frame: Frame, texts: Sequence[str]) -> Float[Tensor, "text"]:
    return (dual.encode_images(frame.tensor()) @ dual.encode_texts(texts).T)[0]
