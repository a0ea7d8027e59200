"""The edges between filters: one filter's map through the weights by which the next layer reads it, and nothing else.

A chain is a run of convolutions and linear layers of which each reads the channels of the one before it one by one, up
to the answer: what lies between (norms, rectifiers, pooling, depthwise convolutions) keeps every channel to itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call

from pellucid import hooks
from pellucid.engine.evidence import Evidence
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.subject import VisionModel
from pellucid.values import Seed

Pair = tuple[int, int]  # a filter, and the filter of the next layer that reads it
Keep = Mapping[str, Bool[Tensor, "out filter"]]
_TRIES = 2  # random halves of the channels, and their complements
_INSTEAD = ("selected filters (`attribution.filters.fit`)", "ablation_cam")


@dataclass(frozen=True, eq=False)
class Link:
    """A layer that weighs the filters of the layer before it.

    name, before: the two layers; width: how many of its weights' columns belong to one filter, 1 but behind a flatten
    filters, out: how many filters it reads, and how many it has
    """

    name: str
    before: str
    module: nn.Module
    filters: int
    out: int
    width: int

    @property
    def weight(self) -> Tensor:
        found = self.module.weight
        assert isinstance(found, Tensor)
        return found.detach()

    def through(
        self, inputs: Tensor, filters: slice | Sequence[int], rows: slice | Sequence[int], weight: Tensor | None = None
    ) -> Tensor:
        """What `rows` get of these filters, [batch row ...], without bias."""
        columns = self.columns(filters)
        weight = self.weight[rows][:, columns] if weight is None else weight
        given: dict[str, Tensor] = {"weight": weight}
        if "bias" in dict(self.module.named_parameters(recurse=False)):
            given["bias"] = weight.new_zeros(len(weight))
        return functional_call(self.module, given, (inputs[:, columns],))

    def columns(self, filters: slice | Sequence[int]) -> Sequence[int]:
        """The columns of the weights, and channels of the input, that belong to some filters."""
        chosen = range(self.filters)[filters] if isinstance(filters, slice) else filters
        return [at * self.width + step for at in chosen for step in range(self.width)]


def chain(model: VisionModel, inputs: Float[Tensor, "_ channel height width"],
          layers: Sequence[str] | None = None) -> tuple[Link, ...]:  # fmt: skip
    """The links from the first layer of the run to the answer, in order of execution.

    inputs: a picture or two, on which it is tried whether channels pass straight
    layers: from where on, by name and without gaps; None is as far back from the answer as the net can be read

    Raises MethodUnavailable where not even one link can be read, RequestError for layers that are no such run.
    """
    network = _network(model)
    found = {name: network.get_submodule(name) for name in _weighing(model, inputs)}
    names = list(found)
    if layers is not None and (not layers or list(layers) != names[-len(layers) :]):
        raise RequestError(
            f"layers={list(layers)!r}; expected the last of its convolutions and linear layers, without a gap: "
            f"{', '.join(names[-6:])}."
        )
    wanted = names if layers is None else list(layers)
    if not wanted or not _straight(model, inputs, wanted[-1], None, 1):
        raise MethodUnavailable("A causal graph", "its answer is not read off the channels of one layer.", _INSTEAD)
    links: list[Link] = []
    for before, name in zip(reversed(wanted[:-1]), reversed(wanted[1:]), strict=True):
        width = _width(found[before], found[name])
        if not width or not _straight(model, inputs, before, name, width):
            break
        links.insert(0, Link(name, before, found[name], _out(found[before]), _out(found[name]), width))
    if not links or (layers is not None and len(links) < len(layers) - 1):
        stuck = links[0].before if links else wanted[-1]
        reason = f"{stuck!r} does not read the channels of the layer before it one by one: they are mixed in between."
        raise MethodUnavailable("A causal graph", reason, _INSTEAD)
    return tuple(links)


def read(evidence: Evidence, links: Iterable[Link]) -> dict[str, Tensor]:
    """What each link reads, by name, as the net hands it over; one forward, held in memory at once."""
    names, kept = [link.name for link in links], dict[str, Tensor]()

    def keep(name: str, _call: int, _module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        kept[name] = inputs[0].detach().clone()

    _run(evidence.model, evidence.inputs, names, keep)
    evidence.passes.add(forwards=1)
    return kept


def first_order(evidence: Evidence, link: Link, inputs: Tensor) -> Float[Tensor, "out filter"]:
    """By how much the target falls without each edge, mean over the pictures, were the net linear: weight x gradient.

    All edges of a link from one backward (attribution patching).
    """
    arriving = evidence.gradient(link.name).to(link.weight)
    with hooks.going_back(arriving.device):
        weight = link.weight.clone().requires_grad_()
        made = link.through(inputs.clone(), slice(None), slice(None), weight)
        (slope,) = torch.autograd.grad((made * arriving.view_as(made)).sum(), weight)
    shares = (link.weight * slope).flatten(2).sum(dim=2) if slope.ndim > 2 else link.weight * slope
    return shares.unflatten(1, (link.filters, link.width)).sum(dim=2).detach().float().cpu() / len(evidence)


def effects(evidence: Evidence, link: Link, inputs: Tensor, pairs: Sequence[Pair]) -> Float[Tensor, "pair batch"]:
    """By how much the target falls when one edge is cut and every other path stays, for each pair and picture."""
    whole = evidence.activation(link.name)

    def cut() -> Iterator[Tensor]:
        for source, reader in pairs:
            without = whole.clone()
            part = link.through(inputs, [source], [reader]).float()
            without[:, reader] -= part.view_as(without[:, reader])
            yield without

    return _falls(evidence, link, cut())


def filter_effects(
    evidence: Evidence, link: Link, inputs: Tensor, filters: Sequence[int]
) -> Float[Tensor, "filter batch"]:
    """By how much the target falls when all edges from one filter are cut, for each filter and picture."""
    whole = evidence.activation(link.name)
    cut = (whole - link.through(inputs, [at], slice(None)).float().view_as(whole) for at in filters)
    return _falls(evidence, link, cut)


@torch.no_grad()
def answers(
    model: VisionModel, inputs: Float[Tensor, "picture channel height width"], links: Iterable[Link], keep: Keep,
    *, together: int = 64,
) -> Float[Tensor, "picture classes"]:  # fmt: skip
    """The model's outputs when only the edges of `keep` are left; a link that it does not name keeps all of its."""
    table = {link.name: link for link in links if link.name in keep}
    masked = {name: _masked(link, keep[name]) for name, link in table.items()}
    busy = False

    def cut(name: str, _call: int, module: nn.Module, given: tuple[Any, ...], _output: Any) -> Any:
        nonlocal busy
        if busy:
            return None  # this very run, with the weights that are left
        busy = True
        try:
            return functional_call(module, {"weight": masked[name]}, given)
        finally:
            busy = False

    return torch.cat([
        model.outputs.read(_run(model, block, list(table), cut), len(block)).float()
        for block in inputs.split(together)
    ])  # fmt: skip


