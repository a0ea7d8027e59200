"""What a classifier's classes mean, beside what the classifier makes of them: which lie near each other in either.

Frome et al., DeViSE, NeurIPS 2013, compared a classifier's confusions with the meaning of its labels; the test is
Mantel's (1967) for two tables of distances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import MethodUnavailable, RequestError
from pellucid.subject import VisionModel
from pellucid.values import Seed

Encode = Callable[[Sequence[str]], Float[Tensor, "text dim"]]
SHUFFLES = 199


@dataclass(frozen=True)
class Neighbour:
    """A class, and its cosine with the class asked about: -1 to 1."""

    label: str
    cosine: float

    def __str__(self) -> str:
        return f"{self.label} ({self.cosine:.2f})"


@dataclass(frozen=True)
class Neighbourhood:
    """The classes nearest to one of them, in meaning and in the model's own weights; the nearest first."""

    label: str
    meant: tuple[Neighbour, ...]
    weighed: tuple[Neighbour, ...]

    @property
    def shared(self) -> tuple[str, ...]:
        """Classes that stand in both lists."""
        own = {neighbour.label for neighbour in self.weighed}
        return tuple(neighbour.label for neighbour in self.meant if neighbour.label in own)

    def __str__(self) -> str:
        meant, weighed = (", ".join(map(str, some)) for some in (self.meant, self.weighed))
        both = f" Both name {', '.join(self.shared)}." if self.shared else " They share none."
        return f"{self.label}: nearest in meaning {meant}; nearest to the model {weighed}.{both}"


@dataclass(frozen=True)
class Meanings:
    """How far a classifier's classes lie as their names do.

    agreement: Spearman's correlation of the cosines of all pairs, names against weights; -1 to 1
    shuffled:  the 95th percentile of the same with the names dealt out anew: to the weights it is the same whether
               names or weights are dealt, so it stands for shuffled features and for random words at once
    p:         how often that is at least as high, 1 of 200 at least
    shared:    mean share of the nearest classes that both lists name
    by_chance: what two random lists of that length share
    """

    neighbourhoods: tuple[Neighbourhood, ...]
    agreement: float
    shuffled: float
    p: float
    shared: float
    by_chance: float
    encoder: str

    @property
    def beats_controls(self) -> bool:
        """Whether classes lie as their names mean more than as the names of other classes do."""
        return self.agreement > self.shuffled

    def __str__(self) -> str:
        verdict = "more than" if self.beats_controls else "no more than"
        return (
            f"Classes lie to the model as their names mean, rank correlation {self.agreement:.2f}: {verdict} "
            f"names dealt out anew ({self.shuffled:.2f} in 95 of 100 deals, p = {self.p:.3f}). Of each class's "
            f"nearest, both name {self.shared:.0%}; two random lists {self.by_chance:.1%}. Meaning by {self.encoder}."
        )

    def to_dict(self) -> dict[str, object]:
        return {
            "agreement": self.agreement, "shuffled": self.shuffled, "p": self.p, "shared": self.shared,
            "beats_controls": self.beats_controls, "by_chance": self.by_chance, "encoder": self.encoder,
            "neighbours": {
                one.label: {
                    "meant": {each.label: each.cosine for each in one.meant},
                    "weighed": {each.label: each.cosine for each in one.weighed},
                }
                for one in self.neighbourhoods
            },
        }  # fmt: skip


def compare(
    model: VisionModel, encode: Encode, labels: Sequence[str] = (), *, count: int = 5, seed: int = 0
) -> Meanings:
    """The classes nearest to each of some, by the meaning of their names and by the weights of the last layer.

    encode: texts to embeddings of length 1, as `SentenceEncoder` makes them
    labels: whose neighbours are listed; the figures are over all classes
    count:  how many neighbours

    Raises MethodUnavailable where no linear layer gives the classes, RequestError for fewer than four classes.
    """
    if len(model.labels) < 4:
        raise RequestError(f"{model.name} has {len(model.labels)} classes; neighbours want 4 or more.")
    wanted = [model.labels.index(label) for label in labels]
    count = min(count, len(model.labels) - 1)
    meant, weighed = (_cosines(rows) for rows in (encode(model.labels.names), class_weights(model)))
    pairs = torch.triu_indices(len(meant), len(meant), offset=1)
    own, told = _standard(weighed[pairs[0], pairs[1]]), _standard(meant[pairs[0], pairs[1]])
    generator = Seed(seed).child("deals").generator()
    ranked = torch.zeros_like(meant)
    ranked[pairs[0], pairs[1]] = told
    ranked = ranked + ranked.T
    agreement = float(own @ told)
    deals: list[float] = []
    for _ in range(SHUFFLES):
        order = torch.randperm(len(meant), generator=generator)
        deals.append(float(own @ ranked[order][:, order][pairs[0], pairs[1]]))
    by_chance = torch.tensor(deals)
    near = [_nearest(table, count) for table in (meant, weighed)]
    shared = (near[0][:, :, None] == near[1][:, None]).any(dim=2).double().mean()
    names = model.labels.names
    lists = tuple(
        Neighbourhood(
            names[at],
            *(
                tuple(Neighbour(names[int(other)], float(table[at, other])) for other in nearest[at])
                for table, nearest in zip((meant, weighed), near, strict=True)
            ),
        )
        for at in wanted
    )
    return Meanings(
        lists, agreement, float(by_chance.quantile(0.95)), (1 + int((by_chance >= agreement).sum())) / (1 + SHUFFLES),
        float(shared), count / (len(names) - 1), getattr(encode, "name", "an encoder of your own"),
    )  # fmt: skip


def class_weights(model: VisionModel) -> Float[Tensor, "class channel"]:
    """The rows of the linear layer that gives the classes. Raises MethodUnavailable where there is none."""
    count = len(model.labels)
    found = [part for part in (model.module or nn.Identity()).modules() if isinstance(part, nn.Linear)]
    last = next((part for part in reversed(found) if part.out_features == count), None)
    if last is None:
        raise MethodUnavailable(
            "Comparing classes by their weights", f"{model.name} has no linear layer of {count} outputs.", ()
        )
    return last.weight.detach().cpu().double()


def _cosines(rows: Float[Tensor, "class dim"]) -> Float[Tensor, "class class"]:
    centred = rows.double().cpu() - rows.double().cpu().mean(dim=0)  # what all classes share tells none apart
    unit = functional.normalize(centred, dim=1)
    return unit @ unit.T


def _standard(values: Float[Tensor, "pair"]) -> Float[Tensor, "pair"]:
    """Ranks of mean 0 and length 1, so that the product of two is Spearman's correlation."""
    ranks = torch.from_numpy(rankdata(values.numpy()))
    return functional.normalize(ranks - ranks.mean(), dim=0)


def _nearest(table: Float[Tensor, "class class"], count: int) -> Tensor:
    return table.clone().fill_diagonal_(-torch.inf).topk(count, dim=1).indices
