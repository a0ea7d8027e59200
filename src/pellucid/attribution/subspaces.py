"""In which ways pictures are alike: an embedding split among learners, each with its own map; their number is found.

Adiga V, Dolz, Lombaert, Attention-based dynamic subspace learners for medical image analysis, IEEE JBHI 2022.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pellucid.compute.early import Early
from pellucid.compute.subspaces import SubspaceNet, clustered, divided_loss, margin_loss, nearest_centre
from pellucid.compute.train import Recipe, descend, seeded
from pellucid.errors import RequestError, ShapeError
from pellucid.images import Frame
from pellucid.results.files import write_atomically
from pellucid.results.subspaces import Subspaces
from pellucid.results.weights import read_weights, write_weights
from pellucid.values import Seed

_KIND = "subspace explainer"
_REMEDY = "Give a file that SubspaceExplainer.save wrote."


@dataclass(frozen=True)
class Dividing:
    """What the embedding is like, and when another learner joins.

    dims:     of the whole embedding, however many share it
    margin, boundary: of the loss; the boundary is where it begins, each learner learns its own
    most:     how many learners there may be
    gain:     a learner more stays only if it takes this share off the loss of the held-out pictures
    """

    dims: int = 32
    margin: float = 0.2
    boundary: float = 1.2
    most: int = 8
    gain: float = 0.1


@dataclass(frozen=True)
class Learning:
    """How each number of learners learns: AdamW and a cosine over the learning rate.

    steps:          updates at most, of one learner each in turn
    classes, each:  an update sees so many classes, so many pictures of each
    held_out:       share of the pictures that only judge, two at least
    every, patience: they judge so often; so many times in a row without getting better is a plateau
    """

    steps: int = 1000
    learning_rate: float = 1e-2
    weight_decay: float = 0.1
    classes: int = 8
    each: int = 4
    held_out: float = 0.25
    every: int = 25
    patience: int = 8


@dataclass(frozen=True, eq=False)
class SubspaceExplainer:
    """Fitted learners. It saves and loads, embeds pictures, and reads in which ways they are like known ones.

    divider: the net by whose embedding pictures were divided among the learners, and `centres` of the groups there;
             None for a single learner
    judged:  loss of the held-out pictures as each number of learners learned, from 1 on; the last may not be kept
    """

    net: SubspaceNet
    labels: tuple[str, ...]
    divider: SubspaceNet | None = None
    centres: Float[Tensor, "learner dim"] | None = None
    dividing: Dividing = field(default_factory=Dividing)
    judged: tuple[tuple[float, ...], ...] = ()

    @property
    def learners(self) -> int:
        """How many there turned out to be."""
        return self.net.learners

    @torch.no_grad()
    def parts(self, features: Float[Tensor, "batch channel h w"]) -> tuple[Float[Tensor, "batch _"], ...]:
        """Pictures in the subspace of each learner, points on its unit sphere."""
        _check(features, self.net.channels)
        return self.net.look(features.float()).parts

    @torch.no_grad()
    def maps(self, features: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch learner h w"]:
        """Where each learner looks, 0 to 1."""
        _check(features, self.net.channels)
        return self.net.look(features.float()).maps

    @torch.no_grad()
    def groups(self, features: Float[Tensor, "batch channel h w"]) -> Int64[Tensor, "batch"]:
        """Which learner each picture was divided to."""
        _check(features, self.net.channels)
        if self.divider is None or self.centres is None:
            return torch.zeros(len(features), dtype=torch.long)
        return nearest_centre(self.divider(features.float()), self.centres)

    def purity(
        self, features: Float[Tensor, "batch channel h w"], answers: Sequence[int], *, seed: int = 0
    ) -> tuple[float, ...]:
        """Of each learner, how far clusters of its subspace hold one class: share of the commonest, 0 to 1.

        Over the pictures of its own group, in as many clusters as they have classes; NaN for a group without pictures.
        """
        _check_answers(features, answers)
        groups, given = self.groups(features), torch.tensor(list(answers))
        parts = enumerate(self.parts(features))
        return tuple(_purity(part[groups == at], given[groups == at], seed) for at, part in parts)

    def information(
        self, features: Float[Tensor, "batch channel h w"], factor: Sequence[int], *, seed: int = 0
    ) -> tuple[float, ...]:
        """Of each learner, the mutual information of its clusters with any factor, normalised: 0 none, 1 all.

        Over the pictures of its own group, in as many clusters as they have values; NaN where they have fewer than two.

        factor: a number for each picture, such as its colour
        """
        _check_answers(features, factor)
        groups, given = self.groups(features), torch.tensor(list(factor))
        parts = enumerate(self.parts(features))
        return tuple(_information(part[groups == at], given[groups == at], seed) for at, part in parts)

    def read(
        self, features: Float[Tensor, "batch channel h w"], known: Float[Tensor, "known channel h w"],
        answers: Sequence[int], *, frames: Sequence[Frame], known_frames: Sequence[Frame] = (), nearest: int = 5,
        seed: int = 0,
    ) -> Subspaces:  # fmt: skip
        """Of pictures, by each learner: where it looks, and which known pictures lie nearest in its subspace.

        known, answers: pictures to find neighbours among, and their classes; `known_frames` to draw them
        """
        _check_answers(known, answers, self.labels)
        for name, given, wanted in (("frames", frames, features), ("known_frames", known_frames or known, known)):
            if len(given) != len(wanted):
                raise ShapeError(name, got=len(given), expected=f"{len(wanted)}, one per picture")
        if not 0 < nearest <= len(known):
            raise RequestError(f"nearest={nearest}; expected 1 to {len(known)}, as many as are known.")
        pairs = zip(self.parts(features), self.parts(known), strict=True)
        found = [torch.cdist(mine, theirs).topk(nearest, largest=False) for mine, theirs in pairs]
        return Subspaces(
            self.labels, tuple(frames), self.maps(features).numpy(), self.groups(features).numpy(),
            torch.stack([one.indices for one in found], dim=1).numpy(),
            torch.stack([one.values for one in found], dim=1).numpy(),
            self.purity(known, answers, seed=seed), tuple(answers), tuple(known_frames),
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write weights and settings as .safetensors; `load` reads them."""
        about = {"labels": self.labels, "channels": self.net.channels, "learners": self.learners,
                 "judged": self.judged, "dividing": asdict(self.dividing)}  # fmt: skip
        state = {f"net.{key}": value for key, value in self.net.state_dict().items()}
        if self.divider is not None and self.centres is not None:
            state |= {f"divider.{key}": value for key, value in self.divider.state_dict().items()}
            state["centres"] = self.centres
        return write_weights(path, _KIND, about, state)

    @classmethod
    def load(cls, path: str | Path) -> SubspaceExplainer:
        """The explainer that `save` wrote. Raises FileError for anything else."""
        about, state = read_weights(path, _KIND, _REMEDY)
        dividing, centres = Dividing(**about["dividing"]), state.pop("centres", None)
        net = _restored(_under(state, "net."), about["channels"], dividing, about["learners"])
        divider = None
        if centres is not None:
            divider = _restored(_under(state, "divider."), about["channels"], dividing, about["learners"] - 1)
        judged = tuple(tuple(stage) for stage in about["judged"])
        return cls(net, tuple(about["labels"]), divider, centres, dividing, judged)


