"""Short readable names for the ImageNet classes."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.subject.labels import Labels
from pellucid.subject.loaders.libraries import library

# WordNet has one word for two things; the number of the class tells which.
_HOMONYMS = {134: "crane (bird)", 517: "crane (machine)", 638: "maillot (tights)", 639: "tank suit"}
# Endings that say less than the word before them: "church building", "television system".
_EMPTY_ENDINGS = ("system", "building", "house", "light", "pie", "of clothes", "worm")


def names() -> Labels:
    """The 1000 classes in the order of every ImageNet classifier."""
    info = library("timm.data", "timm", "ImageNet class names").ImageNetInfo()
    return labels([info.index_to_description(index) for index in range(info.num_classes())])


def labels(descriptions: Sequence[str]) -> Labels:
    """Classes under their readable name, found by every synonym in their description."""
    return Labels(readable(descriptions), synonyms=[(text, *text.split(", ")) for text in descriptions])


def readable(descriptions: Sequence[str]) -> tuple[str, ...]:
    """One short name out of each list of synonyms: "tabby, tabby cat" is "tabby cat"; other names stay as they are."""
    if not is_imagenet(descriptions):
        return tuple(descriptions)
    return tuple(_HOMONYMS.get(index) or _readable(text) for index, text in enumerate(descriptions))


def is_imagenet(descriptions: Sequence[str]) -> bool:
    """Whether these are the 1000 classes as WordNet describes them."""
    return len(descriptions) == 1000 and descriptions[0][:7] == "tench, " and descriptions[281] == "tabby, tabby cat"


def _readable(description: str) -> str:
    """The first synonym, or the one that adds a plain word to it."""
    first, *others = description.split(", ")
    longer = (other for other in others if other.startswith(f"{first} ") and not other.endswith(_EMPTY_ENDINGS))
    return next(longer, first)
