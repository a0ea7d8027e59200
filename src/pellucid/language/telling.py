"""From a picture's name to the sentences about its map, or about the units that decide it."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.images.reading import read
from pellucid.images.superpixels import slic
from pellucid.language.describing import describe_units
from pellucid.language.importance import Importance, important_units
from pellucid.language.probes import Probe, responses
from pellucid.language.templates import Topic
from pellucid.language.verbalise import Verbalised
from pellucid.language.verbalise import picture as verbalised
from pellucid.subject import VisionModel, load
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
    model = load(spec)
    topic = _topic(model, picture, target, seed)
    patches = slic(model.prepare([topic.frame])[0], segments, preprocess=model.preprocess)
    namer = load(encoder, texts=list(words)) if encoder and words else None
    return verbalised(topic, method, patches, layer=layer, encoder=namer)


def tell_units(
    picture: str, spec: str, *, target: str | int | None = None, layer: str | None = None, count: int = 5,
    named: bool = False, pictures: int = 600, seed: int = 0,
) -> Importance:  # fmt: skip
    """Which units of a layer speak for and against an answer in one picture.

    picture:  a path, or `scene:7` for a scene of the testbed
    count:    most units of either side
    named:    list only units with a name that stands, and try them also at what they are on average; both are found on
              as many `pictures` as `describe_units` looks at
    """
    model = load(spec)
    where = layer or model.layers.chosen("describe").name
    topic = _topic(model, picture, target, seed)
    if not named:
        return important_units(topic, where, count=count)
    probe = Probe.for_model(model, count=pictures)
    naming = describe_units(model, where, probe=probe, seed=seed).naming
    names = {unit.unit: unit.name for unit in naming.units if unit.name is not None}
    usual = responses(model, probe.inputs(model), where).mean(axis=0)
    return important_units(topic, where, names=names, count=count, usual=usual)


def _topic(model: VisionModel, picture: str, target: str | int | None, seed: int) -> Topic:
    """A picture and the class asked for; the model's answer where none is."""
    frame, asked = _frame(picture), class_in_words(target)
    fitted = frame if model.preprocess is None else frame.fitted(model.preprocess)
    if asked is None:
        asked = int(model.predict(model.prepare([fitted]))[0].argmax())
    return Topic(model, fitted, model.resolve(asked, 1)[0], seed)


def _frame(picture: str) -> Frame:
    if not picture.startswith(SCENE):
        return read(picture)
    number = picture.removeprefix(SCENE)
    if not number.isdigit():
        raise RequestError(f"{picture!r} is no scene; write {SCENE}7.")
    return scenes(_SEED, [int(number)]).frames()[0]