def fit(
    features: Float[Tensor, "picture channel h w"], answers: Sequence[int], labels: Sequence[str], *,
    dividing: Dividing | None = None, learning: Learning | None = None, seed: int = 0,
    checkpoint: str | Path | None = None,
) -> SubspaceExplainer:  # fmt: skip
    """Learners of the ways in which pictures of a class are alike, as many as the held-out pictures gain by.

    One learner learns until the held-out pictures get no better. Then the embedding is clustered into a group more,
    split among a learner more, and each learns to tell apart what is in its group, until that has its plateau too.

    features:   what a frozen model's layer holds of each picture
    answers:    the class of each, a position in `labels`
    checkpoint: a file that says how far it came; where it lies already, fitting goes on from it

    Raises RequestError for pictures without answers and answers without label, ShapeError for features of another form.
    """
    dividing, learning = dividing or Dividing(), learning or Learning()
    place = None if checkpoint is None else Path(checkpoint)
    _check(features, features.shape[1] if features.ndim == 4 else 0)
    _check_answers(features, answers, labels)
    if len(set(answers)) < 2 or len(features) < 4:
        classes = len(set(answers))
        raise RequestError(f"{len(features)} pictures of {classes} classes; expected 4 or more, of 2 or more.")
    if not 0 < learning.every <= learning.steps:
        raise RequestError(f"every={learning.every}; expected 1 to {learning.steps}, the steps that there are.")
    split = torch.randperm(len(features), generator=Seed(seed).child("subspaces", "split").generator())
    held = min(max(2, round(learning.held_out * len(features))), len(features) - 2)
    given = features.detach().float()
    data = _Data(given, torch.tensor(list(answers)), split[held:], split[:held])
    stages = _resumed(place, given.shape[1], dividing)
    if not stages:
        stages = [_learned(_first(data, dividing, seed), None, data, dividing, learning, seed, place)]
        _keep(place, stages)
    while _open(stages, dividing):
        groups = _divided(stages[-1].net, data, seed)
        if groups is None:
            break
        stages.append(_learned(stages[-1].net.grown(), groups, data, dividing, learning, seed, place))
        _keep(place, stages)
    judged = tuple(stage.judged for stage in stages)
    kept = stages[-1] if _gains(stages, dividing) else stages[-2]
    divider = stages[stages.index(kept) - 1].net if kept.centres is not None else None
    if place is not None:
        _beside(place).unlink(missing_ok=True)
    return SubspaceExplainer(kept.net, tuple(labels), divider, kept.centres, dividing, judged)


