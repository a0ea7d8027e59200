"""The nets of the rendered world, for which the true answer is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.errors import LoadError, SceneError, UnknownModel
from pellucid.values import Preprocess

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

PREFIX = "testbed"
EXAMPLE = "testbed:cnn"
HELP = "a small net that comes with pellucid: cnn, vit, cnn_background (looks at the wrong thing), digits"


def load(name: str, **wrapping: Any) -> VisionModel:
    """A net that comes with the package. It takes pictures in 0..1 and normalises inside.

    Raises LoadError for an unknown name.
    """
    from pellucid.subject.model import wrap
    from pellucid.testbed import nets

    if name not in nets.ARCHITECTURES:
        raise UnknownModel(
            f"{PREFIX}:{name}", "the testbed has no net of that name.", asked=name, known=list(nets.ARCHITECTURES),
            remedy=f"It has {', '.join(nets.ARCHITECTURES)}.",
        )  # fmt: skip
    try:
        net, card = nets.load(name)
    except SceneError as error:
        raise LoadError(f"{PREFIX}:{name}", str(error)) from error
    size = (card.size, card.size)
    usual: dict[str, Any] = {
        "preprocess": Preprocess(size=size, resize=card.size, interpolation="bilinear"), "labels": card.labels,
        "default_layer": card.default_layer, "why_layer": card.why, "name": name,
    }  # fmt: skip
    return wrap(net.eval(), **{**usual, **wrapping})
