"""Causal graphs of filters: a planted path, a linear net in closed form, and cuts done by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import pellucid as pl
from pellucid.attribution.causes import Walk, causes, layer_maps
from pellucid.cli import app
from pellucid.engine import look
from pellucid.engine.edges import answers, chain, effects, filter_effects, first_order, read
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.stories.causes import causal_graph
from pellucid.testbed import planted


def pictures(count: int, side: int = 8, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


class Flat(nn.Module):
    """Two convolutions with norm, rectifier and pooling between, flattened into two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.first, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
            self.second = nn.Conv2d(5, 4, 3, stride=2, bias=False)
            self.hidden, self.head = nn.Linear(4 * 4, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = nn.functional.max_pool2d(torch.relu(self.second(x)), 2, 1)[:, :, :2, :2].flatten(1)
        return self.head(torch.relu(self.hidden(x)))


def test_only_the_planted_path_is_in_the_graph_of_its_class() -> None:
    """Class 0 is 3 times "there is a plume", through one channel a layer; a decoy is correlated with it and louder."""
    net, model = planted.path(), pl.load("testbed:planted_path")
    (path, _), drawn = net.paths, net.stimuli(7, 60)
    shown = net.pictures(drawn)[net.units[0].fires(drawn)]
    graph = causes(model, shown, 0, measure="logit", walk=Walk(candidates=24))
    steps = [name for layer in path.layers for name in graph.layers if name.startswith(layer)]
    channels = dict(zip(steps, path.channels, strict=True))
    assert {name: at for name, at in graph.filters if name in channels} == channels
    assert len(graph.filters) == len(graph.edges) == 4  # and the detector of the plume before them
    assert all(edge.effect == edge.low == edge.estimate == path.gain for edge in graph.edges)
    assert graph.against == graph.harmful == ()


def test_in_a_linear_net_an_edge_is_the_product_of_its_weights_and_the_mean_activation() -> None:
    mixing, head = nn.Conv2d(4, 5, 1), nn.Linear(5, 2)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), mixing, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    model, x = pl.wrap(net.double().float(), input_size=(8, 8)), pictures(6)
    links = chain(model, x[:2])
    assert [(link.before, link.name) for link in links] == [("0", "1"), ("1", "4")]
    evidence = look(model, x, 1)
    inputs, pairs = read(evidence, links), [(at, reader) for at in range(4) for reader in range(5)]
    with torch.no_grad():
        means = net[0](x).mean(dim=(2, 3))  # [picture filter]
        product = head.weight[1][:, None] * mixing.weight[:, :, 0, 0]  # [reader filter]
    found = effects(evidence, links[0], inputs["1"], pairs)
    expected = torch.stack([product[reader, at] * means[:, at] for at, reader in pairs])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(first_order(evidence, links[0], inputs["1"]), product * means.mean(dim=0), atol=1e-5,
                               rtol=1e-4)  # fmt: skip
    alone = filter_effects(evidence, links[0], inputs["1"], [2])
    torch.testing.assert_close(alone[0], product[:, 2].sum() * means[:, 2], atol=1e-5, rtol=1e-4)