# -- inside ---------------------------------------------------------------------------------------------------------


def _falls(evidence: Evidence, link: Link, changed: Iterator[Tensor]) -> Float[Tensor, "change batch"]:
    before = evidence.score().cpu()
    found = [before - after.cpu() for after in evidence.tail_scores(link.name, changed)]
    return torch.stack(found) if found else before.new_zeros(0, len(before))


def _masked(link: Link, keep: Bool[Tensor, "out filter"]) -> Tensor:
    weight = link.weight
    wide = keep.to(weight).repeat_interleave(link.width, dim=1)
    return weight * wide.view(*wide.shape, *[1] * (weight.ndim - 2))


def _network(model: VisionModel) -> nn.Module:
    if not model.differentiable or model.network is None:
        raise MethodUnavailable("A causal graph", "it is a black box: it has no filters to look into.", ("occlusion",))
    return model.network


@torch.no_grad()
def _run(model: VisionModel, inputs: Tensor, names: Sequence[str], on_output: hooks.OnOutput) -> Any:
    network = _network(model)
    with hooks.guest(network), hooks.watched(network, names, on_output):
        return model.run(inputs.clone())


def _weighing(model: VisionModel, inputs: Tensor) -> list[str]:
    """The convolutions over all channels and the linear layers over vectors that run once, in order of execution."""
    network = _network(model)
    kinds = {name: module for name, module in network.named_modules() if _weighs(module)}
    seen: list[str] = []

    def note(name: str, _call: int, module: nn.Module, given: tuple[Any, ...], _output: Any) -> None:
        if given and (given[0].ndim == 2 or isinstance(module, nn.Conv2d)):
            seen.append(name)

    _run(model, inputs, list(kinds), note)
    return [name for name in dict.fromkeys(seen) if seen.count(name) == 1]


def _weighs(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def _out(module: nn.Module) -> int:
    assert isinstance(module, nn.Linear | nn.Conv2d)
    return module.out_features if isinstance(module, nn.Linear) else module.out_channels


def _width(before: nn.Module, after: nn.Module) -> int:
    """How many inputs of a layer belong to each filter of the one before; 0 where that is no whole number."""
    assert isinstance(after, nn.Linear | nn.Conv2d)
    count = after.in_features if isinstance(after, nn.Linear) else after.in_channels
    return count // _out(before) if count % _out(before) == 0 else 0


class _Seen(Exception):
    """What was to be read has been read; the rest of the net need not run."""


def _straight(model: VisionModel, inputs: Tensor, before: str, after: str | None, width: int) -> bool:
    """Whether changes of some channels of one layer reach the same channels of what another reads, and no others.

    after: None is the model's answer
    """
    count = _out(_network(model).get_submodule(before))
    as_is = _arriving(model, inputs, before, after, None)
    if as_is is None or as_is.shape[1] != count * width:
        return False
    draw, seen = Seed(0).child("channels", count).generator(), torch.zeros(count, dtype=torch.bool)
    for _ in range(_TRIES):
        half = torch.rand(count, generator=draw) < 0.5
        for changed in (half, ~half):
            found = _arriving(model, inputs, before, after, changed)
            assert found is not None
            moved = (found != as_is).unflatten(1, (count, width)).transpose(0, 1).flatten(1).any(dim=1).cpu()
            if bool((moved & ~changed).any()):
                return False
            seen |= moved
    return bool(seen.any())


def _arriving(
    model: VisionModel, inputs: Tensor, before: str, after: str | None, changed: Bool[Tensor, "channel"] | None
) -> Tensor | None:
    """What a layer reads, [batch channel ...], when some channels of another are turned round and made larger."""
    kept: list[Tensor] = []

    def watch(name: str, _call: int, _module: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
        if name == after:
            kept.append(given[0].detach().clone())
            raise _Seen
        if changed is None:
            return None
        factor = torch.where(changed.to(output.device), -3.0, 1.0).to(output)
        return output * factor.view(1, -1, *[1] * (output.ndim - 2))

    reader = model.outputs  # may run the model once: not while we watch it
    try:
        raw = _run(model, inputs, [before, *([after] if after else [])], watch)
    except _Seen:
        return kept[0]
    return reader.read(raw, len(inputs)) if after is None else None
