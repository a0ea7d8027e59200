"""The likeness of two pictures shared out among pairs of places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.stories.pairs import pair
from tests.oracles.nets import pictures

SIDE = 6


class Embedding(nn.Module):
    """Convolution and ReLU, one way of pooling, one linear layer."""

    def __init__(self, pooling: str, *, bias: bool = True, bend: bool = False) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        pools: dict[str, nn.Module] = {
            "mean": nn.AdaptiveAvgPool2d(1), "largest": nn.AdaptiveMaxPool2d(1), "flat": nn.Identity(),
        }  # fmt: skip
        self.pool, self.flatten = pools[pooling], nn.Flatten()
        width = 4 * SIDE * SIDE if pooling == "flat" else 4
        self.bend = nn.Tanh() if bend else nn.Identity()
        self.head = nn.Linear(width, 5, bias=bias)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=draw) * 0.4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.bend(self.flatten(self.pool(self.features(inputs)))))


def embedding(pooling: str, *, bias: bool = True, bend: bool = False) -> tuple[pl.VisionModel, Any]:
    net = Embedding(pooling, bias=bias, bend=bend).eval()
    return pl.wrap(net, input_size=(SIDE, SIDE)), net


def one_and_other() -> tuple[Tensor, Tensor]:
    both = pictures(2, SIDE, SIDE, seed=5)
    return both[:1], both[1:]


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "largest", "flat"])
def test_pairs_of_places_and_biases_are_the_whole_likeness(pooling: str, normalised: bool) -> None:
    """Nothing bends after the layer but a maximum, which is linear where it is taken."""
    (model, net), (one, other) = embedding(pooling), one_and_other()
    found = pair(model, one, other, layer="features", normalised=normalised)
    with torch.no_grad():
        first, second = net(one)[0], net(other)[0]
    expected = float(torch.cosine_similarity(first, second, dim=0) if normalised else first @ second)
    assert abs(found.gap) < 1e-5 * max(1, abs(expected))
    assert found.likeness == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_average_pooling_has_a_closed_form() -> None:
    """`D[p, q] = (W A1_p) . (W A2_q) / (n1 n2)`, and biases only in the constant."""
    (model, net), (one, other) = embedding("mean"), one_and_other()
    found = pair(model, one, other, layer="features", normalised=False)
    with torch.no_grad():
        places = [torch.einsum("dc,chw->dhw", net.head.weight, net.features(inputs)[0]) for inputs in (one, other)]
        assert_close(found.values, torch.einsum("dhw,dxy->hwxy", *places) / SIDE**4)
        sums, bias = [held.mean(dim=(1, 2)) for held in places], net.head.bias
        assert found.constant == pytest.approx(float(bias @ (sums[0] + sums[1] + bias)), abs=1e-5)


def test_maximum_pooling_keeps_only_the_place_of_each_channels_maximum() -> None:
    (model, net), (one, other) = embedding("largest", bias=False), one_and_other()
    found = pair(model, one, other, layer="features")
    with torch.no_grad():
        places = net.features(one)[0].flatten(1).argmax(dim=1).unique()
    outside = torch.ones(SIDE * SIDE, dtype=torch.bool)
    outside[places] = False
    assert not found.values.flatten(0, 1)[outside].any()
    assert found.values.any()


def test_exchanging_the_pictures_exchanges_the_places() -> None:
    (model, _), (one, other) = embedding("flat"), one_and_other()
    there, back = pair(model, one, other, layer="features"), pair(model, other, one, layer="features")
    assert_close(there.values, back.values.permute(2, 3, 0, 1))


def test_a_picture_of_one_hot_features_answers_itself_place_by_place() -> None:
    """Each pixel has a channel of its own, so no place is like another."""

    class OneHot(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places, self.pool, self.flatten = nn.Conv2d(3, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            self.places.weight.data = torch.cat([torch.eye(3), -torch.eye(3)[:1]])[:, :, None, None]
            self.rectify = nn.ReLU()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.flatten(self.pool(self.rectify(self.places(inputs))))

    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]])
    picture = colours.T.reshape(1, 3, 2, 2)
    found = pair(OneHot().eval(), picture, picture, layer="rectify")
    assert_close(found.values.reshape(4, 4), torch.eye(4) / 4)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        match = found.match(row, column)
        assert match.found == (row, column) and match.share == pytest.approx(1.0)


def test_what_bends_after_the_layer_is_told() -> None:
    (model, net), (one, other) = embedding("mean", bend=True), one_and_other()
    with torch.no_grad():
        expected = torch.cosine_similarity(net(one), net(other)).item()
    found = pair(model, one, other, layer="features")
    assert abs(found.gap) > 1e-4
    assert found.likeness == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "largest", "flat"])
def test_the_registered_map_is_the_sum_over_the_reference(pooling: str) -> None:
    """Without biases `overall_activation` sums to the cosine, and is `Pair.overall` on the grid."""
    (model, net), (one, other) = embedding(pooling, bias=False), one_and_other()
    heat = pl.attribute(model, one, "overall_activation", target=pl.Similar(other), layer="features")
    found = pair(model, one, other, layer="features")
    assert_close(heat.values[0], found.values.sum(dim=(2, 3)), rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        assert float(heat.values.sum()) == pytest.approx(torch.cosine_similarity(net(one), net(other)).item(), abs=1e-5)


def test_a_point_between_cells_is_the_bilinear_mean_of_theirs() -> None:
    """A picture of 12 pixels on a grid of 6: row 2 has its middle at 2.5 / 2 - 0.5 = 0.75 cells."""
    net = nn.Sequential(nn.AvgPool2d(2), Embedding("mean"))
    both = pictures(2, 2 * SIDE, 2 * SIDE, seed=6)
    found = pair(net.eval(), both[:1], both[1:], layer="1.features")
    rows = 0.25 * found.values[0] + 0.75 * found.values[1]
    expected = (0.25 * rows[0] + 0.75 * rows[1]).clamp(min=0)
    assert_close(found.answers(2, 2), expected)
    assert_close(found.answers(0, 0), found.values[0, 0].clamp(min=0))  # beyond the outermost middle


def test_leaving_out_places_takes_their_part_of_the_likeness() -> None:
    (model, _), (one, other) = embedding("mean"), one_and_other()
    found = pair(model, one, other, layer="features")
    weights = torch.ones(SIDE, SIDE)
    assert found.reweighted(weights) == pytest.approx(found.likeness)
    weights[0] = 0
    assert found.reweighted(weights) == pytest.approx(found.likeness - float(found.values[0].sum()), abs=1e-6)


def test_a_pair_is_read_back_as_it_was_saved_and_draws_itself(tmp_path: Path) -> None:
    (model, _), (one, other) = embedding("mean"), one_and_other()
    found = pair(model, one, other, layer="features").asking(2, 3).asking(1, 1, of=1)
    back = pl.open(found.save(tmp_path / "pair.json"))
    assert back.asked == ((0, 2, 3), (1, 1, 1)) and back.layer == "features"
    assert_close(back.values, found.values, rtol=1e-3, atol=1e-5)
    assert pl.open(back.save(tmp_path / "again.json")) == back
    assert found.save(tmp_path / "pair.png").stat().st_size > 1000
    assert "likeness (cosine)" in found.save(tmp_path / "pair.html").read_text()


def test_what_cannot_be_compared_is_named() -> None:
    (model, _), (one, other) = embedding("mean"), one_and_other()
    with pytest.raises(RequestError, match="one picture; got 2"):
        pair(model, torch.cat([one, other]), other)
    with pytest.raises(MethodUnavailable, match="does not lie on a grid"):
        pair(model, one, other, layer="head")
    with pytest.raises(MethodUnavailable, match="black box"):
        pair(lambda inputs: inputs.flatten(1), one, other)
    with pytest.raises(RequestError, match="there is no pixel"):
        pair(model, one, other).match(SIDE, 0)


def test_two_birds_of_one_species_are_alike_at_the_bird() -> None:
    """On the testbed's net most of the likeness lies on the birds, a small part of both pictures."""
    from pellucid.testbed import scenes

    drawn = scenes(61, 40)
    this = next(at for at in range(1, 40) if drawn.labels[at] == drawn.labels[0])
    inputs = drawn[[0, this]].tensor()
    found = pair("testbed:cnn", inputs[:1], inputs[1:], embedding="flatten")
    assert abs(found.gap) < 1e-5 and found.likeness > 0.6
    for of, at in ((0, 0), (1, this)):
        inside = drawn.objects[at]
        mass = found.overall(of).clip(min=0)
        assert mass[inside].sum() / mass.sum() > 2 * inside.mean()
