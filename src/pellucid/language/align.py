"""A plain vision model learns, beside its classes, where the description of each picture lies among texts.

Cross entropy, and a linear projection of what the last layer reads that is drawn to the frozen embedding of the
description (Ding et al., GPT4Image, 2023). There the projection is dropped afterwards; here it stays, and by it the
model can be asked in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.compute.train import Recipe, seeded
from pellucid.errors import MethodUnavailable, RequestError, ShapeError
from pellucid.language.translation.corpus import Corpus, corpus_of
from pellucid.language.translation.learning import divided
from pellucid.language.translation.ports import head_of
from pellucid.subject import VisionModel
from pellucid.subject.loaders.aligned import SCALE, Aligned, Record, Retrieval, encoder_of, reopened, widened
from pellucid.subject.loaders.dual import EncodeTexts
from pellucid.testbed.scene import Scenes
from pellucid.values import Seed

__all__ = ["AIMS", "Aligned", "Record", "Retrieval", "fit", "reopened"]

_AT_ONCE = 64
_WHAT = "Aligning to text"


def fit(
    model: VisionModel, captions: Any = None, labels: Sequence[int] | Tensor | None = None,
    encoder: str | EncodeTexts = "testbed:dual", *, aim: str = "contrast", weight: float = 1.0, steps: int = 300,
    batch: int = 64, rate: float = 2e-3, held_out: float = 0.1, seed: int = 0,
) -> Aligned:  # fmt: skip
    """A copy of `model` that went on learning its classes and, beside them, where descriptions lie.

    captions: pairs of picture and sentence, a `Corpus`, scenes, or the path of a table; None is the testbed's own
    labels:   the class of each picture; None takes those of the table's third column or of the scenes, and where there
              are none what the model answers now, so that its classes stay
    encoder:  what is learned from and stays as it is: a dual encoder by its spec, `words` for the sentence encoder of
              that extra, or any callable from texts to embeddings of length 1
    aim:      `contrast`: descriptions of the other pictures of a batch are pushed away (InfoNCE, as in the paper);
              `cosine`: one less the cosine
    weight:   of the alignment against the cross entropy, 0 or more; the paper's is 1
    rate:     the highest learning rate
    held_out: share of the pictures that are never learned from, by which the result is judged

    Raises RequestError, MethodUnavailable for models whose answer is not what their last linear layer gives, LoadError
    where the encoder does not open. Ding et al., GPT4Image, 2023.
    """
    if aim not in AIMS or weight < 0:
        raise RequestError(f"aim={aim!r}, weight={weight}; expected {' or '.join(AIMS)}, and a weight of 0 or more.")
    own, corpus, head = Seed(seed), corpus_of(captions), _head(model)
    known = tuple(dict.fromkeys(corpus.texts))
    places = {text: at for at, text in enumerate(known)}
    if len(known) < 2:
        raise RequestError("All pictures have one description; give each its own.")
    encode, inputs = encoder_of(encoder, known), corpus.inputs(model)
    numbers = torch.tensor([places[text] for text in corpus.texts])
    taught, texts = _classes(model, corpus, inputs, labels), encode(known).detach().float().to(model.device)
    network = widened(model, head, texts.shape[1], int(own.child("projection")) % 2**31)
    _check(network, inputs, len(model.labels) + texts.shape[1])
    rows, judged = (torch.tensor(some) for some in divided(len(corpus), held_out, own))
    trial = _Trial(inputs[judged], taught[judged], texts, numbers[judged])
    before = trial.figures(network)
    near = AIMS[aim]

    def objective(step: int) -> Tensor:
        draw = own.child("step", step).generator()
        some = rows[torch.randperm(len(rows), generator=draw)[:batch]]
        answers = network(inputs[some].to(model.device, torch.float32)).float()
        logits, placed = answers[:, : len(model.labels)], answers[:, len(model.labels) :]
        apart = near(functional.normalize(placed, dim=1), texts[numbers[some]], numbers[some])
        return functional.cross_entropy(logits, taught[some]) + weight * apart

    with seeded(int(own.child("dropout")) % 2**31):
        training.descend(network, objective, Recipe(steps, rate, batch=batch), label="Learning where descriptions lie")
    found, shuffled, right = trial.figures(network)
    figures = Retrieval(len(judged), found, trial.chance, shuffled, before[0], right, before[2])
    record = Record(
        model.spec or "", encoder if isinstance(encoder, str) else "", head, len(model.labels), (known[0], known[1]),
        corpus.source, aim, weight, steps, seed, figures,
    )  # fmt: skip
    return Aligned(model, network, encode, record)


class _Trial:
    """Held-out pictures and their descriptions, each of which counts once."""

    def __init__(
        self, inputs: Float[Tensor, "picture channel height width"], taught: Int64[Tensor, "picture"],
        texts: Float[Tensor, "text dim"], numbers: Int64[Tensor, "picture"],
    ) -> None:  # fmt: skip
        self.inputs, self.taught = inputs, taught
        among, self.own = numbers.unique(return_inverse=True)
        self.texts, self.chance = texts[among.to(texts.device)], 1 / len(among)

    def figures(self, network: nn.Module) -> tuple[float, float, float]:
        """Shares that find their description, that do so with another picture's features, and of right classes."""
        device = self.texts.device
        with torch.no_grad():
            answers = [network(some.to(device, torch.float32)).float() for some in self.inputs.split(_AT_ONCE)]
        classes = answers[0].shape[1] - self.texts.shape[1]
        logits, placed = torch.cat(answers).split([classes, self.texts.shape[1]], dim=1)
        nearest = (placed @ self.texts.T).argmax(dim=1).cpu()
        right = [nearest == self.own, nearest.roll(1) == self.own, logits.argmax(dim=1).cpu() == self.taught.cpu()]
        found, shuffled, classed = (float(one.float().mean()) for one in right)
        return found, shuffled, classed