def test_cutting_an_edge_is_zeroing_its_slice_of_the_weights_also_behind_a_flatten() -> None:
    net, x = Flat().eval(), pictures(5, 12)
    model = pl.wrap(net, input_size=(12, 12))
    links = chain(model, x[:2])
    assert [(link.name, link.width) for link in links] == [("second", 1), ("hidden", 4), ("head", 1)]
    evidence = look(model, x, 2)
    inputs, before = read(evidence, links), net(x)[:, 2].detach()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    for link in links:
        estimates = first_order(evidence, link, inputs[link.name]).abs()
        pair = (int(estimates.argmax()) % link.filters, int(estimates.argmax()) // link.filters)
        (found,) = effects(evidence, link, inputs[link.name], [pair])
        keep = torch.ones(link.out, link.filters, dtype=torch.bool)
        keep[pair[1], pair[0]] = False
        masked = answers(model, x, links, {link.name: keep})[:, 2]
        with torch.no_grad():
            link.weight[pair[1], pair[0] * link.width : (pair[0] + 1) * link.width] = 0
            expected = before - net(x)[:, 2]
        net.load_state_dict(state)
        assert float(expected.abs().max()) > 1e-4
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(before - masked, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(answers(model, x, links, {}), net(x).detach())


class Wired(nn.Module):
    """Red speaks for class 0 through one filter, blue against it through another; the third is not heard."""

    def __init__(self) -> None:
        super().__init__()
        self.see, self.mix, self.head = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            for layer in (self.see, self.mix):
                layer.weight[range(3), range(3)] = 1.0
            self.head.weight[0] = torch.tensor([2.0, 0.0, -1.0])
            self.head.weight[1] = torch.tensor([0.0, 1.0, 0.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.mix(torch.relu(self.see(x)))).mean((2, 3)))


def test_what_holds_a_class_back_is_told_apart_from_what_causes_it() -> None:
    model, x = pl.wrap(Wired(), input_size=(8, 8)), pictures(12)
    graph = causes(model, x, 0, others=pictures(6, seed=1), measure="logit")
    assert graph.filters.keys() == {("see", 0), ("mix", 0)} and graph.tried == 6
    assert [(edge.source, edge.reader) for edge in graph.against] == [(("mix", 2), ("head", 0))]
    assert {(one.layer, one.channel) for one in graph.harmful} == {("see", 2), ("mix", 2)}
    parts = {one.name: one for one in graph.surgeries}
    assert parts["the graph alone"].recognised == 1.0 and parts["without the graph"].recognised == 0.0
    assert parts["without the harmful filters"].recognised >= parts["the whole model"].recognised


def test_the_map_of_a_layer_is_its_filters_weighted_by_their_effects() -> None:
    model, x = pl.wrap(Wired(), input_size=(8, 8)), pictures(12)
    graph = causes(model, x, 0, measure="logit")
    maps = layer_maps(look(model, x, 0), graph)
    assert maps.shape == (2, 12, 8, 8) and graph.layers == ("see", "mix", "head")
    torch.testing.assert_close(maps[0], graph.filters["see", 0] * x[:, 0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("measure", ["loss", "probability", "log_odds"])
def test_measures_are_read_off_the_same_cuts(measure: str) -> None:
    model, x = pl.wrap(Wired(), input_size=(8, 8)), pictures(8)
    (edge, *_) = [one for one in causes(model, x, 0, measure=measure).edges if one.source == ("mix", 0)]
    keep = torch.ones(2, 3, dtype=torch.bool)
    keep[0, 0] = False
    links = chain(model, x[:2])
    chances = [answers(model, x[:4], links, cut).softmax(dim=1)[:, 0] for cut in ({}, {"head": keep})]
    read_as = {"loss": torch.log, "probability": lambda p: p, "log_odds": torch.logit}[measure]
    expected = float((read_as(chances[0]) - read_as(chances[1])).mean())
    assert edge.effect == pytest.approx(expected, rel=1e-3) and edge.low <= edge.effect <= edge.high


class Mixed(nn.Module):
    """A norm over all channels stands before the head, so that no channel passes alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.GroupNorm(1, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


def test_what_cannot_be_followed_is_refused_in_words() -> None:
    x = pictures(6)
    with pytest.raises(MethodUnavailable, match="mixed in between"):
        causes(pl.wrap(Mixed(), input_size=(8, 8)), x, 0)
    with pytest.raises(MethodUnavailable, match="black box"):
        causes(pl.wrap(lambda x: x.mean((2, 3)), input_size=(8, 8)), x, 0)
    model = pl.wrap(Wired(), input_size=(8, 8))
    with pytest.raises(RequestError, match="without a gap"):
        causes(model, x, 0, layers=["see", "head"])
    with pytest.raises(RequestError, match="log_odds"):
        causes(model, x, 0, measure="odds")
    with pytest.raises(RequestError, match="4 or more"):
        causes(model, x[:3], 0)
    with pytest.raises(RequestError, match="nodes=0"):
        Walk(nodes=0)
    assert [link.name for link in chain(model, x, ["mix", "head"])] == ["head"]


def test_a_graph_is_saved_in_every_form_and_read_back(tmp_path: Path) -> None:
    graph = causal_graph(pl.wrap(Wired(), input_size=(8, 8)), pictures(8), 0)
    assert pl.open(graph.save(tmp_path / "graph.json")) == graph
    for name in ("graph.png", "graph.html", "graph.txt"):
        assert graph.save(tmp_path / name).stat().st_size > 300
    text = (tmp_path / "graph.txt").read_text()
    assert "see 0 | mix 0" in text and graph.sentence in text


def test_the_command_draws_its_own_scenes(tmp_path: Path) -> None:
    words = ["causes", "--class", "0", "--nodes", "2", "--candidates", "6", "--count", "8", "--layers",
             "features.5.0,head", "--out", str(tmp_path / "causes.png"), "--json"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["class"] == "ripple swift" and told["filters"] == 2 and len(told["edges"]) == 2
    assert told["surgeries"][0]["recognised"] == 1.0 and (tmp_path / "causes.png").stat().st_size > 1000
