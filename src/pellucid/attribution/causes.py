"""Which filters, through which paths, cause a model to say a class: edges between filters are cut, one at a time.

Path interventions on a net seen as a causal model (Ahmad et al. 2023): `do` cuts what one filter hands to one filter of
the next layer and leaves all its other paths. Candidates come from a first-order estimate, every effect that is told
was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.compute.bootstrap import interval
from pellucid.engine import Evidence, look
from pellucid.engine.edges import Link, answers, chain, effects, filter_effects, first_order, read
from pellucid.errors import RequestError
from pellucid.results.causes import CausalGraph, Edge, FilterEffect, Surgery
from pellucid.subject import VisionModel
from pellucid.values import Activation, Call, Class, Gradient, Seed, Tail, Target

MEASURES = ("log_odds", "loss", "probability", "logit")
_RANDOM = 5  # graphs drawn as controls


@dataclass(frozen=True)
class Walk:
    """How the graph is looked for.

    nodes:      filters of each layer that it may have at most
    candidates: edges into each layer that are cut, those with the largest estimates
    filters:    filters of each layer that are cut, those that are estimated to harm most
    """

    nodes: int = 12
    candidates: int = 128
    filters: int = 8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < (name != "filters"):
                raise RequestError(f"{name}={value}; expected a whole number, {int(name != 'filters')} or more.")


def causes(
    model: VisionModel, pictures: Float[Tensor, "picture channel height width"], of: int | str, *,
    others: Float[Tensor, "other channel height width"] | None = None, layers: Sequence[str] | None = None,
    measure: str = "log_odds", walk: Walk | None = None, seed: int = 0, memory: float | None = None,
) -> CausalGraph:  # fmt: skip
    """The filters and paths that cause a class, found in half of its pictures and tried on the other half.

    pictures: model input of that class, 4 at least; others: of other classes, to see what a graph takes for it wrongly
    of:       the class; layers: see `engine.edges.chain`
    measure:  whose fall an effect is: `log_odds` of the class, `probability`, `logit`, or `loss`, whose rise it is

    From the answer backwards, layer by layer, the edges into the filters that are in the graph already are ranked by
    weight times gradient; the first `candidates` are cut, one at a time. Those whose effect lies above 0 with 95 %
    (bootstrap over pictures) stay, of at most `nodes` filters of the layer.

    Raises MethodUnavailable where the net's channels cannot be followed, RequestError, TargetError.
    """
    walk = walk or Walk()
    index, target = _asked(model, of, measure)
    ours = model.check_input(pictures)
    if len(ours) < 4:
        raise RequestError(f"{len(ours)} pictures; expected 4 or more: half of them find the graph, half try it.")
    found, held = ours[: (len(ours) + 1) // 2], ours[(len(ours) + 1) // 2 :]
    links = chain(model, ours[:1], layers)
    names = [link.name for link in links]
    evidence = look(model, found, target, needs=[Activation, Gradient, Tail], layers=names, seed=seed, memory=memory)
    edges, against, harmful, tried = _walked(evidence, links, index, walk, seed)
    own = None if others is None else model.check_input(others)
    trial = _Trial(model, links, index, held, own, Seed(seed))
    used = {edge.source[0] for edge in edges}
    return CausalGraph(
        model.labels[index], index, (*(link.before for link in links if link.before in used), names[-1]), measure,
        edges, against, harmful, trial.surgeries(edges, harmful), (len(found), len(held)), tried, model.card,
        notes=tuple(evidence.notes),
    )  # fmt: skip


def layer_maps(
    evidence: Evidence, graph: CausalGraph, layers: Sequence[str] | None = None
) -> Float[Tensor, "layer batch height width"]:
    """For each layer of a graph its filters' maps as the next layer reads them, times their effects, summed.

    In units of the graph's measure times those of the maps; negative where a filter is.
    layers: as the graph was found with
    """
    links = {link.before: link for link in chain(evidence.model, evidence.inputs[:1], layers)}
    wanted = [links[name] for name in graph.layers[:-1]]
    inputs, maps = read(evidence, wanted), list[Tensor]()
    for link in wanted:
        values = _spatial(evidence, link, inputs[link.name])
        total = values.new_zeros(values[:, 0].shape)
        for (layer, channel), effect in graph.filters.items():
            total += effect * values[:, channel] if layer == link.before else 0
        maps.append(interpolate(total[:, None], evidence.size, mode="bilinear", align_corners=False)[:, 0].cpu())
    return torch.stack(maps) if maps else torch.zeros(0, len(evidence), *evidence.size)


# -- inside ---------------------------------------------------------------------------------------------------------


def _asked(model: VisionModel, of: int | str, measure: str) -> tuple[int, Target]:
    """The class's number, and what falls when its causes are cut."""
    (target,) = model.resolve(of, 1)
    if not isinstance(target, Class):
        raise RequestError(f"A causal graph is of a class; {of!r} is none.")
    index = int(target.index)
    if measure not in MEASURES:
        raise RequestError(f"measure={measure!r}; expected one of {', '.join(MEASURES)}.")
    if measure == "logit":
        return index, target
    squash = {"softmax": _log_softmax, "sigmoid": torch.nn.functional.logsigmoid}.get(model.activation)
    if squash is None:
        raise RequestError(f"measure={measure!r} needs a model whose outputs are logits; take measure='logit'.")
    one = lambda logits: squash(logits)[:, index]
    read_as: dict[str, Any] = {
        "loss": one, "probability": lambda logits: one(logits).exp(),
        "log_odds": lambda logits: _log_odds(logits, index) if squash is _log_softmax else logits[:, index],
    }  # fmt: skip
    return index, Call(read_as[measure], name=measure)


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.log_softmax(dim=1)


