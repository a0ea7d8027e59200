"""Learners of the ways in which pictures are alike: dynamic subspaces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.attribution.subspaces import Dividing, Learning, SubspaceExplainer, fit
from pellucid.compute.early import Early
from pellucid.compute.subspaces import APART, SubspaceNet, divided_loss, margin_loss, negatives
from pellucid.errors import FileError, RequestError, ShapeError
from pellucid.images import Frame
from pellucid.images.masks import dice
from pellucid.results.subspaces import Subspaces
from pellucid.stories.subspaces import grids, subspaces

GRID = 6
LABELS = ("red", "green", "blue", "disc", "square", "star")
DIVIDING = Dividing(dims=16)
QUICK = Learning(steps=60, every=10, patience=2)


@dataclass(frozen=True)
class Planted:
    """Features of pictures with a thing in clutter; on a light ground its colour is the class, on a dark its shape.

    Which factor counts depends on the ground, so one space would have to hold both; two hold one each.
    """

    features: Tensor
    answers: list[int]
    dark: Tensor
    colour: list[int]
    shape: list[int]
    things: Tensor


def planted(count: int, seed: int) -> Planted:
    """Channels: three colours, three shapes, light, dark, and what any thing has."""
    draw = torch.Generator().manual_seed(seed)
    dark, colour, shape = (torch.randint(top, (count,), generator=draw) for top in (2, 3, 3))
    features = 0.15 * torch.randn(count, 9, GRID, GRID, generator=draw).abs()
    things = torch.zeros(count, GRID, GRID, dtype=torch.bool)
    for at in range(count):
        row, column = torch.randint(GRID - 2, (2,), generator=draw).tolist()
        things[at, row : row + 2, column : column + 2] = True
        for cell in torch.randint(GRID, (6, 2), generator=draw).tolist():
            if not things[at, cell[0], cell[1]]:
                wrong = torch.randint(3, (2,), generator=draw) + torch.tensor([0, 3])
                features[at, wrong, cell[0], cell[1]] += 1
        for channel in (int(colour[at]), 3 + int(shape[at]), 8):
            features[at, channel][things[at]] += 1
        features[at, 6 + int(dark[at])] += 0.5
    answers = torch.where(dark == 1, 3 + shape, colour)
    return Planted(features, answers.tolist(), dark, colour.tolist(), shape.tolist(), things)


@cache
def fitted(learners: int = 8) -> SubspaceExplainer:
    seen, learning = planted(200, 11), Learning(steps=500, every=20, patience=4)
    dividing = Dividing(dims=16, most=learners)
    return fit(seen.features, seen.answers, LABELS, dividing=dividing, learning=learning, seed=2)


def frames(count: int) -> list[Frame]:
    return [Frame(np.full((12, 12, 3), 6 * at, np.uint8), f"picture {at}") for at in range(count)]


def test_two_factors_get_two_learners_and_each_knows_one_of_them() -> None:
    """Subspaces have all of one factor and nothing of the other, on pictures that nobody learned from."""
    fresh, explainer = planted(200, 101), fitted()
    assert explainer.learners == 2
    groups = explainer.groups(fresh.features)
    of_colour = int(groups[fresh.dark == 0].mode().values)
    assert ((groups == of_colour) == (fresh.dark == 0)).float().mean() > 0.97
    colour = explainer.information(fresh.features, fresh.colour)
    shape = explainer.information(fresh.features, fresh.shape)
    assert colour[of_colour] > 0.9 and shape[1 - of_colour] > 0.9
    assert colour[1 - of_colour] < 0.1 and shape[of_colour] < 0.1
    assert min(explainer.purity(fresh.features, fresh.answers)) > 0.95
    constant = explainer.information(fresh.features, fresh.dark.tolist())
    assert all(math.isnan(one) or one < 0.5 for one in constant)  # what divided the groups is no news within them


def test_one_learner_alone_knows_neither_factor_and_tells_likeness_worse() -> None:
    alone, fresh = fitted(1), planted(200, 101)
    assert alone.learners == 1 and alone.divider is None
    assert min(fitted().judged[1]) < 0.5 * min(alone.judged[0])
    assert max(alone.information(fresh.features, factor)[0] for factor in (fresh.colour, fresh.shape)) < 0.5
    assert fitted().judged[0] == alone.judged[0]


def test_a_learner_that_helps_too_little_is_not_kept() -> None:
    seen = planted(80, 16)
    explainer = fit(seen.features, seen.answers, LABELS, dividing=Dividing(dims=8, gain=1.0), learning=QUICK)
    assert explainer.learners == 1 and len(explainer.judged) == 2 and explainer.divider is None


def test_one_factor_gets_one_learner() -> None:
    seen = planted(120, 12)
    explainer = fit(seen.features, seen.colour, LABELS[:3], dividing=DIVIDING, learning=Learning(steps=300, patience=4))
    assert explainer.learners == 1


def test_attention_cut_at_otsus_threshold_finds_the_things() -> None:
    fresh, explainer = planted(60, 102), fitted()
    whole = [Frame(np.zeros((GRID, GRID, 3), np.uint8), str(at)) for at in range(60)]
    read = explainer.read(fresh.features, fresh.features, fresh.answers, frames=whole)
    found = [read.dice(thing.numpy(), at) for at, thing in enumerate(fresh.things)]
    everything = [dice(np.ones((GRID, GRID), bool), thing.numpy()) for thing in fresh.things]
    assert np.mean(found) > 0.6 > 2 * np.mean(everything)


def test_neighbours_in_a_learners_own_group_are_of_the_class() -> None:
    seen, fresh, explainer = planted(200, 11), planted(40, 103), fitted()
    read = explainer.read(fresh.features, seen.features, seen.answers, frames=frames(40), nearest=3)
    near = [seen.answers[int(read.neighbours[at, read.groups[at], 0])] for at in range(40)]
    assert np.mean(np.array(near) == np.array(fresh.answers)) > 0.95
    assert max(read.votes(0), key=read.votes(0).__getitem__) == LABELS[fresh.answers[0]]
    parts = explainer.parts(fresh.features)[1][0], explainer.parts(seen.features)[1]
    assert read.neighbours[0, 1, 0] == int((parts[1] - parts[0]).norm(dim=1).argmin())


def net_of(learners: int, dims: int = 7) -> SubspaceNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return SubspaceNet(9, dims, learners).eval()


def test_a_learner_is_an_attended_mean_and_a_share_of_one_linear_layer() -> None:
    net, features = net_of(2), planted(3, 5).features
    net.scale.copy_(torch.linspace(1, 2, 9))
    scaled = features / torch.linspace(1, 2, 9)[:, None, None]
    bias = net.attend.bias
    assert bias is not None
    for at, rows in enumerate((slice(0, 4), slice(4, 7))):
        where = (torch.einsum("c,bchw->bhw", net.attend.weight[at, :, 0, 0], scaled) + bias[at]).sigmoid()
        mean = (where[:, None] * scaled).mean(dim=(2, 3))
        expected = torch.nn.functional.normalize(mean @ net.embed.weight[rows].T + net.embed.bias[rows], dim=1)
        assert_close(net.look(features).maps[:, at], where)
        assert_close(net.look(features).parts[at], expected)
    assert_close(net(features).norm(dim=1), torch.ones(3))


def test_a_learner_more_takes_its_share_of_the_same_embedding() -> None:
    net = net_of(1, dims=8)
    grown = net.grown()
    features = planted(4, 6).features
    whole = net.look(features).parts[0]
    for at, part in enumerate(grown.look(features).parts):
        share = whole[:, 4 * at : 4 * at + 4]
        assert_close(part, share / share.norm(dim=1, keepdim=True))
    assert grown.grown().learners == 3 and len(grown.grown().boundary) == 3


def on_circle(*degrees: float) -> Tensor:
    turned = torch.tensor([math.radians(one) for one in degrees])
    return torch.stack([turned.cos(), turned.sin()], dim=1)


def test_the_margin_loss_is_the_mean_of_the_pairs_that_miss_it() -> None:
    """Points a turn t apart on the circle have distance 2 sin(t / 2)."""
    points, labels = on_circle(0, 90, 100), torch.tensor([0, 0, 1])
    draw = torch.Generator().manual_seed(0)
    alike, near = math.sqrt(2), 2 * math.sin(math.radians(5))
    far = 2 * math.sin(math.radians(50))  # what the first draws; the third draws either of the others
    found = margin_loss(points, labels, torch.tensor(1.2), 0.2, draw)
    costs = [alike - 1.2 + 0.2, max(0, 1.2 - far + 0.2), 1.2 - near + 0.2]
    expected = [sum((*costs, third)) / sum(one > 0 for one in (*costs, third)) for third in (costs[1], costs[2])]
    assert min(abs(float(found) - one) for one in expected) < 1e-4
    apart = margin_loss(on_circle(0, 1, 180), labels, torch.tensor(1.2), 0.2, draw)
    assert apart == 0


def test_negatives_are_drawn_against_the_density_of_their_distance() -> None:
    """On the sphere in 4 dimensions the density of the distance d is d^2 sqrt(1 - d^2 / 4), that of 0.5 below it."""
    apart = torch.tensor([0.0, 0.3, 0.6, 1.2, 1.9]).expand(20000, 5)
    alike = torch.tensor([True, False, False, False, False]).expand(20000, 5)
    drawn = negatives(apart, alike, 4, torch.Generator().manual_seed(1)).bincount(minlength=5) / 20000
    weights = [1 / (d**2 * math.sqrt(1 - d**2 / 4)) for d in (0.5, 0.6, 1.2)]
    expected = torch.tensor([0.0, *(one / sum(weights) for one in weights), 0.0])  # 1.9 is too far to teach
    assert_close(drawn, expected, atol=0.015, rtol=0)
    one_class = negatives(apart[:2, :2], torch.ones(2, 2, dtype=torch.bool), 4, torch.Generator())
    assert one_class.tolist() == [-1, -1]
    far = torch.tensor([[0.0, 1.9], [1.9, 0.0]])
    assert negatives(far, torch.eye(2, dtype=torch.bool), 4, torch.Generator()).tolist() == [1, 0]


def test_cutting_a_class_in_two_costs_and_parting_two_classes_does_not() -> None:
    labels, boundaries = torch.tensor([0, 0, 1, 1]), torch.full((2,), 1.2)
    parts = on_circle(0, 0, 0, 0), on_circle(0, 0, 0, 0)
    by_class = divided_loss(parts, labels, torch.tensor([0, 0, 1, 1]), boundaries, 0.2)
    across = divided_loss(parts, labels, torch.tensor([0, 1, 0, 1]), boundaries, 0.2)
    assert by_class == 0
    # pairs of a class are APART; of the pairs of others half lie at 0, the other half APART
    assert float(across) == pytest.approx((APART - 1.0) + 1.4 / 2, abs=2e-3)


def test_fitted_learners_come_back_from_disk(tmp_path: Path) -> None:
    explainer, fresh = fitted(), planted(10, 104)
    again = SubspaceExplainer.load(explainer.save(tmp_path / "learners.safetensors"))
    assert all(map(torch.equal, again.parts(fresh.features), explainer.parts(fresh.features)))
    assert torch.equal(again.groups(fresh.features), explainer.groups(fresh.features))
    assert (again.judged, again.labels, again.dividing) == (explainer.judged, explainer.labels, explainer.dividing)


@pytest.mark.parametrize("at", [3, 9])
def test_a_fit_that_was_broken_off_goes_on_to_the_same_bits(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken in the first stage and in the second."""
    seen = planted(80, 13)
    dividing, learning = Dividing(dims=8, most=2, gain=0.0), Learning(steps=60, every=10, patience=9)
    whole = fit(seen.features, seen.answers, LABELS, dividing=dividing, learning=learning)
    judged, asked = Early.stops, 0

    def broken(self: Early, step: int, net: torch.nn.Module) -> bool:
        nonlocal asked
        asked += 1
        if asked == 10 * at + 25:
            raise KeyboardInterrupt
        return judged(self, step, net)

    monkeypatch.setattr(Early, "stops", broken)
    kept = tmp_path / "progress"
    with pytest.raises(KeyboardInterrupt):
        fit(seen.features, seen.answers, LABELS, dividing=dividing, learning=learning, checkpoint=kept)
    assert list(tmp_path.iterdir())
    again = fit(seen.features, seen.answers, LABELS, dividing=dividing, learning=learning, checkpoint=kept)
    assert again.judged == whole.judged and not list(tmp_path.iterdir())
    weights = zip(whole.net.state_dict().values(), again.net.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


def test_a_reading_is_drawn_saved_and_opened(tmp_path: Path) -> None:
    seen, explainer = planted(30, 14), fitted()
    read = explainer.read(
        seen.features[:2], seen.features, seen.answers, frames=frames(2), known_frames=frames(30), nearest=2
    )
    assert isinstance(read, Subspaces) and pl.open(read.save(tmp_path / "read.json")) == read
    assert "Nearest in each subspace" in read.save(tmp_path / "read.html").read_text()
    assert read.save(tmp_path / "read.png").stat().st_size > 1000
    assert read.on_frame(1, 0).shape == (12, 12) and read.mask(1).any()
    with pytest.raises(RequestError, match="there are 2"):
        read.on_frame(0, 2)
    with pytest.raises(RequestError, match="there are 2"):
        read.mask(5)


def test_a_models_layer_is_fitted_and_read() -> None:
    drawn = pl.testbed.scenes(4300, 12)
    features = grids("testbed:cnn", drawn.tensor(), layer="features.4")
    explainer = fit(features, [at % 2 for at in range(12)], ("a", "b"), dividing=DIVIDING, learning=QUICK)
    read = subspaces(explainer, "testbed:cnn", drawn.tensor()[:2], drawn.tensor(), [at % 2 for at in range(12)],
                     layer="features.4", nearest=1)  # fmt: skip
    assert read.neighbours[:, 0, 0].tolist() == [0, 1] and read.distances.max() < 0.01
    assert read.on_frame(0).shape == tuple(drawn.tensor().shape[2:])


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    seen, explainer = planted(8, 15), SubspaceExplainer(net_of(1), LABELS)
    with pytest.raises(ShapeError, match="picture 9 h w"):
        explainer.maps(seen.features[:, :5])
    with pytest.raises(ShapeError, match="one per picture"):
        explainer.read(seen.features, seen.features, seen.answers, frames=frames(2))
    with pytest.raises(RequestError, match="nearest=9"):
        explainer.read(seen.features, seen.features, seen.answers, frames=frames(8), nearest=9)
    with pytest.raises(RequestError, match="expected one each"):
        fit(seen.features, [0], LABELS)
    with pytest.raises(RequestError, match="Answer 7 has no label"):
        fit(seen.features, [7] * 8, LABELS)
    with pytest.raises(RequestError, match="of 1 classes"):
        fit(seen.features, [0] * 8, LABELS)
    with pytest.raises(RequestError, match="every=90"):
        fit(seen.features, [0, 1] * 4, LABELS, learning=Learning(steps=60, every=90))
    (tmp_path / "other").write_bytes(b"nothing of the kind")
    with pytest.raises(FileError, match="cannot be read"):
        SubspaceExplainer.load(tmp_path / "other")
