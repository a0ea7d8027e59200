"""Where a translator reads a vision model, and what it reads there: vectors, one per slot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pellucid import hooks
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.subject import VisionModel
from pellucid.subject.layers import LayerTree, first_tensor, to_grid
from pellucid.values import Layer, Seed

KINDS = ("penultimate", "evidence", "class_token", "layer", "layers")
MOST_LAYERS = 4
_COLOURS = 3


@dataclass(frozen=True)
class Port:
    """What of the vision model is put into words.

    kind:   `penultimate`: what the last linear layer reads, pooled (the default of TExplain)
            `evidence`: the same times the weights of one class, so that words tell what speaks for that class
            `class_token`: the class token of the named layer, or of the last block
            `layer`: any one layer, averaged over its grid
            `layers`: several layers at once, a slot for each (DeViL)
    layers: their names; empty is the model's own choice, which `settled` puts in
    """

    kind: str = "penultimate"
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RequestError(f"There is no port {self.kind!r}. Known: {', '.join(KINDS)}.")
        if self.kind != "layers" and len(self.layers) > 1:
            raise RequestError(f"The port {self.kind} reads one layer; {len(self.layers)} are named. Use `layers`.")

    @property
    def slots(self) -> int:
        return len(self.layers)

    @property
    def spatial(self) -> bool:
        """Whether it can be asked about one place of the picture."""
        return self.kind in ("layer", "layers")

    def settled(self, model: VisionModel) -> Port:
        """The same with its layers by name. Raises UnknownLayer, MethodUnavailable where the model has none such."""
        tree = model.layers
        if self.layers:
            for name in self.layers:
                _check(tree[name], self.kind)
            return self
        chosen = {
            "penultimate": lambda: (head_of(model),), "evidence": lambda: (head_of(model),),
            "class_token": lambda: (_last_with_class_token(tree),),
            "layer": lambda: (tree.chosen("translate").name,), "layers": lambda: _stages(tree),
        }[self.kind]()  # fmt: skip
        return Port(self.kind, chosen)

    def __str__(self) -> str:
        what = {
            "penultimate": "what {} reads, pooled", "evidence": "what {} reads, times the weights of one class",
            "class_token": "the class token of {}", "layer": "{}, pooled", "layers": "{}",
        }[self.kind]  # fmt: skip
        return what.format(", ".join(self.layers) or "the layer that the model chooses")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Port:
        return cls(str(record["kind"]), tuple(record["layers"]))


@dataclass(frozen=True, eq=False)
class Features:
    """What was read of pictures, once, for all that learns from it.

    slots: per slot [picture draw channel]; draws are means over random places, one draw where nothing is dropped
    """

    slots: tuple[Float[Tensor, "picture draw channel"], ...]

    def __len__(self) -> int:
        return len(self.slots[0])

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(int(slot.shape[2]) for slot in self.slots)

    @property
    def whole(self) -> list[Float[Tensor, "picture channel"]]:
        """One vector per slot for every picture, the mean over all its places."""
        return [slot[:, 0] for slot in self.slots]

    def picked(self, rows: Sequence[int] | Tensor, draws: Tensor | None = None) -> list[Float[Tensor, "row channel"]]:
        """One vector per slot for these pictures; the draw 0, which is the whole picture, unless others are named."""
        at = torch.as_tensor(rows, dtype=torch.long)
        which = torch.zeros_like(at) if draws is None else draws
        return [slot[at, which % slot.shape[1]] for slot in self.slots]

    def __getitem__(self, rows: slice | Sequence[int]) -> Features:
        return Features(tuple(slot[rows] for slot in self.slots))


def read(
    model: VisionModel, port: Port, inputs: Float[Tensor, "picture channel height width"], *, draws: int = 0,
    keep: float = 0.5, target: int | None = None, seed: Seed | None = None, batch: int = 64,
) -> Features:  # fmt: skip
    """The vectors of these pictures: draw 0 is the mean over all places, others the mean over a random choice of them.

    port:   settled
    draws:  how many random choices beside it; each place is in one with chance `keep` (DeViL's feature dropout)
    target: of the port `evidence`, the class whose evidence is meant; None is each picture's answer
    """
    generator = (seed or Seed()).child("feature dropout").generator()
    found: list[list[Tensor]] = [[] for _ in port.layers]
    for grids in grids_of(model, port, inputs, target=target, batch=batch):
        for slot, grid in zip(found, grids, strict=True):
            slot.append(_drawn(grid, draws, keep, generator))
    return Features(tuple(torch.cat(slot) for slot in found))


def grids_of(
    model: VisionModel, port: Port, inputs: Float[Tensor, "picture channel height width"], *,
    target: int | None = None, batch: int = 64,
) -> Iterator[list[Float[Tensor, "picture channel h w"]]]:  # fmt: skip
    """What each slot holds, batch by batch; vectors are grids of one cell."""
    for block in inputs.split(batch):
        kept, answers = _kept(model, port, model.check_input(block))
        yield [_as_grid(model, port, name, kept[name], answers, target) for name in port.layers]


def head_of(model: VisionModel) -> str:
    """The last linear layer, by whose classes the model answers. Raises MethodUnavailable where there is none."""
    tree, classes = model.layers, len(model.labels)
    linear = [name for name, layer in tree.items() if layer.module == "Linear" and layer.channels == classes]
    if not linear:
        raise MethodUnavailable(
            "The port penultimate", "its answers come from no linear layer.", ("the port layer", "the port layers")
        )
    return linear[-1]


def _kept(model: VisionModel, port: Port, inputs: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    assert model.network is not None
    kept: dict[str, Tensor] = {}
    reads_input = port.kind in ("penultimate", "evidence")

    def keep(name: str, call: int, _module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        value = first_tensor(given if reads_input else output)
        if value is not None:
            kept[name] = kept[f"{name}#{call}"] = value.detach()

    names = {name.split("#")[0] for name in port.layers}
    outputs, size = model.outputs, (int(inputs.shape[-2]), int(inputs.shape[-1]))
    with hooks.guest(model.network), torch.no_grad(), hooks.watched(model.network, names, keep):
        raw = model.guarded(size, lambda: model.run(inputs))
        answers = outputs.read(raw, len(inputs)).detach()
    return kept, answers


def _as_grid(
    model: VisionModel, port: Port, name: str, value: Tensor, answers: Tensor, target: int | None
) -> Float[Tensor, "picture channel h w"]:
    if port.kind == "class_token":
        tokens = value.transpose(0, 1) if model.layers[name].order == "tbc" else value
        return tokens[:, 0, :, None, None].float()
    if port.kind in ("layer", "layers"):
        return to_grid(value, model.layers[name]).float()
    vector = value.flatten(2).mean(dim=2) if value.ndim > 2 else value
    if port.kind == "evidence":
        assert model.network is not None
        weight = model.network.get_submodule(name).get_parameter("weight").detach()
        chosen = answers.argmax(dim=1) if target is None else torch.full((len(vector),), target, device=vector.device)
        vector = vector * weight[chosen]
    return vector.float()[:, :, None, None]


def _drawn(grid: Tensor, draws: int, keep: float, generator: torch.Generator) -> Float[Tensor, "picture draw channel"]:
    cells = grid.flatten(2).cpu()
    whole = cells.mean(dim=2)[:, None]
    if draws == 0:
        return whole
    if cells.shape[2] == 1:
        return whole.expand(-1, 1 + draws, -1)
    chosen = random_places(len(cells), draws, cells.shape[2], keep, generator).to(cells.dtype)
    means = torch.einsum("pcs,pds->pdc", cells, chosen) / chosen.sum(dim=2, keepdim=True)
    return torch.cat([whole, means], dim=1)


def random_places(
    pictures: int, draws: int, places: int, keep: float, generator: torch.Generator
) -> Bool[Tensor, "picture draw place"]:
    """Each place with chance `keep`; where none was drawn, one."""
    chosen = torch.rand(pictures, draws, places, generator=generator) < keep
    one = torch.randint(places, (pictures, draws), generator=generator)
    return chosen | (~chosen.any(dim=2, keepdim=True) & nn.functional.one_hot(one, places).bool())


def _check(layer: Layer, kind: str) -> None:
    if kind == "class_token" and not (layer.kind == "tokens" and layer.prefix_tokens):
        raise MethodUnavailable("The port class_token", f"{layer.name} has no class token.", ("the port layer",))
    if kind in ("layer", "layers") and layer.kind not in ("map", "tokens", "vector"):
        raise MethodUnavailable(
            f"The port {kind}", f"{layer.name} holds neither places nor a vector.", ("another layer",)
        )
    if kind in ("penultimate", "evidence") and layer.module != "Linear":
        raise MethodUnavailable(f"The port {kind}", f"{layer.name} is no linear layer.", ("the port layer",))


def _last_with_class_token(tree: LayerTree) -> str:
    held = [layer.name for layer in tree.grid_layers if layer.kind == "tokens" and layer.prefix_tokens]
    inner = [name for name in held if name in tree.blocks] or held
    if not inner:
        raise MethodUnavailable("The port class_token", "it has no class token.", ("the port penultimate",))
    return inner[-1]


def _stages(tree: LayerTree) -> tuple[str, ...]:
    """Up to four layers, evenly spaced: blocks of a transformer, else the last layer of each resolution and width."""
    names = list(tree.blocks)
    if not names:
        grids = [layer for layer in tree.grid_layers if layer.channels > _COLOURS]
        names = list({(layer.grid, layer.channels): layer.name for layer in grids}.values())
    if not names:
        raise MethodUnavailable("The port layers", "it has no layers on a grid.", ("the port penultimate",))
    step = max(1, len(names) // MOST_LAYERS)
    return tuple(reversed(names[::-1][::step][:MOST_LAYERS]))
