"""What differs between two pictures, told object by object.

Kolouju et al., good4cir: generating detailed synthetic captions for composed image retrieval, 2025. Three calls, so
that no reader has to compare pictures: the objects of the first with what they are like, the same list read off the
second, and text alone to say what has changed. Every change is then a claim, tested on the pair of pictures by eyes
that did not read them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.images.position import in_words
from pellucid.images.superpixels import grid
from pellucid.language import things
from pellucid.language.narrators import Narrator
from pellucid.language.places import COLOUR_WORDS, dominant_colour
from pellucid.results import Beside, Claim
from pellucid.stories.recipes.told import Told, told
from pellucid.subject import VisionModel
from pellucid.testbed import nets
from pellucid.testbed.captions import PLACES, facts
from pellucid.testbed.fields import LANDS, WORDS
from pellucid.testbed.nets import VisionLanguage
from pellucid.testbed.scene import scenes
from pellucid.values import Seed

Read = Callable[[Frame, Sequence[str] | None], Mapping[str, str]]
NOTHING = "No difference was found."
SIDES = (4, 4)  # cells into which photographs are cut
_DRAWS, _BLIND, _MANY = 20, 6, 10**6  # draws of random changes; changes to another bird; seeds it is drawn from
# What is asked of the first picture and of the second; (question, answer for yes, answer for no) where it is closed.
_OPEN = {
    "body_hue": "what colour is the body ?", "wing": "what pattern have the wings ?",
    "wing_hue": "what colour are the wings ?", "tail": "what shape is the tail ?",
    "tail_hue": "what colour is the tail ?", "bib_hue": "what colour is the bib ?",
    "beak": "what shape is the beak ?", "beak_hue": "what colour is the beak ?", "land": "where is the bird ?",
}  # fmt: skip
_CLOSED = {
    "crest": ("is there a plume ?", "plume", "none"), "feet": ("is the bird hovering ?", "hovering", "standing"),
    "flip": ("is the bird facing right ?", "right", "left"),
}  # fmt: skip
_PLUME = "what colour is the plume ?"


@dataclass(frozen=True)
class Difference:
    """One thing that is otherwise, and how the first picture would have to be changed.

    field: what it is about
    was:   in the first picture; empty where it was not there
    now:   in the second; empty where it is gone
    """

    field: str
    was: str
    now: str

    @property
    def instruction(self) -> str:
        if self.field == "crest":
            return "Add a plume." if self.now == "plume" else "Remove the plume."
        if not self.was or not self.now:
            return f"Add the {things.name_of(self.field)}." if self.now else f"Remove the {things.name_of(self.field)}."
        return f"Change the {things.name_of(self.field)} from {self.was} to {self.now}."


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Difference, ...]:
    """What two readings differ in, from the text of them alone; nothing where they say the same."""
    found = [Difference(name, before.get(name, ""), after.get(name, "")) for name in {**before, **after}]
    changed = [one for one in found if one.was != one.now]
    plume = any(one.field == "crest" for one in changed)  # with the plume goes its colour: one difference, not two
    return tuple(one for one in changed if not (plume and one.field == "crest_hue"))


def by_questions(net: VisionLanguage) -> Read:
    """Reads a bird by asking a net that answers questions, one about each thing."""

    def read(frame: Frame, asked: Sequence[str] | None) -> dict[str, str]:
        texts = {**_OPEN, **{name: one[0] for name, one in _CLOSED.items()}}
        wanted = [name for name in texts if asked is None or name in asked]
        pictures = frame.tensor().expand(len(wanted) + 1, -1, -1, -1)
        said = dict(
            zip([*wanted, "crest_hue"], net.answer(pictures, [*(texts[name] for name in wanted), _PLUME]), strict=True)
        )
        found = {name: _word(name, answer) for name, answer in said.items()}
        if found.get("crest") == "none" or "crest" not in found:
            found.pop("crest_hue", None)
        return {name: word for name, word in found.items() if word}

    return read


def difference(
    before: Frame, after: Frame, model: VisionModel, *, read: Read | None = None,
    narrator: Narrator | str = "templates", seed: int = 0,
) -> Told:  # fmt: skip
    """What has changed from one picture of a bird to another.

    read: what an object is like, by name; None asks the testbed's `vlm`. Its words are those of the scenes' fields

    Raises RequestError for pictures of different sizes.
    """
    if before.pixels.shape != after.pixels.shape:
        raise RequestError("Two pictures of different sizes cannot be compared; bring them to one size first.")
    writer = "testbed:vlm" if read is None else "a reader of your own"
    asked = read or by_questions(nets.loaded("vlm", VisionLanguage))
    first = dict(asked(before, None))
    second = dict(asked(after, list(first)))
    found = differences(first, second)
    claims = [things.changed(before, after, one.field, one.was, one.now, writer=writer) for one in found if _whole(one)]
    claims += [_appeared(before, after, one, writer) for one in found if not _whole(one)]
    trail = [
        f"First picture: {_listed(first)}.", f"Second picture, the same list: {_listed(second)}.",
        *(f"Instruction: {one.instruction}" for one in found),
    ]  # fmt: skip
    parts = {"differences": [vars(one) for one in found], "before": first, "after": second}
    if not claims:
        return Told("difference", (), None, (), (*trail, NOTHING), parts)
    controls = {
        "of those that lead to another picture's bird": _blind(before, after, first, Seed(seed)),
        "of random words": _by_chance(before, after, Seed(seed)),
    }
    beside = Beside("Changes that the witness bears out", _held(claims), controls)
    return told("difference", model, claims, narrator=narrator, frame=after, beside=[beside], trail=trail, parts=parts,
                seed=seed)  # fmt: skip


def difference_of_photographs(
    before: Frame, after: Frame, model: VisionModel, *, narrator: Narrator | str = "templates", seed: int = 0
) -> Told:
    """What has changed between two photographs of one size, cell by cell, in colour words; for want of a net that
    reads them.
    """
    if before.pixels.shape != after.pixels.shape:
        raise RequestError("Two pictures of different sizes cannot be compared; bring them to one size first.")
    height, width = before.pixels.shape[:2]
    cells = grid(height, width, *SIDES)
    masks = [cells == number for number in range(int(cells.max()) + 1)]
    pairs = [(dominant_colour(before.pixels[mask]), dominant_colour(after.pixels[mask])) for mask in masks]
    said = {at: (was, now) for at, (was, now) in enumerate(pairs) if was and now and was != now}
    claims = [things.recoloured(before, after, masks[at], *words) for at, words in said.items()]
    trail = (f"{len(masks)} cells compared by their colour word; {len(claims)} have another one.",)
    if not claims:
        return Told("difference", (), None, (), (*trail, NOTHING), {})
    places = {"places": [in_words(masks[at]) for at in range(len(masks))]}
    controls = {
        "of the same changes told of other cells": _moved(pairs, list(said.values()), Seed(seed)),
        "of random colour words": _any_colour(list(said.values()), Seed(seed)),
    }
    beside = Beside("Changes of colour that the pixels bear out", _held(claims), controls)
    return told("difference", model, claims, narrator=narrator, frame=after, beside=[beside], trail=trail,
                parts=places, seed=seed)  # fmt: skip


def _held(claims: Sequence[Claim]) -> float:
    return sum(one.verdict == "verified" for one in claims) / len(claims)


def _blind(before: Frame, after: Frame, first: Mapping[str, str], seed: Seed) -> float:
    """The share of the changes that lead to another bird, drawn by lot, which the witness bears out; 0 for none."""
    other = facts(scenes(int(seed.child("another bird")) % _MANY, 1).fields)[0]
    second = {name: other[name] for name in first if name in other}
    found = [one for one in differences(first, second) if _whole(one)][:_BLIND]
    told_of = [things.changed(before, after, one.field, one.was, one.now, writer="blind") for one in found]
    return _held(told_of) if told_of else 0.0


def _moved(
    pairs: Sequence[tuple[str | None, str | None]], said: Sequence[tuple[str, str]], seed: Seed
) -> float:  # fmt: skip
    """The share of changes of colour that also hold where they are told of cells drawn by lot."""
    generator = seed.child("other cells").generator()
    at = torch.randint(len(pairs), (_DRAWS * len(said),), generator=generator).tolist()
    return sum(pairs[one] == said[number % len(said)] for number, one in enumerate(at)) / len(at)


def _any_colour(said: Sequence[tuple[str, str]], seed: Seed) -> float:
    """The share of changes of colour whose two words a pair of random words is."""
    generator = seed.child("random colours").generator()
    drawn = torch.randint(len(COLOUR_WORDS), (_DRAWS * len(said), 2), generator=generator).tolist()
    hits = ((COLOUR_WORDS[was], COLOUR_WORDS[now]) == said[at % len(said)] for at, (was, now) in enumerate(drawn))
    return sum(hits) / len(drawn)


def _by_chance(before: Frame, after: Frame, seed: Seed) -> float:
    """The share of random changes, a field and two of its words, that the witness would bear out."""
    generator = seed.child("random changes").generator()
    held = 0
    for _ in range(_DRAWS):
        name = list(WORDS)[int(torch.randint(len(WORDS), (1,), generator=generator))]
        order = torch.randperm(len(WORDS[name]), generator=generator).tolist()
        was, now = WORDS[name][order[0]], WORDS[name][order[1]]
        held += things.changed(before, after, name, was, now, writer="chance").verdict == "verified"
    return held / _DRAWS


def _appeared(before: Frame, after: Frame, one: Difference, writer: str) -> Claim:
    """A thing that only one of the pictures has: read as what it is like in that picture."""
    return things.like(after if one.now else before, one.field, one.now or one.was, writer=writer)


def _whole(one: Difference) -> bool:
    return bool(one.was and one.now)


def _word(name: str, answer: str) -> str:
    """The field's word that an answer means; nothing where it means none."""
    if name in _CLOSED:
        return {"yes": _CLOSED[name][1], "no": _CLOSED[name][2]}.get(answer, "")
    if name == "land":
        return LANDS[places.index(answer)] if answer in (places := list[str](PLACES)) else ""
    return answer if answer in WORDS[name] else ""


def _listed(read: Mapping[str, str]) -> str:
    return ", ".join(f"{things.name_of(name)} {word}" for name, word in read.items())
