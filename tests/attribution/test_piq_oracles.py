"""PIQ: what its code words can and cannot say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pellucid as pl
from pellucid.attribution.fitted import unfitted
from pellucid.attribution.piq import PiqNet, interpret, straight_through
from pellucid.engine import look
from pellucid.errors import RequestError
from tests.oracles.asking import values_of
from tests.oracles.nets import Twin, pictures

SIZE = (20, 28)


def net(**settings: int) -> PiqNet:
    model = pl.wrap(Twin("module"), input_size=SIZE)
    made = unfitted("piq", model, SIZE, **settings).net
    assert isinstance(made, PiqNet)
    return made


def grids(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 12, 5, 7, generator=torch.Generator().manual_seed(seed))


def test_only_words_of_the_class_are_used_and_they_are_the_nearest_of_them() -> None:
    made, classes = net(codes=5), [0, 3, 3, 1]
    said = made(grids(4), classes)
    for at, index in enumerate(classes):
        assert bool(((said.words[at] >= 5 * index) & (said.words[at] < 5 * index + 5)).all())
        away = (said.latents[at][None] - made.book[index][..., None, None]).square().sum(dim=1)
        assert torch.equal(away.argmin(dim=0) + 5 * index, said.words[at])


def test_rounding_lets_the_gradient_through_as_it_is() -> None:
    latents, codes = grids(2).requires_grad_(), grids(2, seed=1).requires_grad_()
    weights = grids(2, seed=2)
    rounded = straight_through(latents, codes)
    assert torch.equal(rounded, codes)
    (weights * rounded).sum().backward()
    assert torch.equal(latents.grad, weights) and codes.grad is None


def test_with_one_word_to_a_class_every_picture_of_it_is_said_the_same() -> None:
    made = net(codes=1)
    first, second, other = (made(grids(1, seed), [index]) for seed, index in ((0, 2), (1, 2), (0, 1)))
    assert torch.equal(first.mask, second.mask) and torch.equal(first.picture, second.picture)
    assert not torch.equal(first.mask, other.mask)


def test_the_words_of_a_picture_are_counted() -> None:
    model = pl.wrap(Twin("module"), input_size=SIZE)
    explainer = unfitted("piq", model, SIZE, codes=6)
    evidence = look(model, pictures(2, *SIZE), 2)
    said = interpret(evidence, explainer)
    assert said.classes == (2, 2) and said.picture.shape == (2, 3, *SIZE)
    assert torch.equal(said.mask, values_of("piq", evidence, explainer=explainer))
    used = said.used(0)
    assert sum(used.values()) == pytest.approx(1) and list(used.values()) == sorted(used.values(), reverse=True)
    assert {word // said.codes for word in used} == {2}
    assert any("words of its class" in note for note in evidence.notes)


@pytest.mark.parametrize("settings", [{"width": 6}, {"codes": 0}])
def test_what_no_net_can_be_like_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(RequestError, match="multiple of 4"):
        net(**settings)