def _log_odds(logits: Tensor, index: int) -> Tensor:
    """log p / (1 - p), which tells apart answers that are all sure."""
    rest = [at for at in range(logits.shape[1]) if at != index]
    return logits[:, index] - logits[:, rest].logsumexp(dim=1)


def _walked(
    evidence: Evidence, links: Sequence[Link], index: int, walk: Walk, seed: int
) -> tuple[tuple[Edge, ...], tuple[Edge, ...], tuple[FilterEffect, ...], int]:
    """The edges of the graph, those against the class, the harmful filters, and how many edges were cut."""
    inputs = read(evidence, links)
    readers, tried = [index], 0
    edges, against, harmful = list[Edge](), list[Edge](), list[FilterEffect]()
    for link in reversed(links):
        estimates = first_order(evidence, link, inputs[link.name])
        harmful += _harmful(evidence, link, inputs[link.name], estimates, walk.filters, seed)
        cut = _cut(evidence, link, inputs[link.name], estimates, readers, walk.candidates, seed)
        tried += len(cut)
        against += [edge for edge in cut if edge.high < 0]
        kept = [edge for edge in cut if edge.low > 0]
        readers = _strongest(kept, walk.nodes)
        edges += sorted((edge for edge in kept if edge.source[1] in readers), key=lambda edge: -edge.effect)
    return tuple(edges), tuple(against), tuple(sorted(harmful, key=lambda one: one.effect)), tried


