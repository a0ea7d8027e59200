"""From which block on, and at which tokens, a transformer's own head can tell the class, and what has put it there.

Everything inside is read through the model's last norm and head, as if the head read that one token. Vilas,
Schaumlöffel, Roig, Analyzing Vision Transformers for Image Classification in Class Embedding Space, NeurIPS 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid import hooks
from pellucid.canvas.words import listed
from pellucid.compute.bootstrap import holm
from pellucid.errors import ModelError, ShapeError
from pellucid.language.class_tokens import TokenHead
from pellucid.language.pursuit import shuffled_numbers
from pellucid.language.residual import grid_of, picture_tower, writing
from pellucid.language.towers import Tower, read_tower
from pellucid.results import Beside
from pellucid.subject import VisionModel
from pellucid.values import Seed

_SAME: Mapping[torch.dtype, float] = {torch.float64: 1e-9, torch.float32: 1e-4}
_SAME_IN_HALVES = 2e-2
_KEYS, _VALUES = 5, 5  # the most active keys of a token, and the values most like a class
_SHUFFLES = 300
_OTHERS = 8  # classes beside a picture's own, at most

Said = Float[Tensor, "picture token classes"]


@dataclass(frozen=True)
class Part:
    """What the attention or the MLP of one block does for the pictures' own classes; shares are of tokens, 0 to 1.

    raises:   where the class's logit rises when the part's output is added
    first:    where the class that the part's own output puts first is first after it too
    composed: where the class that is first after it is neither that of the part nor the one that was first before
    value:    cosine of a class's direction with the value most like it, mean over classes
    shuffled: the same with the numbers of every value in another order
    p:        chance of values as like as these by that shuffling, corrected for all parts (Wilcoxon, one-sided)
    keyed:    tokens among whose five most active keys is one of the five whose values are most like the class
    keyed_otherwise: the same for other classes
    """

    raises: float
    first: float
    composed: float
    value: float
    shuffled: float
    p: float
    keyed: float
    keyed_otherwise: float


@dataclass(frozen=True)
class BlockInClasses:
    """How well the picture's class can be told after one block, 1 where it comes first, about a half by chance.

    read:      at the class token; NaN where there is none
    patches:   at the patches
    inside, beside: at patches on the object and at the others; NaN where no objects are marked
    p:         chance of a gap as large with objects put anywhere, corrected for all blocks; NaN without objects
    otherwise, shuffled: at the class token, or at the patches where there is none: how well other classes can be told,
               and this one where the numbers of each token stand in another order
    """

    block: int
    read: float
    patches: float
    inside: float
    beside: float
    p: float
    otherwise: float
    shuffled: float
    attention: Part
    mlp: Part

    @property
    def controls(self) -> Beside:
        """What the head reads there, beside what it would read without cause."""
        own = self.patches if self.read != self.read else self.read
        others = {"of other classes": self.otherwise, "with shuffled tokens": self.shuffled}
        return Beside(f"How well the class can be told after block {self.block}", own, others, unit="of 1")


@dataclass(frozen=True)
class ClassSpace:
    """A transformer in the space of its classes, block by block.

    pictures: how many it was read on; classes: how many the head tells
    error:    how far the tower read here is from what the model answers, in parts of the largest answer
    """

    model: str
    pictures: int
    classes: int
    error: float
    blocks: tuple[BlockInClasses, ...]

    @property
    def chance(self) -> float:
        """The mean over all classes of 1 - rank / classes."""
        return (self.classes + 1) / (2 * self.classes)

    @property
    def beats_controls(self) -> bool:
        """Whether the class can be told after the last block; before it, it need not be."""
        return self.blocks[-1].controls.beats

    def to_dict(self) -> dict[str, Any]:
        beside = [block.controls.to_dict() for block in self.blocks]
        return {**asdict(self), "chance": self.chance, "beside": beside, "beats_controls": self.beats_controls}

    def __str__(self) -> str:
        lead = (
            f"{self.model}, {self.pictures} pictures, {self.classes} classes. How well the class can be told after "
            f"each block: 1 where it comes first, {self.chance:.2f} by chance."
        )
        unread = [str(block.block) for block in self.blocks[:-1] if not block.controls.beats]
        early = [f"After block {listed(unread)} it is no better than its controls."] if unread else []
        told = (line for block in self.blocks for line in _told(block))
        return "\n".join([lead, *told, str(self.blocks[-1].controls), *early])


def class_space(
    model: VisionModel, inputs: Float[Tensor, "picture 3 height width"], labels: Int64[Tensor, "picture"], *,
    objects: Bool[Tensor, "picture height width"] | None = None, batch: int = 16, seed: Seed | int = 0,
) -> ClassSpace:  # fmt: skip
    """What each block, its attention and its MLP do for the classes of these pictures.

    labels:  the class of each picture
    objects: where the object is; a patch belongs to it where at least half of it does

    Raises TowerUnsupported for towers of unknown kinds, ModelError where what is read here is not what the model
    answers, ShapeError where labels or objects belong to other pictures.
    """
    if labels.shape != inputs.shape[:1]:
        raise ShapeError("labels", got=tuple(labels.shape), expected=f"one number for each of {len(inputs)} pictures")
    if objects is not None and objects.shape != (len(inputs), *inputs.shape[2:]):
        raise ShapeError("objects", got=tuple(objects.shape), expected=f"a mask for each of {len(inputs)} pictures")
    network, seed = picture_tower(model), seed if isinstance(seed, Seed) else Seed(seed)
    with hooks.guest(network), torch.no_grad():
        space = _Space(model, read_tower(network), labels.to(model.device))
        found = [space.read(some, at, seed) for at, some in _batches(inputs.to(model.device, model.dtype), batch)]
        values = space.values(seed)
    whole = [{name: torch.cat([one[place][name] for one in found]) for name in entry}
             for place, entry in enumerate(found[0])]  # fmt: skip
    error = max(float(entry["error"].max()) for entry in whole)
    if error > _SAME.get(model.dtype, _SAME_IN_HALVES):
        raise ModelError(
            f"{model.name} read block by block answers otherwise than as a whole (relative error {error:.1e}): its "
            f"blocks do more than their attention, MLP and norms say."
        )
    gaps = [_gap(entry["patches"], objects, seed) for entry in whole]
    corrected = holm({place: gap[2] for place, gap in enumerate(gaps) if gap[2] == gap[2]})
    blocks = tuple(
        BlockInClasses(
            place, float(entry["read"].mean()), float(entry["patches"].mean()), gap[0], gap[1],
            corrected.get(place, float("nan")), float(entry["otherwise"].mean()), float(entry["shuffled"].mean()),
            _part("attention", entry, values[place, "attention"]), _part("mlp", entry, values[place, "mlp"]),
        )
        for place, (entry, gap) in enumerate(zip(whole, gaps, strict=True))
    )  # fmt: skip
    return ClassSpace(model.spec or model.name, len(inputs), space.classes, error, blocks)


# -- reading --------------------------------------------------------------------------------------------------------


class _Space:
    """A tower, its head and the pictures' classes."""

    def __init__(self, model: VisionModel, tower: Tower, labels: Int64[Tensor, "picture"]) -> None:
        self.model, self.tower, self.labels, self.says = model, tower, labels, TokenHead(model, tower.readout)
        directions = functional.normalize(self.says.directions, dim=1)
        self.classes = len(directions)
        self.likes = [
            {name: directions @ functional.normalize(values, dim=0) for name, values in _columns(block)}
            for block in tower.blocks
        ]  # of each class and each value of a part [classes key]
        self.directions = directions

    def read(self, pictures: Tensor, at: slice, seed: Seed) -> list[dict[str, Tensor]]:
        """For every block, figures by picture [picture ...]."""
        labels, prefix, found = self.labels[at], self.tower.prefix, list[dict[str, Tensor]]()
        stream = self.tower.begin(pictures)
        first = self.says(stream)
        generator = seed.child("shuffled tokens", at.start).generator()
        for one, likes in zip(writing(self.tower, stream), self.likes, strict=True):
            entry: dict[str, Tensor] = {}
            middle = stream + one.attention
            for name, before, added, keys in (
                ("attention", stream, one.attention, one.mixed),
                ("mlp", middle, one.mlp, one.block.mlp.keys(middle)),
            ):
                after = self.says(before + added)
                entry |= _changes(name, first, self.says(added), after, labels)
                entry |= _keyed(name, keys, likes[name], labels)
                first = after
            stream = middle + one.mlp
            ranks = _identified(first, labels)
            entry["patches"] = ranks[:, prefix:]
            class_token = self.says.reads(1 + prefix)[0]
            entry["read"] = ranks[:, 0] if class_token else torch.full_like(ranks[:, 0], torch.nan)
            where = slice(1) if class_token else slice(prefix, None)
            mixed = shuffled_numbers(stream[:, where].flatten(0, 1), generator).view_as(stream[:, where])
            entry["shuffled"] = _identified(self.says(mixed), labels)
            entry["otherwise"] = self._otherwise(first[:, where], labels)
            found.append(entry)
        answer = self.model.network
        assert isinstance(answer, nn.Module)
        said, own = self.says.whole(stream).float(), self.model.outputs.read(answer(pictures), len(pictures))
        found[-1]["error"] = (said - own).abs().amax(dim=1) / own.abs().amax(dim=1).clamp(min=1e-12)
        for entry in found[:-1]:
            entry["error"] = torch.zeros(len(pictures))
        return found

    def _otherwise(self, said: Said, labels: Int64[Tensor, "picture"]) -> Float[Tensor, "picture token"]:
        """As `_identified`, of other classes: the mean over up to eight of them."""
        others = [_identified(said, (labels + step) % self.classes) for step in _steps(self.classes)]
        return torch.stack(others).mean(dim=0) if others else torch.full_like(said[..., 0], torch.nan)

    def values(self, seed: Seed) -> dict[tuple[int, str], tuple[float, float, float]]:
        """Of every part the cosine of classes with their best values, the shuffled one, and the corrected p value."""
        from scipy.stats import wilcoxon

        compared: Any = wilcoxon  # scipy declares too little of what it gives
        best: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}
        for place, block in enumerate(self.tower.blocks):
            for name, values in _columns(block):
                generator = seed.child("values", place, name).generator()
                mixed = functional.normalize(shuffled_numbers(values.T, generator), dim=1).T
                own, chance = self.likes[place][name].amax(dim=1), (self.directions @ mixed).amax(dim=1)
                best[place, name] = own.double().cpu(), chance.double().cpu()
        p_values = {
            key: float(compared(own, chance, alternative="greater").pvalue) if bool((own != chance).any()) else 1.0
            for key, (own, chance) in best.items()
        }
        corrected = holm(p_values)
        return {key: (float(own.mean()), float(chance.mean()), corrected[key]) for key, (own, chance) in best.items()}