@dataclass(frozen=True, eq=False)
class _Data:
    """`learned` and `held` are positions."""

    features: Tensor
    answers: Tensor
    learned: Tensor
    held: Tensor


@dataclass(frozen=True, eq=False)
class _Stage:
    """What one number of learners came to, and where the centres of their groups lie in the embedding before it."""

    net: SubspaceNet
    centres: Tensor | None
    judged: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Groups:
    """A group for each picture, and the centres."""

    of: Tensor
    centres: Tensor


def _first(data: _Data, dividing: Dividing, seed: int) -> SubspaceNet:
    with seeded(seed):
        net = SubspaceNet(data.features.shape[1], dividing.dims, boundary=dividing.boundary)
    spread = data.features[data.learned].transpose(0, 1).flatten(1).std(dim=1)
    net.scale.copy_(torch.where(spread > 0, spread, 1.0))  # a channel that never changes has nothing to be scaled to
    return net


def _learned(
    net: SubspaceNet, groups: _Groups | None, data: _Data, dividing: Dividing, learning: Learning, seed: int,
    checkpoint: Path | None,
) -> _Stage:  # fmt: skip
    of = torch.zeros(len(data.features), dtype=torch.long) if groups is None else groups.of
    mine = [data.learned[of[data.learned] == at] for at in range(net.learners)]

    def objective(step: int) -> Tensor:
        at = step % net.learners
        draw = Seed(seed).child("subspaces", net.learners, step).generator()
        batch = _batch(mine[at], data.answers, learning, draw)
        points = net.look(data.features[batch]).parts[at]
        return margin_loss(points, data.answers[batch], net.boundary[at], dividing.margin, draw)

    def judge() -> float:
        parts = net.look(data.features[data.held]).parts
        answers, held = data.answers[data.held], of[data.held]
        return float(divided_loss(parts, answers, held, net.boundary, dividing.margin))

    early = Early(judge, every=learning.every, patience=learning.patience)
    recipe = Recipe(learning.steps, learning.learning_rate, weight_decay=learning.weight_decay)
    label = f"Fitting {net.learners} learner{'s' * (net.learners > 1)}"
    descend(net, objective, recipe, label=label, checkpoint=checkpoint, early=early)
    return _Stage(net, None if groups is None else groups.centres, tuple(early.judged))