def _cut(
    evidence: Evidence, link: Link, inputs: Tensor, estimates: Float[Tensor, "out filter"], readers: Sequence[int],
    candidates: int, seed: int,
) -> list[Edge]:  # fmt: skip
    """The edges into `readers` with the largest estimates of either sign, each with what cutting it does."""
    if not readers:
        return []
    sizes = estimates[list(readers)].abs().flatten()
    chosen = sizes.argsort(descending=True, stable=True)[:candidates].tolist()
    pairs = [(at % link.filters, readers[at // link.filters]) for at in chosen]
    measured = effects(evidence, link, inputs, pairs).double().numpy()
    found: list[Edge] = []
    for (source, reader), values in zip(pairs, measured, strict=True):
        sure, estimate = interval(values, seed), float(estimates[reader, source])
        found.append(Edge((link.before, source), (link.name, reader), sure.mean, sure.low, sure.high, estimate))
    return found


def _strongest(edges: Sequence[Edge], most: int) -> list[int]:
    """The filters whose edges have the largest effects in sum."""
    sums: dict[int, float] = {}
    for edge in edges:
        sums[edge.source[1]] = sums.get(edge.source[1], 0.0) + edge.effect
    return sorted(sums, key=lambda source: -sums[source])[:most]


def _harmful(
    evidence: Evidence, link: Link, inputs: Tensor, estimates: Float[Tensor, "out filter"], most: int, seed: int
) -> list[FilterEffect]:
    """Of the filters estimated to harm most, those without which the measure surely rises."""
    total = estimates.sum(dim=0)
    worst = [at for at in total.argsort(stable=True)[:most].tolist() if total[at] < 0]
    found: list[FilterEffect] = []
    for channel, values in zip(worst, filter_effects(evidence, link, inputs, worst).double().numpy(), strict=True):
        sure = interval(values, seed)
        if sure.high < 0:
            found.append(FilterEffect(link.before, channel, sure.mean, sure.low, sure.high))
    return found


def _spatial(evidence: Evidence, link: Link, inputs: Tensor) -> Float[Tensor, "batch channel h w"]:
    """What a link reads, on a grid; where it reads a pooled vector, the last layer with those channels that is one."""
    if inputs.ndim == 4:
        return inputs.float()
    end = evidence.layers[link.name].index
    grids = [layer for layer in evidence.layers.grid_layers if layer.index < end and layer.channels == link.filters]
    return evidence.activation(grids[-1] if grids else link.before)


@dataclass(frozen=True, eq=False)
class _Trial:
    """The pictures that were kept apart, and the model under the knife."""

    model: VisionModel
    links: Sequence[Link]
    index: int
    own: Float[Tensor, "picture channel height width"]
    others: Float[Tensor, "other channel height width"] | None
    seed: Seed

    def surgeries(self, edges: Sequence[Edge], harmful: Sequence[FilterEffect]) -> tuple[Surgery, ...]:
        graph = self._masks([(edge.reader[0], edge.source[1], edge.reader[1]) for edge in edges])
        rows = [self._surgery("the whole model", {})]
        if edges:
            controls = [self._like(graph, at) for at in range(_RANDOM)]
            rows += [
                self._surgery("the graph alone", self._alone(graph)),
                _mean("a random graph of its size alone", [self._surgery("", self._alone(one)) for one in controls]),
                self._surgery("without the graph", {name: ~mask for name, mask in graph.items()}),
                _mean("without a random graph of its size", [
                    self._surgery("", {name: ~mask for name, mask in one.items()}) for one in controls
                ]),
            ]  # fmt: skip
        if harmful:
            rows.append(self._surgery("without the harmful filters", self._pruned(harmful)))
        return tuple(rows)

    def _masks(self, edges: Sequence[tuple[str, int, int]]) -> dict[str, Bool[Tensor, "out filter"]]:
        """Which edges of each link are of the graph."""
        masks = {link.name: torch.zeros(link.out, link.filters, dtype=torch.bool) for link in self.links}
        for name, source, reader in edges:
            masks[name][reader, source] = True
        return masks

    def _alone(self, graph: Mapping[str, Tensor]) -> dict[str, Bool[Tensor, "out filter"]]:
        """Only the graph; the other classes may read its last filters too, or the class would win by default.

        Layers before the first one with an edge stay whole: the graph says nothing of them.
        """
        last = self.links[-1].name
        kept: dict[str, Tensor] = {}
        for link in reversed(self.links):
            if not bool(graph[link.name].any()):
                break
            kept[link.name] = graph[link.name].clone()
        if last in kept:
            kept[last] |= graph[last].any(dim=0)
        return kept

    def _pruned(self, harmful: Sequence[FilterEffect]) -> dict[str, Bool[Tensor, "out filter"]]:
        reads = {link.before: link for link in self.links}
        kept = {reads[one.layer].name: torch.ones(reads[one.layer].out, reads[one.layer].filters, dtype=torch.bool)
                for one in harmful}  # fmt: skip
        for one in harmful:
            kept[reads[one.layer].name][:, one.channel] = False
        return kept

    def _like(self, graph: Mapping[str, Tensor], number: int) -> dict[str, Bool[Tensor, "out filter"]]:
        """As many filters of each layer, and as many edges between them, but drawn."""
        draw = self.seed.child("random graph", number).generator()
        readers, drawn = torch.tensor([self.index]), dict[str, Tensor]()
        for link in reversed(self.links):
            mask = graph[link.name]
            sources = torch.randperm(link.filters, generator=draw)[: int(mask.any(dim=0).sum())]
            places = torch.cartesian_prod(readers, sources).view(-1, 2)
            chosen = places[torch.randperm(len(places), generator=draw)[: int(mask.sum())]]
            drawn[link.name] = torch.zeros_like(mask)
            drawn[link.name][chosen[:, 0], chosen[:, 1]] = True
            readers = sources
        return drawn

    def _surgery(self, name: str, keep: Mapping[str, Bool[Tensor, "out filter"]]) -> Surgery:
        def share(pictures: Tensor | None) -> float:
            if pictures is None or not len(pictures):
                return float("nan")
            said = answers(self.model, pictures, self.links, keep).argmax(dim=1)
            return float((said == self.index).double().mean())

        return Surgery(name, share(self.own), share(self.others))


def _mean(name: str, rows: Sequence[Surgery]) -> Surgery:
    each = {side: sum(getattr(row, side) for row in rows) / len(rows) for side in ("recognised", "others")}
    return Surgery(name, **each)
