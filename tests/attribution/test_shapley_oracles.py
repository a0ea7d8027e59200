"""Shapley and Owen values: games that can be worked out on paper, orders that can be counted out, and Captum."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from captum import attr
from torch import Tensor
from torch.testing import assert_close

from pellucid.attribution.shapley import shapley_values
from pellucid.errors import RequestError
from pellucid.registry import find_method
from tests.oracles.asking import ask, evidence_of, relative, values_of
from tests.oracles.nets import LinearPicture, Pixels, Twin, pictures
from tests.oracles.test_games import LARGER, LEFT, QUARTERS, halves, quarter_means

STRIPES = torch.arange(5).repeat_interleave(2)[None, :].expand(4, -1)
WEIGHTS = torch.rand(2**5, generator=torch.Generator().manual_seed(3))


def game(inputs: Tensor) -> Tensor:
    """Every coalition of five stripes has a worth of its own."""
    present = torch.stack([inputs[:, 0, 0, 2 * stripe] > 0.5 for stripe in range(5)], dim=1).long()
    return WEIGHTS[(present * 2 ** torch.arange(5)).sum(dim=1)]


def shares(values: Tensor, numbers: Tensor) -> Tensor:
    return torch.stack([values[:, numbers == one].sum(dim=1) for one in range(int(numbers.max()) + 1)], dim=1)


def worth(shown: tuple[int, ...]) -> float:
    return float(WEIGHTS[sum(2**stripe for stripe in shown)])


def average_over(orders: list[tuple[int, ...]]) -> Tensor:
    """What each stripe adds when it joins, averaged over orders of joining."""
    added = torch.zeros(5)
    for order in orders:
        for place, stripe in enumerate(order):
            added[stripe] += worth(order[: place + 1]) - worth(order[:place])
    return added / len(orders)


def consistent(tree: object) -> list[tuple[int, ...]]:
    """Every order in which each group of the tree, once begun, is completed first."""
    if isinstance(tree, int):
        return [(tree,)]
    one, other = map(consistent, tree)
    return [first + second for parts in ((one, other), (other, one)) for first in parts[0] for second in parts[1]]


def test_exact_shapley_values_of_and_or_and_the_larger_of_two() -> None:
    whole = torch.ones(1, 3, 4, 6)
    for network in (
        Pixels(lambda inputs: quarter_means(inputs).prod(dim=1)),
        Pixels(lambda inputs: 1 - (1 - quarter_means(inputs)).prod(dim=1)),
    ):
        found = ask("exact_shapley", network, whole, 0, segments=QUARTERS, baseline="zero")
        assert_close(shares(found, QUARTERS), torch.full((1, 4), 0.25))
    inputs = torch.zeros(1, 3, 4, 6)
    inputs[0, 0, 1, 1], inputs[0, 0, 2, 4] = 5.0, 3.0
    found = ask("exact_shapley", LARGER, inputs, 0, segments=LEFT, baseline="zero")
    assert_close(shares(found, LEFT), torch.tensor([[3.5, 1.5]]))


def test_exact_shapley_values_are_averages_over_all_120_orders_of_joining() -> None:
    found = ask("exact_shapley", Pixels(game), torch.ones(1, 3, 4, 10), 0, segments=STRIPES, baseline="zero")
    expected = average_over(list(itertools.permutations(range(5))))
    assert_close(shares(found, STRIPES)[0], expected, atol=1e-6, rtol=1e-5)


def test_owen_values_are_averages_over_the_orders_that_complete_each_half_first() -> None:
    """Five stripes from left to right fall into ((0 1) 2) and (3 4): 2 to the fourth orders out of 120."""
    orders = consistent((((0, 1), 2), (3, 4)))
    assert len(orders) == 16
    found = ask("owen", Pixels(game), torch.ones(1, 3, 4, 10), 0, segments=STRIPES, baseline="zero")
    assert_close(shares(found, STRIPES)[0], average_over(orders), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["exact_shapley", "owen"])
def test_where_effects_add_up_each_segment_has_its_own(name: str) -> None:
    network, inputs = LinearPicture(4, 10), pictures(3, 4, 10)
    found = ask(name, network, inputs, 2, segments=STRIPES, baseline="zero")
    expected = shares((network.weight[2] * inputs).sum(dim=1).detach(), STRIPES)
    assert_close(shares(found, STRIPES), expected, atol=1e-4, rtol=1e-4)


def test_owen_values_of_two_segments_are_shapley_values() -> None:
    inputs = pictures(2, 4, 6)
    network = Pixels(lambda x: halves(x)[0] * halves(x)[1] + halves(x)[0])
    found = [ask(name, network, inputs, 0, segments=LEFT, baseline="zero") for name in ("owen", "exact_shapley")]
    assert_close(*found)


def test_exact_shapley_values_equal_captums() -> None:
    network, inputs = Twin("module"), pictures(2, 16, 20)
    numbers = (torch.arange(20) // 4)[None, :].expand(16, -1).contiguous()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = attr.ShapleyValues(network).attribute(inputs, target=2, feature_mask=numbers[None, None])
    size = numbers.flatten().bincount()[numbers]
    ours = ask("exact_shapley", network, inputs, 2, segments=numbers, baseline="zero")
    assert relative(ours, theirs[:, 0].detach() / size) < 1e-4


def test_shapley_values_of_a_weighted_majority() -> None:
    """Votes 2, 1, 1 with 3 needed: the large one is decisive in 4 of 6 orders, the small ones in one each."""
    votes = [sum(vote for player, vote in enumerate((2, 1, 1)) if number >> player & 1) for number in range(8)]
    worths = torch.tensor([float(sum_ >= 3) for sum_ in votes], dtype=torch.float64)
    assert_close(shapley_values(worths), torch.tensor([4, 1, 1]).double() / 6)


@pytest.mark.parametrize(("name", "passes"), [("exact_shapley", 2**6 - 1), ("owen", 1 + 2 + 4 * 2 + 8 * 2)])
def test_the_coalitions_are_as_many_as_declared_and_the_promise_holds(name: str, passes: int) -> None:
    """Six halves: 2 for the picture's, 8 for the two threes' and 16 for the two pairs in them."""
    evidence = evidence_of(Twin("module"), pictures(2, 37, 53))
    values = values_of(name, evidence, segments=6)
    method = find_method(name)
    assert method.passes(segments=6) == passes == evidence.passes.cost - 1
    assert all(check.passed for check in method.promise(evidence, values, {}))
    assert all(len(one.unique()) == 6 for one in values)


def test_more_players_than_can_be_counted_out_are_refused() -> None:
    with pytest.raises(RequestError, match="13 segments"):
        ask("exact_shapley", Twin("module"), pictures(1, 16, 16), segments=13)
