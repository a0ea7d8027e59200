"""Dual encoders: a picture against a list of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import LoadError
from pellucid.subject.labels import Labels

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

EncodeTexts = Callable[[Sequence[str]], Float[Tensor, "text dim"]]


class DualEncoder(nn.Module):
    """One logit per text: the cosine of picture and text embedding, scaled (and shifted) as the model learned it.

    image:         the picture encoder, as it was published
    embedding:     where the picture's embedding of length 1 can be read, [batch dim]
    text_features: the texts' embeddings of length 1, computed once
    """

    text_features: Tensor
    logit_scale: Tensor
    logit_bias: Tensor

    def __init__(
        self, image: nn.Module, text_features: Float[Tensor, "text dim"], *, scale: float, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.image = image
        self.embedding = nn.Identity()
        self.register_buffer("text_features", text_features)
        self.register_buffer("logit_scale", torch.tensor(scale))
        self.register_buffer("logit_bias", torch.tensor(bias))

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch text"]:
        features = self.embedding(functional.normalize(self.image(pictures), dim=-1))
        return features @ self.text_features.T * self.logit_scale + self.logit_bias


def wrapped(
    spec: str,
    image: nn.Module,
    encode: EncodeTexts,
    texts: Sequence[str],
    *,
    scale: float,
    bias: float | None,
    **wrapping: Any,
) -> VisionModel:
    """The dual encoder as a VisionModel whose classes are the texts.

    bias: None for models trained with a softmax over texts; with a bias each text is a yes or no of its own

    Raises LoadError for a single text where texts compete: its probability would always be 1.
    """
    from pellucid.subject.model import wrap

    if bias is None and len(texts) < 2:
        raise LoadError(spec, f"{texts[0]!r} is compared with nothing.", "Give two texts or more, as 'something else'.")

    net = DualEncoder(image, encode(texts), scale=scale, bias=bias or 0.0).eval()
    labels = Labels(texts, synonyms=[()] * len(texts))  # a comma in a text parts no synonyms
    usual: dict[str, Any] = {"labels": labels, "activation": "softmax" if bias is None else "sigmoid"}
    return wrap(net, text_encoder=lambda text: encode([text])[0], **{**usual, **wrapping})


def checked(spec: str, texts: Sequence[str] | None) -> tuple[str, ...]:
    """The texts, stripped. Raises LoadError unless they are distinct and none is empty."""
    if texts is None:
        raise LoadError(
            spec, "it compares pictures with texts, and no texts are given.",
            f"Give one per class: pl.load('{spec}', texts=['a cat', 'a dog']), or '{spec}?texts=a cat|a dog'.",
        )  # fmt: skip
    if isinstance(texts, str):
        raise LoadError(spec, "texts is one string.", f"Give a list: texts=[{texts!r}, 'something else'].")
    names = tuple(text.strip() if isinstance(text, str) else "" for text in texts)
    if not names or not all(names):
        raise LoadError(spec, f"texts={list(texts)!r} is empty or holds an empty text.", "Give one text per class.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LoadError(spec, f"the text {twice[0]!r} stands twice in texts.", "Give each text once.")
    return names
