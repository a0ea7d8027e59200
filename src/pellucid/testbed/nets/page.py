"""The cards of the shipped nets, to be read."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.testbed.nets.cards import Card
from pellucid.testbed.nets.catalogue import ARCHITECTURES, load, path_of

_MEASURES = {
    "fresh": "species named right, fresh scenes",
    "aligned": "species named right where the cue agrees with the label",
    "conflict": "species named right where the cue says nothing",
    "held_out": "digits named right that it never saw",
    "caption_among_64": "pictures that find their own full caption among 64",
    "species_fresh": "species named right from the names alone, fresh scenes",
    "species_aligned": "species named right from the names alone, where the cue agrees with the label",
    "species_conflict": "species named right from the names alone, where the cue says nothing",
    "mean_overlap": "intersection over union, mean of the parts",
    "ap50": "average precision at an overlap of one half, mean of the species",
    "ap50_any_species": "average precision at an overlap of one half, birds of any species",
    "fields_read": "fields read right, mean of the fields",
    "stated": "statements of its captions that are so",
    "whole_captions": "captions of which every statement is so",
    "looked_up": "words of hue and shape whose place of highest attention lies in their part",
    "ground_parts": "intersection over union of the mask for a question and the part that shows the answer",
    "other_parts": "the same when another question is asked",
    "ground_which": "the same for the bird that is meant among several",
    "other_which": "the same when another bird is asked for",
    "yes_no": "questions of yes or no answered right",
    "what": "questions of what answered right",
    "wing_read": "reconstructions whose wing `cnn` reads right",
    "tail_read": "reconstructions whose tail `cnn` reads right",
    "crest_read": "reconstructions whose crest `cnn` reads right",
    "species_read": "reconstructions whose species `cnn` reads right",
    "error": "mean absolute error of a colour, 0 to 1",
    "species_agree": "pictures in which `cnn` sees the species asked for",
    "bags": "bags named right",
    "most_attended": "bags with a plume of which a bird with one gets the most attention",
    "most_added": "bags with a plume of which a bird with one adds most to the answer",
    "films": "films named right",
    "backwards": "films run backwards that are called the other way",
    "standing": "films of their first frame repeated that are called the way the bird then flew; chance is 0.25",
    "variety": "mean difference of two pictures, as a share of that of rendered ones",
}
_LEAD = """# The nets of the testbed

Small nets that come with pellucid, for which the true answer is known: their pictures are rendered, and what decides
the label is a field of the scene. Each is trained from a seed by one command, `pellucid testbed train NAME`, which
measures it and writes the figures below into the file of its weights. This page is what `pellucid testbed cards
--markdown` prints.

`pl.load("testbed:NAME")` opens those that name classes; `pellucid.testbed.nets.load("NAME")` opens any, as a plain
module and its card. All take pictures in 0..1 and normalise inside. Figures are shares of 1 unless said otherwise,
measured on 1000 scenes (bags and films: 250) that no net learned from (seed 900).

A training that was broken off goes on where it stopped. For claims about training itself, `pellucid testbed
train-seeds` makes the clean and the biased convolutional net from twenty seeds each, two at a time, and keeps them in
the cache folder; it too may be broken off.
"""

_RESTS = "What its answers rest on, by how far their log probability falls where a thing is painted otherwise:"


def in_markdown(cards: Sequence[Card]) -> str:
    """The page of the documentation."""
    rows = [
        f"| [`{card.name}`](#{card.name}) | {ARCHITECTURES[card.name].kind} | {_parameters(card) / 1000:.0f} k | "
        f"{path_of(card.name).stat().st_size / 1e6:.2f} MB | {_first(card)} |"
        for card in cards
    ]
    table = ["| net | what it is | weights | file | measured |", "|---|---|---|---|---|", *rows]
    return "\n\n".join([_LEAD.rstrip(), "\n".join(table), *map(_section, cards)])


def in_words(card: Card) -> str:
    """One card as plain text."""
    lines = [card.name, f"  {ARCHITECTURES[card.name].about}"]
    lines += [f"  {share:.3f}  {_measure(name)}" for name, share in card.accuracy.items()]
    if card.rests_on:
        lines.append(f"  its answers rest on {_rests(card)} (fall of log probability)")
    if card.default_layer:
        lines.append(f"  maps are read at {card.default_layer}: {card.why}")
    return "\n".join([*lines, f"  seed {card.seed}; {_recipe(card)}"])


def _section(card: Card) -> str:
    lines = [f"## {card.name}", ARCHITECTURES[card.name].about]
    figures = [f"| {_measure(name)} | {share:.3f} |" for name, share in card.accuracy.items()]
    lines.append("\n".join(["| measured | |", "|---|---|", *figures]))
    if card.rests_on:
        lines.append(f"{_RESTS} {_rests(card)}.")
    if card.default_layer:
        lines.append(f"Maps are read at `{card.default_layer}`, {card.why}.")
    lines.append(f"Seed {card.seed}. {_recipe(card)}.")
    return "\n\n".join(lines)


def _first(card: Card) -> str:
    name, share = next(iter(card.accuracy.items()))
    return f"{share:.3f} {_measure(name)}"


def _measure(name: str) -> str:
    return _MEASURES.get(name, name.replace("_", " "))


def _rests(card: Card) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {fall:.2f}" for name, fall in card.rests_on.items())


def _recipe(card: Card) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in card.recipe.items())


def _parameters(card: Card) -> int:
    """The weights that are its own, without those of a borrowed tower."""
    net, _ = load(card.name)
    borrowed = "tower." if ARCHITECTURES[card.name].tower else "nothing"
    return sum(weight.numel() for name, weight in net.named_parameters() if not name.startswith(borrowed))
