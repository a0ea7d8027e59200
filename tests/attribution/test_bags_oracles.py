"""Nets that attend to the instances of a bag: ABMIL and ACMIL."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.attribution.bags import Attending, BagExplainer, Learning, fit
from pellucid.compute.bags import AttentionBags, bag_loss, masked, overlap
from pellucid.compute.early import Early
from pellucid.errors import FileError, RequestError, ShapeError
from pellucid.results.bag import Bag
from pellucid.stories.bags import bag as read_bag
from pellucid.stories.bags import explainer_of
from pellucid.testbed.bags import bags

WIDTH = 6
SMALL = Attending(branches=2, hidden=16, gate=8, top=3)


def net_of(branches: int = 3, **settings: Any) -> AttentionBags:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return AttentionBags(WIDTH, 2, hidden=8, gate=4, branches=branches, **settings).eval()


def instances(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def planted(count: int, seed: int) -> tuple[list[Tensor], list[int], list[list[int]]]:
    """Bags of noise; in every second one or two instances carry a 3 in the first number."""
    draw = torch.Generator().manual_seed(seed)
    made: list[Tensor] = []
    places: list[list[int]] = []
    for at in range(count):
        size = int(torch.randint(5, 15, (), generator=draw))
        bag = 0.5 * torch.randn(size, WIDTH, generator=draw)
        chosen = torch.randperm(size, generator=draw)[: 1 + at // 2 % 2].tolist() if at % 2 else []
        bag[chosen, 0] += 3
        made.append(bag)
        places.append(chosen)
    return made, [at % 2 for at in range(count)], places


def test_the_order_of_instances_does_not_matter() -> None:
    net, bag = net_of(), instances(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    first, other = net.look(bag), net.look(bag[order])
    assert_close(first.logits, other.logits)
    assert_close(first.attention[:, order], other.attention)


@pytest.mark.parametrize(
    ("top", "drop", "count"), [(10, 0.6, 20), (10, 0.6, 4), (5, 0.3, 8), (10, 0.0, 8), (0, 0.6, 8)]
)
def test_of_the_highest_links_the_share_that_was_asked_for_is_masked(top: int, drop: float, count: int) -> None:
    links = torch.randn(3, count, generator=torch.Generator().manual_seed(1))
    found = masked(links, top, drop, torch.Generator().manual_seed(2))
    gone = found < -1e8
    assert (gone.sum(dim=1) == math.floor(min(top, count) * drop + 1e-9)).all()
    highest = links.topk(min(top, count), dim=1).indices
    assert all(set(row.nonzero()[:, 0].tolist()) <= set(best.tolist()) for row, best in zip(gone, highest, strict=True))
    assert_close(found.softmax(dim=1).sum(dim=1), torch.ones(3))
    assert not found.softmax(dim=1)[gone].any()


def test_one_instance_always_stays() -> None:
    links = torch.zeros(2, 1)
    assert torch.equal(masked(links, 10, 1.0, torch.Generator().manual_seed(0)), links)
    assert int((masked(torch.zeros(1, 4), 4, 1.0, torch.Generator().manual_seed(0)) > -1).sum()) == 1


def test_one_branch_without_masking_is_gated_attention() -> None:
    """ABMIL: `softmax(w (tanh(V h) * sigmoid(U h)))` over the instances, and a linear head of the attended mean."""
    net, bag = net_of(branches=1, top=0), instances(7)
    first = net.reduce[0]
    assert isinstance(first, nn.Linear)
    hidden = torch.relu(bag @ first.weight.T + first.bias)
    gated = torch.tanh(net.content(hidden)) * torch.sigmoid(net.gate(hidden))
    attention = (gated @ net.attend.weight[0] + net.attend.bias[0]).softmax(dim=0)
    expected = net.head(attention @ hidden)
    found = net.look(bag)
    assert_close(found.attention[0], attention)
    assert_close(found.logits, expected)
    label = torch.tensor(1)
    assert_close(bag_loss(found, label), torch.nn.functional.cross_entropy(expected[None], label[None]))
    assert len(net.heads) == 0 and overlap(found.attention) == 0


def test_contributions_and_the_bias_are_the_logits() -> None:
    net = net_of()
    found = net.look(instances(11))
    assert_close(net.contributions(found).sum(dim=0) + net.head.bias, found.logits)


def test_the_overlap_of_equal_attentions_is_1_and_of_apart_ones_0() -> None:
    assert overlap(torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])) == pytest.approx(1.0)
    assert overlap(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])) == 0


def test_fitting_finds_the_planted_instances_and_comes_back_from_disk(tmp_path: Path) -> None:
    made, answers, _ = planted(80, seed=5)
    explainer = fit(made, answers, ("none", "one"), attending=SMALL, learning=Learning(rounds=25, learning_rate=5e-3))
    fresh, wanted, places = planted(40, seed=6)
    found = [explainer.read(one) for one in fresh]
    assert np.mean([one.answer == answer for one, answer in zip(found, wanted, strict=True)]) > 0.95
    for one, chosen in zip(found, places, strict=True):
        if chosen:
            assert int(one.contributions(1).argmax()) in chosen and one.top(1)[0] in chosen
    again = BagExplainer.load(explainer.save(tmp_path / "bags.safetensors"))
    assert again.read(fresh[0]) == found[0]
    assert (again.attending, again.judged, again.labels) == (explainer.attending, explainer.judged, explainer.labels)


def test_fitting_stops_early_and_keeps_the_best() -> None:
    """Answers that are noise: what was held out gets no better, so few of the many rounds are run."""
    made, _, _ = planted(20, seed=7)
    answers = torch.randint(2, (20,), generator=torch.Generator().manual_seed(3)).tolist()
    learning = Learning(rounds=40, learning_rate=3e-3, held_out=0.3, patience=2)
    explainer = fit(made, answers, ("a", "b"), attending=SMALL, learning=learning)
    best = int(np.argmin(explainer.judged))
    assert len(explainer.judged) == best + 3 < 40
    assert len(explainer.losses) == 14 * len(explainer.judged)


def test_a_fit_that_was_broken_off_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, answers, _ = planted(30, seed=8)
    learning = Learning(rounds=4, learning_rate=3e-3)
    whole = fit(made, answers, ("a", "b"), attending=SMALL, learning=learning)
    usual, asked = Early.stops, 0

    def broken(self: Early, step: int, net: torch.nn.Module) -> bool:
        nonlocal asked
        asked += 1
        if asked == 70:
            raise KeyboardInterrupt
        return usual(self, step, net)

    monkeypatch.setattr(Early, "stops", broken)
    kept = tmp_path / "progress"
    with pytest.raises(KeyboardInterrupt):
        fit(made, answers, ("a", "b"), attending=SMALL, learning=learning, checkpoint=kept)
    assert kept.exists()
    again = fit(made, answers, ("a", "b"), attending=SMALL, learning=learning, checkpoint=kept)
    assert again.losses == whole.losses and again.judged == whole.judged and not kept.exists()
    weights = zip(whole.net.state_dict().values(), again.net.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


def a_bag(places: np.ndarray | None = None) -> Bag:
    attention = np.array([[0.7, 0.1, 0.1, 0.1], [0.5, 0.3, 0.1, 0.1]], dtype=np.float32)
    added = np.array([[1.0, -1.0], [-2.0, 1.0], [0.1, 0.0], [0.0, 0.2]], dtype=np.float32)
    return Bag(("a", "b"), np.array([2.0, 1.0], np.float32), attention, added, ("w", "x", "y", "z"), (), places)


def test_a_bag_tells_attention_from_contribution(tmp_path: Path) -> None:
    bag = a_bag()
    assert bag.top(2) == (0, 1) and bag.top(1, "for") == (0,) and bag.top(1, "against") == (1,)
    assert bag.contributions().tolist() == pytest.approx([2.0, -3.0, 0.1, -0.2])
    assert bag.contributions(1).tolist() == pytest.approx([-2.0, 3.0, -0.1, 0.2])
    assert bag.concentration.tolist() == pytest.approx([0.6, 0.8, 0.9, 1.0])
    assert bag.holding(0.8) == 2 and bag.holding(0.6) == 1
    assert bag.overlap == pytest.approx(0.4 / (math.sqrt(0.52) * 0.6))
    assert pl.open(bag.save(tmp_path / "bag.json")) == bag
    assert "Most attended" in bag.save(tmp_path / "bag.html").read_text()
    with pytest.raises(RequestError, match="no pictures to draw"):
        bag.save(tmp_path / "bag.png")


def test_attention_is_painted_where_the_instances_lie() -> None:
    slide = a_bag(np.array([[5, 2], [5, 3], [6, 2], [7, 4]])).painted()
    assert slide.shape == (3, 3)
    assert slide[0, 0] == 1 and np.isnan(slide[2, 0]) and (slide[0, 1] == pytest.approx(2 / 3))
    with pytest.raises(RequestError, match="no places"):
        a_bag().painted()


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    explainer = BagExplainer(net_of(), ("a", "b"), Attending(3, 8, 4))
    with pytest.raises(ShapeError, match="instances 6"):
        explainer.read(torch.zeros(3, 5))
    with pytest.raises(ShapeError, match="one per instance"):
        explainer.read(instances(3), places=[(0, 0)])
    with pytest.raises(RequestError, match="two bags or more"):
        fit([instances(3)], [0], ("a", "b"))
    with pytest.raises(RequestError, match="Answer 2 has no label"):
        fit([instances(3), instances(4)], [0, 2], ("a", "b"))
    for name, data in (("none", None), ("other", b"nothing of the kind")):
        if data:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(FileError, match="cannot be read"):
            BagExplainer.load(tmp_path / name)


def test_the_shipped_net_attends_to_the_plumes_and_gives_them_their_sign() -> None:
    """In fresh bags with plumes, what is most attended and what adds most wears one; without plumes nothing adds."""
    drawn, explainer = bags(4100, 12), explainer_of("testbed:bags")
    for at in range(len(drawn)):
        found = read_bag(explainer, "testbed:cnn", drawn.pictures(at), layer="flatten")
        assert found.answer == drawn.labels[at]
        if drawn.labels[at]:
            assert drawn.deciding[at][list(found.top(1))].all() and drawn.deciding[at][list(found.top(1, "for"))].all()
        else:
            assert found.contributions(1).max() < 0.5
