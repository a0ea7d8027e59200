"""A few-shot segmenter without training: places of a query take the class of the support places that they match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate, normalize, one_hot

from pellucid.engine import look
from pellucid.errors import RequestError, ShapeError
from pellucid.subject import VisionModel
from pellucid.values import Activation, Layer

DECIDING = ("matching", "prototypes")
_MOST_PAIRS = 2**26  # of places at one level: 256 MB, of which three are held at once
_LEAST = 1e-6  # a class that no place is matched to still has a logarithm
Features = Float[Tensor, "_ _ _ _"]  # picture, channel, row, column: each level has its own


@dataclass(frozen=True, eq=False)
class Episode:
    """A query and its support, matched level by level. It satisfies `Matcher`.

    query, support: features of length 1 per place, level by level
    shares:      how much of each support pixel is of each class, background first, 0 to 1
    deciding:    `matching`: a query place takes the mean class of all support places, weighed by a softmax of their
                 cosine; `prototypes`: its class is a softmax of the cosine with each class's mean place
    temperature: by which every cosine is divided
    size:        rows and columns of the query
    silent:      the level that is ablated: all its cosines are 0
    """

    query: tuple[Features, ...]
    support: tuple[Features, ...]
    shares: Float[Tensor, "class shot height width"]
    size: tuple[int, int]
    deciding: str = "matching"
    temperature: float = 0.02
    silent: int | None = None

    def __post_init__(self) -> None:
        if self.deciding not in DECIDING:
            raise RequestError(f"deciding={self.deciding!r}; expected {' or '.join(DECIDING)}.")
        if not self.temperature > 0:
            raise RequestError(f"temperature={self.temperature}; expected a number above 0.")
        if self.shares.ndim != 4 or self.shares.shape[1] != len(self.support[0]):
            expected = f"[class {len(self.support[0])} height width]: one per class and support picture"
            raise ShapeError("The support's classes", got=tuple(self.shares.shape), expected=expected)
        for query, support in zip(self.query, self.support, strict=True):
            places = query[0, 0].numel(), support[:, 0].numel()
            if places[0] * places[1] > _MOST_PAIRS:
                raise RequestError(
                    f"A level of {places[0]} places of the query and {places[1]} of the support has too many pairs. "
                    f"Choose a coarser layer."
                )

    def levels(self) -> list[Float[Tensor, "down across shot row column"]]:
        """The cosines of places over the temperature; also for prototypes, which are means of those places."""
        return [
            torch.einsum("cda,scij->dasij", query[0], support) / self.temperature
            for query, support in zip(self.query, self.support, strict=True)
        ]

    def logits(self) -> Float[Tensor, "class height width"]:
        """Logarithms of the classes' shares, so that their softmax is the mean over levels."""
        decide = self._matched if self.deciding == "matching" else self._by_prototype
        found = torch.stack([
            interpolate(decide(level)[None], self.size, mode="bilinear", align_corners=False)[0]
            for level in range(len(self.query))
        ])  # fmt: skip
        return (found.mean(dim=0) + _LEAST).log()

    def ablate(self, level: int) -> Float[Tensor, "class height width"]:
        """The same with every cosine of one level at 0: all its support places are matched alike."""
        return replace(self, silent=level).logits()

    def _matched(self, level: int) -> Float[Tensor, "class down across"]:
        shares = self._shares_at(level)
        cosines = torch.einsum("cda,scij->dasij", self.query[level][0], self.support[level])
        cosines = cosines * (0 if level == self.silent else 1 / self.temperature)
        return torch.einsum("das,ks->kda", cosines.flatten(2).softmax(dim=2), shares.flatten(1))

    def _by_prototype(self, level: int) -> Float[Tensor, "class down across"]:
        shares = self._shares_at(level)
        means = normalize(torch.einsum("scij,ksij->kc", self.support[level], shares), dim=1)
        cosines = torch.einsum("cda,kc->kda", self.query[level][0], means)
        return (cosines * (0 if level == self.silent else 1 / self.temperature)).softmax(dim=0)

    def _shares_at(self, level: int) -> Float[Tensor, "class shot row column"]:
        grid = (int(self.support[level].shape[-2]), int(self.support[level].shape[-1]))
        return torch.nn.functional.adaptive_avg_pool2d(self.shares, grid)


@dataclass(frozen=True, eq=False)
class FewShot:
    """A model's layers as a few-shot segmenter.

    layers: at least one, on a grid; settings as of `Episode`
    """

    model: VisionModel
    layers: tuple[Layer, ...]
    deciding: str = "matching"
    temperature: float = 0.02

    def features(self, inputs: Float[Tensor, "picture channel height width"]) -> tuple[Features, ...]:
        """What each level sees of pictures, of length 1 per place; a place at which nothing responds has length 0."""
        seen = look(self.model, inputs, needs=[Activation], layers=self.layers)
        return tuple(normalize(seen.activation(layer).cpu(), dim=1) for layer in self.layers)

    def episode(
        self, query: Float[Tensor, "1 channel height width"], support: Float[Tensor, "shot channel rows columns"],
        classes: Int[Tensor, "shot rows columns"],
    ) -> Episode:  # fmt: skip
        """A query and its support; classes are numbers per support pixel, 0 the background."""
        shares = one_hot(classes.long()).permute(3, 0, 1, 2).float()
        size = (int(query.shape[-2]), int(query.shape[-1]))
        return Episode(
            self.features(query), self.features(support), shares, size, self.deciding, self.temperature,
        )  # fmt: skip

    def segmenting(
        self, query: Float[Tensor, "1 channel height width"]
    ) -> Callable[[Tensor, Tensor], Float[Tensor, "version 2 height width"]]:
        """The query's segmentation by versions of a support with one class, as `pellucid.trust.support` asks for it."""
        seen, size = self.features(query), (int(query.shape[-2]), int(query.shape[-1]))

        def segment(
            pictures: Float[Tensor, "version shot channel rows columns"],
            masks: Float[Tensor, "version shot rows columns"],
        ) -> Float[Tensor, "version 2 height width"]:
            features = self.features(pictures.flatten(0, 1))
            shots = pictures.shape[1]
            episodes: Sequence[Episode] = [
                Episode(
                    seen, tuple(level[at * shots : (at + 1) * shots] for level in features),
                    torch.stack([1 - mask, mask]).float().cpu(), size, self.deciding, self.temperature,
                )
                for at, mask in enumerate(masks)
            ]  # fmt: skip
            return torch.stack([episode.logits() for episode in episodes])

        return segment
