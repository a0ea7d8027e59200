"""From a picture's name to the sentences about its map."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.images.reading import read
from pellucid.images.superpixels import slic
from pellucid.language.templates import Topic
from pellucid.language.verbalise import Verbalised
from pellucid.language.verbalise import picture as verbalised
from pellucid.subject import load
from pellucid.subject.targets import class_in_words
from pellucid.testbed.scene import scenes

SCENE = "scene:"
_SEED = 7


def tell(
    picture: str, spec: str, *, target: str | int | None = None, method: str = "layer_cam", layer: str | None = None,
    segments: int = 60, encoder: str | None = None, words: Sequence[str] | None = None, seed: int = 0,
) -> Verbalised:  # fmt: skip
    """What one method's map says of one picture, over superpixels.

    picture: a path, or `scene:7` for a scene of the testbed
    encoder: a dual encoder by its spec, which names regions with the best of `words`
    """
    if bool(encoder) != bool(words):
        raise RequestError("An encoder needs words to choose from, and words an encoder: give both, or neither.")
    model, frame = load(spec), _frame(picture)
    fitted = frame if model.preprocess is None else frame.fitted(model.preprocess)
    inputs = model.prepare([fitted])
    asked = class_in_words(target)
    if asked is None:
        asked = int(model.predict(inputs)[0].argmax())
    topic = Topic(model, fitted, model.resolve(asked, 1)[0], seed)
    patches = slic(inputs[0], segments, preprocess=model.preprocess)
    namer = load(encoder, texts=list(words)) if encoder and words else None
    return verbalised(topic, method, patches, layer=layer, encoder=namer)


def _frame(picture: str) -> Frame:
    if not picture.startswith(SCENE):
        return read(picture)
    number = picture.removeprefix(SCENE)
    if not number.isdigit():
        raise RequestError(f"{picture!r} is no scene; write {SCENE}7.")
    return scenes(_SEED, [int(number)]).frames()[0]
