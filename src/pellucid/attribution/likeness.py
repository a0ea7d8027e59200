"""Why two pictures are alike: the likeness of their embeddings shared out among places of both.

Zhu, Yang, Chen. Visual explanation for deep metric learning. IEEE TIP 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence, Replace
from pellucid.engine.recording import Recording, Wanted, gradients
from pellucid.errors import RequestError
from pellucid.registry import method
from pellucid.subject.layers import to_grid
from pellucid.values import Activation, Gradient, Layer, Similar, Target

_MOST_PAIRS = 2**22  # of places: 16 MB


class _Dot(Similar):
    """The likeness with the length of this picture's embedding held at its value, which makes it linear in that."""

    def __call__(self, value: Tensor) -> Float[Tensor, "batch"]:
        flat = value.flatten(2).mean(dim=2) if value.ndim > 2 else value
        assert self.embedding is not None
        other = self.embedding.to(flat)
        return flat @ (other / other.norm()) / flat.norm(dim=1).detach()


@method("overall_activation", needs=[Activation, Gradient], sees=("map", "tokens"), paper="Zhu et al. 2021",
        signed=True, cost=3)  # fmt: skip
def overall_activation(evidence: Evidence, layer: Layer) -> Float[Tensor, "batch h w"]:
    """What each place adds to the likeness to a reference picture, over all places of that picture.

    Made for the target `Similar`; of any other target it is what each place adds to that. It sums to the target less
    what does not come from the layer's places (biases) where all that follows the layer is linear.
    """
    held = [_held(target) for target in evidence.targets]
    asked = evidence.asking(held) if any(isinstance(target, _Dot) for target in held) else evidence
    return (asked.gradient(layer) * asked.activation(layer)).sum(dim=1)


@dataclass(frozen=True, eq=False)
class Shared:
    """An embedding shared out among the places of a layer.

    places:    what each place adds to each number of the embedding, by its gradient times its value
    constant:  the embedding of a layer that holds nothing: biases, and class tokens, which are no place
    remainder: what is left, from whatever bends between the layer and the embedding
    """

    places: Float[Tensor, "dim h w"]
    constant: Float[Tensor, "dim"]
    remainder: Float[Tensor, "dim"]

    @property
    def embedding(self) -> Float[Tensor, "dim"]:
        return self.places.sum(dim=(1, 2)) + self.constant + self.remainder


def shared_out(evidence: Evidence, layer: Layer, embedding: str | None) -> Shared:
    """The embedding of the one picture of `evidence`, shared out; one backward for each of its numbers.

    embedding: the layer that holds it (its mean over the grid, if it has one); None is the model's output
    """
    address = evidence.layers[embedding] if embedding else None
    names: frozenset[str] = frozenset([layer.name, *([address.name] if address else list[str]())])
    recording = evidence.recorded_apart(Wanted(layers=names, gradients=True))
    vector = _vector(recording, address)
    kept = recording.kept[layer.name]
    grid = to_grid(kept.detach(), layer).float()
    places = torch.empty(len(vector), *grid.shape[-2:])
    for row, number in enumerate(vector):
        (found,) = gradients(recording, [kept], scores=number[None])
        places[row] = (to_grid(found, layer).float() * grid).sum(dim=1)[0].cpu()
    evidence.passes.add(backwards=len(vector))
    with evidence.edited(Replace(layer, torch.zeros_like(grid))) as empty:
        bare = empty.recorded_apart(Wanted(layers=names))
        constant = _vector(bare, address).cpu()
    remainder = vector.detach().cpu() - places.sum(dim=(1, 2)) - constant
    return Shared(places, constant, remainder)


@dataclass(frozen=True, eq=False)
class Likeness:
    """The likeness of two embeddings, shared out among pairs of places.

    pairs:    what each place of the first picture and each of the second add to it together
    constant: what comes from biases (and class tokens), alone or together with places
    gap:      what comes from whatever bends between the layer and the embedding; 0 where nothing does
    """

    pairs: Float[Tensor, "h1 w1 h2 w2"]
    constant: float
    gap: float

    @property
    def value(self) -> float:
        return float(self.pairs.double().sum()) + self.constant + self.gap


def likeness(first: Shared, second: Shared, *, normalised: bool = True) -> Likeness:
    """How two shared out embeddings are alike: their product, divided by both lengths if `normalised`.

    Raises RequestError for so many places that their pairs would not fit into 16 MB, and for an embedding of length 0.
    """
    sizes = [tuple(one.places.shape[1:]) for one in (first, second)]
    if sizes[0][0] * sizes[0][1] * sizes[1][0] * sizes[1][1] > _MOST_PAIRS:
        raise RequestError(f"Layers of {sizes[0]} and {sizes[1]} places have too many pairs. Choose a later layer.")
    lengths = float(first.embedding.norm() * second.embedding.norm())
    if normalised and lengths == 0:
        raise RequestError("An embedding of length 0 is like nothing: pass normalised=False for the plain product.")
    scale = 1 / lengths if normalised else 1.0
    pairs = torch.einsum("dij,dxy->ijxy", first.places, second.places) * scale
    linear = [(one.places.sum(dim=(1, 2)) + one.constant).double() for one in (first, second)]
    straight = float(linear[0] @ linear[1]) * scale
    whole = float(first.embedding.double() @ second.embedding.double()) * scale
    return Likeness(pairs, straight - float(pairs.double().sum()), whole - straight)


def _held(target: Target) -> Target:
    if isinstance(target, Similar) and target.embedding is not None:
        return _Dot(target.reference, target.layer, target.embedding)
    return target


def _vector(recording: Recording, address: Layer | None) -> Float[Tensor, "dim"]:
    value = recording.outputs if address is None else to_grid(recording.kept[address.name], address)
    return value[0].float().flatten(1).mean(dim=1) if value.ndim > 2 else value[0].float()
