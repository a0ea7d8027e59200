"""The pictures that recipes are asked for by name: files, photographs that come along, and scenes of the testbed."""

from __future__ import annotations

from pellucid.errors import RequestError, SceneError
from pellucid.images import Frame
from pellucid.images.reading import read
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.twins import twin

SEED = 7
_SCENE, _PHOTO = "scene:", "photo:"


def picture(asked: str) -> Frame:
    """A path, `scene:7`, `scene:3000:7;tail=fanned`, or `photo:cat`, one of scikit-image's photographs."""
    if asked.startswith(_SCENE):
        return scene(asked).frames()[0]
    if asked.startswith(_PHOTO):
        return _photograph(asked.removeprefix(_PHOTO))
    return read(asked)


def scene(asked: str) -> Scenes:
    """One scene by number, or by seed and number, with fields changed behind a semicolon.

    Raises RequestError for what names none, SceneError for a field or word that does not exist.
    """
    place, *changes = asked.removeprefix(_SCENE).split(";")
    numbers = place.split(":")
    if len(numbers) > 2 or not all(one.isdigit() for one in numbers):
        raise RequestError(f"{asked!r} is no scene; write scene:7, scene:3000:7 or scene:7;tail=fanned.")
    seed = int(numbers[0]) if len(numbers) == 2 else SEED
    found = scenes(seed, [int(numbers[-1])])
    for change in changes:
        name, _, word = change.partition("=")
        if name not in found.fields:
            raise SceneError(f"A scene has no field {name!r}. For example tail, tail_hue, crest, land.")
        found = twin(found, **{name: float(word) if word.replace(".", "", 1).isdigit() else word})
    return found


def _photograph(name: str) -> Frame:
    from skimage import data

    known = ("astronaut", "cat", "coffee", "rocket")
    if name not in known:
        raise RequestError(f"There is no photograph {name!r}. Known: {', '.join(known)}.")
    return Frame(getattr(data, name)(), name)
