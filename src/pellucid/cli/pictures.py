"""What commands take as pictures and places, in words."""

from __future__ import annotations

from typing import Any

LEARNED = 500  # seed of the scenes that explainers are fitted to
FRESH = 3000  # seed of the scenes that nothing was learned from


def picture(words: str) -> Any:
    """The picture of a file, or the testbed's: `scene:7` is its seventh."""
    import pellucid as pl
    from pellucid.testbed import scenes

    number = _numbered("scene", words)
    return pl.read(words) if number is None else scenes(FRESH, [number]).frames()[0]


def _numbered(kind: str, words: str) -> int | None:
    """The 7 of `scene:7`; None for words of another kind."""
    before, _, number = words.partition(":")
    return int(number) if before == kind and number.isdigit() else None


def marked_picture(words: str, option: str) -> tuple[Any, Any, tuple[str, ...] | None]:
    """A picture, the class of each of its pixels, and the classes' names where the words tell them.

    `PICTURE=MASK` of files, white where marked (one mask per class, with commas between), or `scene:19=wing,tail` of
    the testbed. Raises RequestError for anything else.
    """
    import numpy as np

    import pellucid as pl
    from pellucid.errors import RequestError
    from pellucid.testbed import scenes

    shown, sign, mask = words.partition("=")
    if not (shown and sign and mask):
        raise RequestError(f"{option} {words!r}; expected PICTURE=MASK, as bird.png=mask.png or scene:19=wing,tail.")
    number = _numbered("scene", shown)
    if number is not None:
        names = tuple(mask.split(","))
        drawn = scenes(FRESH, [number])
        marked = np.zeros(drawn.parts.shape[1:], dtype=np.uint8)
        for at, name in enumerate(names):
            marked[drawn.objects[0] if name == "bird" else drawn.mask(name)[0]] = at + 1
        return drawn.frames()[0], marked, names
    read = [pl.read_many(path)[0].pixels.max(axis=2) > 127 for path in mask.split(",")]
    if len({one.shape for one in read}) > 1:
        raise RequestError(f"{option} {words!r}: its masks have several sizes; save them at the size of the picture.")
    marked = np.zeros(read[0].shape, dtype=np.uint8)
    for at, one in enumerate(read):
        marked[one] = at + 1
    return pl.read(shown), marked, None


def pictures_of_bag(words: list[str]) -> Any:
    """The pictures of files, folders and globs, or the testbed's: `bag:3` is its third bag."""
    from pellucid.testbed.bags import bags

    number = _numbered("bag", words[0]) if len(words) == 1 else None
    return words if number is None else list(bags(FRESH, [number]).drawn.frames())


def film(words: list[str]) -> Any:
    """The frames of files in order, or the testbed's: `clip:3` is its third film."""
    import pellucid as pl
    from pellucid.testbed.clips import clips

    number = _numbered("clip", words[0]) if len(words) == 1 else None
    return pl.read_many(words) if number is None else clips(FRESH, [number]).tensor()[0]


def whole_numbers(words: str, count: int, option: str) -> tuple[int, ...]:
    """`30,41` as numbers. Raises RequestError unless they are whole and as many as expected."""
    from pellucid.errors import RequestError

    parts = words.split(",")
    if len(parts) != count or not all(part.strip().isdigit() for part in parts):
        raise RequestError(f"{option} {words!r}; expected {count} whole numbers with commas between, as 30,41.")
    return tuple(int(part) for part in parts)


def scenes_of_class(model: Any, of: int | str, count: int) -> tuple[Any, Any]:
    """`count` fresh scenes of the testbed that show a class, and as many that do not.

    Raises RequestError for a model that does not name the testbed's birds.
    """
    import numpy as np

    from pellucid.errors import RequestError
    from pellucid.testbed import scenes

    drawn = scenes(FRESH, (count + 1) * 2 * len(model.labels))
    if tuple(model.labels) != tuple(drawn.task.labels):
        raise RequestError(f"{model.name} does not name the testbed's birds; give pictures of the class yourself.")
    shown = drawn.labels == model.labels.index(of)
    own, others = (list(drawn[np.flatnonzero(mask)[:count]].frames()) for mask in (shown, ~shown))
    return own, others
