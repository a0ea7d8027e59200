"""A net whose embedding is split among learners, each with an attention map of its own, and how it learns likeness.

Adiga V et al., Attention-based dynamic subspace learners, JBHI 2022; Sanakoyeu et al., Divide and conquer the embedding
space, CVPR 2019; margin loss and sampling by distance: Wu et al., Sampling matters, ICCV 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

APART = 2.0  # how far points of a unit sphere can lie apart
_NEAR, _FAR = 0.5, 1.4  # sampled distances: nearer ones count as 0.5, those beyond 1.4 teach nothing (Wu et al.)


@dataclass(frozen=True, eq=False)
class Embedded:
    """What was made of pictures.

    maps:  where each learner looks, 0 to 1
    parts: of each learner its subspace, a point on the unit sphere
    """

    maps: Float[Tensor, "batch learner h w"]
    parts: tuple[Float[Tensor, "batch _"], ...]

    @property
    def whole(self) -> Float[Tensor, "batch dim"]:
        """All subspaces side by side, of length 1 together."""
        return torch.cat(self.parts, dim=1) / len(self.parts) ** 0.5


class SubspaceNet(nn.Module):
    """Each learner attends to cells of shared features; the attended mean becomes its share of one linear embedding.

    scale:    what each channel is divided by first, so that no channel is loud by its unit alone
    boundary: up to which distance two pictures are alike to a learner, learned with the rest
    """

    scale: Tensor

    def __init__(self, channels: int, dims: int, learners: int = 1, *, boundary: float = 1.2) -> None:
        super().__init__()
        self.channels, self.dims, self.learners = channels, dims, learners
        self.attend = nn.Conv2d(channels, learners, 1)
        self.embed = nn.Linear(channels, dims)
        self.boundary = nn.Parameter(torch.full((learners,), boundary))
        self.register_buffer("scale", torch.ones(channels))

    def forward(self, features: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch dim"]:
        return self.look(features).whole

    def look(self, features: Float[Tensor, "batch channel h w"]) -> Embedded:
        """Maps and subspaces of pictures."""
        scaled = features / self.scale[:, None, None]
        maps = self.attend(scaled).sigmoid()
        attended = torch.einsum("blhw,bchw->blc", maps, scaled) / (maps.shape[2] * maps.shape[3])
        shares = zip(self.embed.weight.tensor_split(self.learners), self.embed.bias.tensor_split(self.learners),
                     strict=True)  # fmt: skip
        parts = [functional.linear(attended[:, at], *share) for at, share in enumerate(shares)]
        return Embedded(maps, tuple(functional.normalize(part, dim=1) for part in parts))

    def grown(self) -> SubspaceNet:
        """The same embedding split among one learner more; each looks as the one whose share it took over did."""
        larger = SubspaceNet(self.channels, self.dims, self.learners + 1)
        owner = torch.cat([torch.full((len(part),), at) for at, part in
                           enumerate(torch.arange(self.dims).tensor_split(self.learners))])  # fmt: skip
        heirs = [int(owner[part[0]]) for part in torch.arange(self.dims).tensor_split(self.learners + 1)]
        state = self.state_dict()
        kept = {name: state[name][heirs].clone() for name in ("attend.weight", "attend.bias", "boundary")}
        larger.load_state_dict({name: kept.get(name, value.clone()) for name, value in state.items()})
        return larger


def distances(points: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    """How far apart points of the unit sphere lie, 0 to 2; its gradient is finite for equal points too."""
    return (2 - 2 * points @ points.T).clamp(min=1e-6).sqrt()


def negatives(
    apart: Float[Tensor, "batch other"], alike: Bool[Tensor, "batch other"], dims: int, generator: torch.Generator
) -> Int64[Tensor, "batch"]:
    """For each picture one of another class, each distance as likely as any other; -1 where all are of its class.

    Chance pairs on a sphere of many dimensions lie near sqrt(2) apart; drawn against that density, near ones come too.
    Pictures whose others all lie too far to teach anything draw one of them by chance.
    """
    near = apart.detach().clamp(min=_NEAR)
    density = (dims - 2.0) * near.log() + (dims - 3.0) / 2 * (1 - near**2 / 4).clamp(min=1e-8).log()
    logs = (-density).masked_fill(alike | (near > _FAR), -torch.inf)
    teaching = logs.isfinite().any(dim=1, keepdim=True)
    by_distance = (logs - logs.amax(dim=1, keepdim=True).nan_to_num(neginf=0.0)).exp()
    weights = torch.where(teaching, by_distance, (~alike).float())
    known = weights.sum(dim=1) > 0
    drawn = torch.multinomial(torch.where(known[:, None], weights, 1.0), 1, generator=generator)[:, 0]
    return torch.where(known, drawn, -1)


def margin_loss(
    points: Float[Tensor, "batch dim"], labels: Int64[Tensor, "batch"], boundary: Float[Tensor, ""], margin: float,
    generator: torch.Generator,
) -> Float[Tensor, ""]:  # fmt: skip
    """Pairs of a class farther apart than boundary - margin and others nearer than boundary + margin; mean of those."""
    apart, alike = distances(points), labels[:, None] == labels
    drawn = negatives(apart, alike, points.shape[1], generator)
    first, second = alike.triu(1).nonzero(as_tuple=True)
    anchors = (drawn >= 0).nonzero()[:, 0]
    too_far = (apart[first, second] - boundary + margin).clamp(min=0)
    too_near = (boundary - apart[anchors, drawn[anchors]] + margin).clamp(min=0)
    missed = torch.cat([too_far, too_near])
    return missed.sum() / max(1, int((missed > 0).sum()))


def divided_loss(
    parts: tuple[Float[Tensor, "batch _"], ...], labels: Int64[Tensor, "batch"], groups: Int64[Tensor, "batch"],
    boundaries: Float[Tensor, "learner"], margin: float,
) -> Float[Tensor, ""]:  # fmt: skip
    """How badly likeness is told over all pairs by the learner of their group; the alike and the others weigh the same.

    Pictures of different groups count as far apart as can be: it costs to cut a class in two, and nothing to part two.
    """
    apart = torch.full((len(labels), len(labels)), APART)
    boundary = boundaries[groups][:, None]
    for at, part in enumerate(parts):
        mine = (groups == at).nonzero()[:, 0]
        apart[mine[:, None], mine] = distances(part[mine])
    alike = labels[:, None] == labels
    others = ~torch.eye(len(labels), dtype=torch.bool)
    sides = ((apart - boundary + margin, alike & others), (boundary - apart + margin, ~alike))
    missed = [cost.clamp(min=0)[where].mean() for cost, where in sides if where.any()]
    return torch.stack(missed).sum()


def clustered(
    points: Float[Tensor, "item dim"], count: int, seed: int
) -> tuple[Int64[Tensor, "item"], Float[Tensor, "cluster dim"]]:
    """The cluster of each point by k-means, and the centres; fewer where there are not as many different points."""
    from sklearn.cluster import KMeans

    means: Any = KMeans
    count = min(count, len(points.unique(dim=0)))
    found = means(count, n_init=10, random_state=seed % 2**31).fit(points.detach().double().numpy())
    return torch.from_numpy(found.labels_).long(), torch.from_numpy(found.cluster_centers_).to(points.dtype)


def nearest_centre(points: Float[Tensor, "item dim"], centres: Float[Tensor, "cluster dim"]) -> Int64[Tensor, "item"]:
    """Which centre each point lies nearest to."""
    return torch.cdist(points, centres).argmin(dim=1)
