"""Any classifier against texts: what it sees becomes a meaning through the names of its classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor, nn

from pellucid.errors import LoadError
from pellucid.subject.loaders import dual
from pellucid.subject.sentences import SentenceEncoder

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel
    from pellucid.subject.outputs import Outputs

PREFIX = "conse"
EXAMPLE = "conse:demo:efficientnet_lite0?texts=a pet|a vehicle"
HELP = "any classifier against texts, through what the names of its classes mean; the extra `words` brings the encoder"

TOP = 10
SCALE = 20.0
_THROUGH_NAMES = (
    "It knows texts only through the names of its {count} classes ({encoder}): what none of them means, it cannot tell."
)


class Conse(nn.Module):
    """A picture's meaning: the mean of the meanings of its likeliest classes, each weighed by its probability.

    Norouzi et al., Zero-shot learning by convex combination of semantic embeddings, ICLR 2014.

    meanings: embeddings of the class names, of length 1
    top:      how many classes count
    """

    meanings: Tensor

    def __init__(
        self, network: nn.Module, outputs: Outputs, meanings: Float[Tensor, "class dim"], *, top: int = TOP
    ) -> None:
        super().__init__()
        self.network, self.outputs, self.top = network, outputs, min(top, len(meanings))
        self.register_buffer("meanings", meanings)

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        answers = self.outputs.read(self.network(pictures), len(pictures))
        chances, classes = self.outputs.probabilities(answers).topk(self.top, dim=-1)
        weights = chances / chances.sum(dim=-1, keepdim=True)
        return (weights[..., None] * self.meanings[classes]).sum(dim=1)


def load(
    name: str, *, texts: Sequence[str] | None = None,
    sentences: str | Path | Callable[[Sequence[str]], Tensor] | None = None, top: int = TOP, **wrapping: Any,
) -> VisionModel:  # fmt: skip
    """The classifier of that spec as a dual encoder.

    texts:     one class per text
    sentences: folder of a sentence encoder, or any callable from texts to embeddings of length 1; None is the one that
               the extra `words` brings
    top:       how many of the classifier's classes make up a picture's meaning

    The cosine is multiplied by 20 before the softmax, for want of a learned scale. Raises LoadError where the
    classifier is a black box or reads texts itself, or `top` is below 1.
    """
    from pellucid.subject.loaders import load as load_any

    spec = f"{PREFIX}:{name}"
    asked = dual.checked(spec, texts)
    inner = load_any(name)
    if inner.module is None or inner.texts:
        what = "it reads texts itself" if inner.texts else "it is a black box"
        raise LoadError(spec, f"{name} is no classifier to look into: {what}.", "Name an nn.Module with class names.")
    if top < 1:
        raise LoadError(spec, f"top={top}; at least one class must count.", "10 is usual.")
    encode = sentences if callable(sentences) else _encoder(sentences)
    net = Conse(inner.module, inner.outputs, encode(inner.labels.names), top=top)
    told = _THROUGH_NAMES.format(count=len(inner.labels), encoder=getattr(encode, "name", "an encoder of your own"))
    usual: dict[str, Any] = {
        "preprocess": inner.preprocess, "name": f"{inner.name}, by meaning", "notes": (told,),
        "default_layer": f"image.network.{inner.layers.chosen('describe').name}",
        "why_layer": "as the classifier has it",
    }  # fmt: skip
    return dual.wrapped(spec, net, encode, asked, scale=SCALE, bias=None, **{**usual, **wrapping})


@cache
def _encoder(folder: str | Path | None) -> SentenceEncoder:
    """One for all models, so that the names of a thousand classes are encoded once."""
    return SentenceEncoder(folder)