def _columns(block: Any) -> Iterator[tuple[str, Float[Tensor, "width key"]]]:
    yield "attention", block.out
    yield "mlp", block.mlp.values


def _identified(said: Said, labels: Int64[Tensor, "picture"]) -> Float[Tensor, "picture token"]:
    """1 - rank / classes; of classes with the same logit half count as better."""
    own = _of_class(said, labels)[..., None]
    better = (said > own).sum(dim=-1) + ((said == own).sum(dim=-1) - 1) / 2
    return 1 - better / said.shape[-1]


def _of_class(said: Said, labels: Int64[Tensor, "picture"]) -> Float[Tensor, "picture token"]:
    return said.gather(2, labels[:, None, None].expand(-1, said.shape[1], 1))[..., 0]


def _changes(name: str, before: Said, added: Said, after: Said, labels: Int64[Tensor, "picture"]) -> dict[str, Tensor]:
    leads = [said.argmax(dim=-1) for said in (before, added, after)]
    shares = {
        "raises": _of_class(after, labels) > _of_class(before, labels),
        "first": leads[2] == leads[1],
        "composed": (leads[2] != leads[1]) & (leads[2] != leads[0]),
    }
    return {f"{name} {which}": share.double().mean(dim=1) for which, share in shares.items()}


def _keyed(
    name: str, keys: Float[Tensor, "picture token key"], likes: Float[Tensor, "classes key"],
    labels: Int64[Tensor, "picture"],
) -> dict[str, Tensor]:  # fmt: skip
    """Whether the most active keys are those of the class's values; and of other classes' values."""
    classes = len(likes)
    active = torch.zeros_like(keys, dtype=torch.bool)
    active.scatter_(2, keys.topk(min(_KEYS, keys.shape[2]), dim=2).indices, True)
    meant = torch.zeros_like(likes, dtype=torch.bool)
    meant.scatter_(1, likes.topk(min(_VALUES, likes.shape[1]), dim=1).indices, True)
    hit = lambda of: (active & meant[of][:, None]).any(dim=2).double().mean(dim=1)
    others = [hit((labels + step) % classes) for step in _steps(classes)]
    otherwise = torch.stack(others).mean(dim=0) if others else torch.full((len(keys),), torch.nan)
    return {f"{name} keyed": hit(labels), f"{name} keyed_otherwise": otherwise}


