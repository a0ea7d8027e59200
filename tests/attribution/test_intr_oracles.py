"""INTR: class queries, whose scores and maps have to be those of their class alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.attribution.fitted import Explainer, fit, unfitted
from pellucid.attribution.intr import IntrNet, looks, positions, without
from pellucid.engine import look
from pellucid.errors import RequestError
from pellucid.registry import Learning
from pellucid.subject import VisionModel
from tests.oracles.asking import values_of

SIDE, CLASSES = 32, 3
COLOURS = torch.eye(3)


def colour_reader() -> VisionModel:
    """Names the colour of which there is most; a layer of its 8 x 8 cells says how much of each there is."""
    network = nn.Sequential()
    network.add_module("cells", nn.Conv2d(3, 6, 4, stride=4))
    network.add_module("mean", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    network.add_module("head", nn.Linear(6, CLASSES, bias=False))
    with torch.no_grad():
        both = torch.cat([COLOURS, -COLOURS]) / 16
        network.cells.weight.copy_(both[:, :, None, None].expand(-1, -1, 4, 4))
        network.cells.bias.zero_()
        network.head.weight.copy_(torch.cat([COLOURS, torch.zeros(3, 3)], dim=1) * 64)
    return pl.wrap(network.eval(), input_size=(SIDE, SIDE))


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Faint noise with one coloured cell; and which of the 64 it is."""
    draw = torch.Generator().manual_seed(seed)
    shown = 0.1 * torch.randn(count, 3, SIDE, SIDE, generator=draw)
    places = torch.randint(64, (count,), generator=draw)
    for at, place in enumerate(places.tolist()):
        row, column = 4 * (place // 8), 4 * (place % 8)
        shown[at, :, row : row + 4, column : column + 4] += COLOURS[at % CLASSES, :, None, None]
    return shown, places


@pytest.fixture(scope="module")
def fitted() -> tuple[VisionModel, Explainer]:
    model = colour_reader()
    learning = Learning(updates=250, learning_rate=3e-3, batch=32, held_out=0.0)
    return model, fit("intr", model, scenes(300, 0)[0], learning=learning, width=16, heads=2, encoders=0, decoders=1)


def small() -> tuple[IntrNet, Tensor]:
    net = unfitted("intr", colour_reader(), (SIDE, SIDE), width=16, heads=2).net
    assert isinstance(net, IntrNet)
    return net, torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(3))


def test_queries_in_another_order_give_scores_and_maps_in_that_order() -> None:
    net, seen = small()
    scores, maps = net(seen)
    turned = copy.deepcopy(net)
    turned.queries.data = net.queries.data[[2, 0, 1]]
    others, other_maps = turned(seen)
    torch.testing.assert_close(others, scores[:, [2, 0, 1]])
    torch.testing.assert_close(other_maps, maps[:, :, [2, 0, 1]])


def test_every_map_of_every_head_sums_to_one_and_leaves_out_what_is_hidden() -> None:
    net, seen = small()
    hidden = torch.zeros(2, 8, 8, dtype=torch.bool)
    hidden[:, :3] = True
    for closed in (None, hidden):
        maps = net(seen, closed)[1].detach()
        torch.testing.assert_close(maps.sum(dim=(-2, -1)), torch.ones(2, 2, CLASSES))
    assert float(maps[:, :, :, :3].abs().max()) == 0


def test_every_place_of_a_grid_has_a_code_of_its_own() -> None:
    codes = positions((5, 7), 16)
    assert codes.shape == (35, 16)
    assert float((torch.cdist(codes, codes) + 10 * torch.eye(35)).min()) > 0.1


def test_each_class_looks_at_the_patch_that_makes_it(fitted: tuple[VisionModel, Explainer]) -> None:
    model, explainer = fitted
    inputs, places = scenes(48, 1)
    evidence = look(model, inputs)
    heat = values_of("intr", evidence, explainer=explainer)
    assert float((heat.flatten(1).argmax(dim=1) == places).double().mean()) > 0.95
    assert any("in 48 of 48" in note for note in evidence.notes)


def test_the_score_hangs_on_what_the_query_looks_at(fitted: tuple[VisionModel, Explainer]) -> None:
    """Nothing but the patch is needed; without it the class is no longer told from the others."""
    model, explainer = fitted
    evidence = look(model, scenes(48, 1)[0])
    whole, removed, alone = without(evidence, explainer, share=4 / 64)
    gap = whole - removed
    assert float(gap.min()) > 0
    assert float((alone - whole).abs().max()) < 0.2 * float(gap.mean())


def test_classes_are_shown_side_by_side(fitted: tuple[VisionModel, Explainer]) -> None:
    model, explainer = fitted
    evidence = look(model, scenes(2, 1)[0])
    every, two = looks(evidence, explainer), looks(evidence, explainer, classes=[2, 0])
    assert every.classes == (0, 1, 2) and two.classes == (2, 0)
    torch.testing.assert_close(two.maps, every.maps[:, :, [2, 0]])
    torch.testing.assert_close(two.scores, every.scores[:, [2, 0]])
    asked = values_of("intr", look(model, scenes(2, 1)[0], 2), explainer=explainer)
    torch.testing.assert_close(asked, two.maps[:, :, 0].mean(dim=1))
    second = values_of("intr", look(model, scenes(2, 1)[0], 2), explainer=explainer, heads=[1])
    torch.testing.assert_close(second, two.maps[:, 1, 0])


@pytest.mark.parametrize("settings", [{"width": 6}, {"width": 16, "heads": 3}, {"decoders": 0}])
def test_what_no_net_can_be_like_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(RequestError, match="multiple of 4"):
        unfitted("intr", colour_reader(), (SIDE, SIDE), **settings)