def contrast(
    placed: Float[Tensor, "picture dim"], texts: Float[Tensor, "picture dim"], numbers: Int64[Tensor, "picture"]
) -> Float[Tensor, ""]:
    """InfoNCE in both directions; a picture that is described in the same words is no counterexample."""
    logits, pairs = placed @ texts.T * SCALE, torch.arange(len(placed), device=placed.device)
    logits = logits.masked_fill(_also_true(numbers).to(placed.device), -torch.inf)
    return (functional.cross_entropy(logits, pairs) + functional.cross_entropy(logits.T, pairs)) / 2


def cosine(
    placed: Float[Tensor, "picture dim"], texts: Float[Tensor, "picture dim"], _numbers: Int64[Tensor, "picture"]
) -> Float[Tensor, ""]:
    return 1 - (placed * texts).sum(dim=1).mean()


AIMS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"contrast": contrast, "cosine": cosine}


def _also_true(numbers: Int64[Tensor, "picture"]) -> Bool[Tensor, "picture picture"]:
    return (numbers[:, None] == numbers) & ~torch.eye(len(numbers), dtype=torch.bool)


def _head(model: VisionModel) -> str:
    if model.texts:
        raise MethodUnavailable(_WHAT, "it reads texts already.")
    head = head_of(model).partition("#")[0]
    if model.activation != "softmax":
        raise MethodUnavailable(_WHAT, "its classes do not exclude each other.")
    return head


def _check(network: nn.Module, inputs: Tensor, expected: int) -> None:
    with torch.no_grad():
        answer = network(inputs[:2].to(next(network.parameters())))
    if not isinstance(answer, Tensor) or answer.shape != (2, expected):
        raise MethodUnavailable(_WHAT, "its answer is not what its last linear layer gives, and nothing else.")


def _classes(
    model: VisionModel, corpus: Corpus, inputs: Tensor, labels: Sequence[int] | Tensor | None
) -> Int64[Tensor, "picture"]:
    if labels is None and corpus.classes:
        labels = [model.labels[name] for name in corpus.classes]
    elif labels is None and isinstance(corpus.pictures, Scenes) and corpus.pictures.task.labels == model.labels.names:
        labels = corpus.pictures.labels.tolist()
    found = model.predict(inputs).argmax(dim=1) if labels is None else torch.as_tensor(labels, dtype=torch.long)
    if found.shape != (len(corpus),):
        raise ShapeError("labels", got=tuple(found.shape), expected=f"one class for each of {len(corpus)} pictures")
    for label in found.unique().tolist():
        model.labels.index(int(label))  # a class that is not there is told before anything is learned
    return found.to(model.device)