def _batch(mine: Tensor, answers: Tensor, learning: Learning, draw: torch.Generator) -> Tensor:
    """Pictures of a group, as many of each drawn class; a class that has fewer lends what it has."""
    mine = mine[torch.randperm(len(mine), generator=draw)]
    present = answers[mine].unique()
    chosen = present[torch.randperm(len(present), generator=draw)[: learning.classes]]
    return torch.cat([mine[answers[mine] == one][: learning.each] for one in chosen])


@torch.no_grad()
def _divided(net: SubspaceNet, data: _Data, seed: int) -> _Groups | None:
    """Clusters of the embedding, one more than there are learners; None where one has no two classes to tell apart."""
    points = net(data.features)
    _, centres = clustered(points[data.learned], net.learners + 1, int(Seed(seed).child("groups", net.learners)))
    if len(centres) <= net.learners:
        return None
    of = nearest_centre(points, centres)
    for at in range(len(centres)):
        counts = data.answers[data.learned][of[data.learned] == at].bincount()
        if int((counts > 1).sum()) < 2:
            return None
    return _Groups(of, centres)


def _open(stages: Sequence[_Stage], dividing: Dividing) -> bool:
    """Whether a learner more may join: the last one was worth it, there is room, and something left to gain."""
    return _gains(stages, dividing) and len(stages) < dividing.most and min(stages[-1].judged) > 0


def _gains(stages: Sequence[_Stage], dividing: Dividing) -> bool:
    """Whether the last learner to join made the held-out pictures enough better."""
    if len(stages) < 2:
        return True
    before, after = (min(stage.judged) for stage in stages[-2:])
    return after < (1 - dividing.gain) * before


def _purity(points: Tensor, answers: Tensor, seed: int) -> float:
    if len(points) == 0:
        return float("nan")
    of, _ = clustered(points, len(answers.unique()), seed)
    return sum(int(answers[of == one].bincount().max()) for one in of.unique()) / len(points)


def _information(points: Tensor, factor: Tensor, seed: int) -> float:
    from sklearn.metrics import normalized_mutual_info_score

    if len(factor.unique()) < 2:
        return float("nan")
    of, _ = clustered(points, len(factor.unique()), seed)
    return float(normalized_mutual_info_score(factor.numpy(), of.numpy()))


def _beside(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"{checkpoint.name}.stages")


def _keep(checkpoint: Path | None, stages: Sequence[_Stage]) -> None:
    """Write what is finished beside the checkpoint of what is under way."""
    if checkpoint is not None:
        record = [{"net": one.net.state_dict(), "centres": one.centres, "judged": list(one.judged)} for one in stages]
        buffer = io.BytesIO()
        torch.save(record, buffer)
        write_atomically(_beside(checkpoint), buffer.getvalue())


def _resumed(checkpoint: Path | None, channels: int, dividing: Dividing) -> list[_Stage]:
    if checkpoint is None or not _beside(checkpoint).exists():
        return []
    record: list[dict[str, Any]] = torch.load(_beside(checkpoint), weights_only=True)
    return [
        _Stage(_restored(one["net"], channels, dividing, at), one["centres"], tuple(one["judged"]))
        for at, one in enumerate(record, start=1)
    ]


def _restored(state: dict[str, Tensor], channels: int, dividing: Dividing, learners: int) -> SubspaceNet:
    net = SubspaceNet(channels, dividing.dims, learners)
    net.load_state_dict(state)
    return net.eval()


def _under(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(name): value for key, value in state.items() if key.startswith(name)}


def _check(features: Tensor, channels: int) -> None:
    if features.ndim != 4 or len(features) == 0 or features.shape[1] != channels:
        expected = f"[picture {channels or 'channel'} h w], at least one picture"
        raise ShapeError("Features of pictures", got=tuple(features.shape), expected=expected)


def _check_answers(features: Tensor, answers: Sequence[int], labels: Sequence[str] | None = None) -> None:
    if len(features) != len(answers):
        raise RequestError(f"{len(features)} pictures and {len(answers)} answers; expected one each.")
    known = None if labels is None else len(labels)
    if wrong := sorted({one for one in answers if one < 0 or (known is not None and one >= known)}):
        raise RequestError(f"Answer {wrong[0]} has no label: there are {known}, counted from 0.")