def _steps(classes: int) -> range:
    return range(1, min(_OTHERS, classes - 1) + 1)


def _part(name: str, entry: Mapping[str, Tensor], values: tuple[float, float, float]) -> Part:
    shares = {which: float(entry[f"{name} {which}"].mean()) for which in ("raises", "first", "composed")}
    keyed = {which: float(entry[f"{name} {which}"].mean()) for which in ("keyed", "keyed_otherwise")}
    return Part(**shares, value=values[0], shuffled=values[1], p=values[2], **keyed)


def _gap(
    ranks: Float[Tensor, "picture token"], objects: Bool[Tensor, "picture height width"] | None, seed: Seed
) -> tuple[float, float, float]:
    """The mean on objects and beside them, and how often shuffled tokens give a gap as large."""
    if objects is None:
        return float("nan"), float("nan"), float("nan")
    cells = functional.adaptive_avg_pool2d(objects[:, None].double(), grid_of(objects, ranks.shape[1]))
    inside = cells.flatten(1).cpu() >= 0.5
    values, generator = ranks.double().cpu(), seed.child("objects").generator()
    gap = lambda held: float(held[inside].mean() - held[~inside].mean())
    drawn = [
        gap(values.gather(1, torch.rand(values.shape, generator=generator).argsort(dim=1))) for _ in range(_SHUFFLES)
    ]
    own = gap(values)
    p = (1 + sum(abs(one) >= abs(own) for one in drawn)) / (1 + _SHUFFLES)
    return float(values[inside].mean()), float(values[~inside].mean()), p


def _batches(inputs: Tensor, batch: int) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(inputs), batch):
        yield slice(start, min(start + batch, len(inputs))), inputs[start : start + batch]


# -- telling --------------------------------------------------------------------------------------------------------


def _told(block: BlockInClasses) -> Sequence[str]:
    read = "" if block.read != block.read else f"class token {block.read:.2f}, "
    objects = "" if block.inside != block.inside else (
        f" ({block.inside:.2f} on the object, {block.beside:.2f} beside it, p {block.p:.2g})"
    )  # fmt: skip
    lines = [f"Block {block.block}: {read}patches {block.patches:.2f}{objects}."]
    for name, part in (("attention", block.attention), ("MLP", block.mlp)):
        lines.append(
            f"  Its {name} raises the class at {part.raises:.0%} of tokens and puts its own class first at "
            f"{part.first:.0%}; values are like classes by {part.value:.2f} (shuffled {part.shuffled:.2f}, p "
            f"{part.p:.2g}); keys of the class are active at {part.keyed:.0%} (of others {part.keyed_otherwise:.0%})."
        )
    return lines
