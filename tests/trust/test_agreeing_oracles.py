"""Maps are planted by whether a net is right, so MeGe and ReCo are known; then a training whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from pellucid.compute.train import Recipe
from pellucid.errors import RequestError, ShapeError
from pellucid.results import Retraining
from pellucid.trust.retraining import FromScratch, Split, consistency, consistency_of, gradient_times_input
from pellucid.trust.retraining.agreeing import Folding, distances_of, likeness, parted
from pellucid.values import Seed

SIDE, CLASSES = 6, 3
ALL = torch.tensor([[[0, 1], [0, 2], [1, 2]]])


class Told(nn.Module):
    """Answers what it was told of each picture; its pictures carry their number in the first pixel."""

    def __init__(self, said: Tensor) -> None:
        super().__init__()
        self.said = nn.Parameter(said.float(), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.one_hot(self.said[inputs[:, 0, 0, 0].long()].long(), CLASSES).float()


@dataclass(frozen=True)
class Planted:
    """Maps: one for nets that are right, another for nets that are wrong, the same for all, or by lot."""

    def __call__(self, net: nn.Module, pictures: Tensor, classes: Tensor) -> dict[str, Tensor]:
        right = (net(pictures).argmax(dim=1) == classes)[:, None, None]
        numbers = pictures[:, 0, 0, 0].long().tolist()
        one, other = (
            torch.stack([torch.randn(SIDE, SIDE, generator=Seed(seed).child("map", at).generator()) for at in numbers])
            for seed in (1, 2)
        )
        assert isinstance(net, Told)
        own = int(net.said.sum())
        lot = torch.rand(len(pictures), SIDE, SIDE, generator=Seed(own).child(len(numbers)).generator())
        return {"telling": torch.where(right, one, other), "back": torch.where(right, lot, lot * 0), "deaf": one,
                "flat": 0 * one, "random": lot}  # fmt: skip


def numbered(count: int) -> tuple[Tensor, Tensor]:
    pictures = torch.zeros(count, 1, SIDE, SIDE)
    pictures[:, 0, 0, 0] = torch.arange(count).float()
    return pictures, torch.arange(count) % CLASSES


def planted(count: int = 40, nets: int = 4, wrong: float = 0.3) -> tuple[list[nn.Module], Tensor, Tensor]:
    pictures, labels = numbered(count)
    erring = torch.rand(nets, count, generator=Seed(3).generator()) < wrong
    return [Told((labels + row) % CLASSES) for row in erring], pictures, labels


# -- planted maps ---------------------------------------------------------------------------------------------------


def test_maps_that_are_alike_where_both_are_right_and_unlike_where_one_is_wrong_reach_one_twice() -> None:
    found = consistency_of(
        *_split(planted()),
    )
    row = found.row(map="telling")
    assert (row["MeGe"], row["ReCo"], row["MeGe, L2"], row["ReCo, L2"]) == (1.0, 1.0, 1.0, 1.0)
    assert row["clearly"] and row["low"] == row["high"] == 1.0 and row["agreeing"] == 0 < row["disagreeing"]
    assert found.rows[0]["map"] == "telling" and found.trainings == 0


@pytest.mark.parametrize("name", ["deaf", "flat"])
def test_maps_that_are_always_equal_generalise_and_tell_nothing_apart(name: str) -> None:
    row = consistency_of(*_split(planted())).row(map=name)
    assert (row["MeGe"], row["ReCo"], row["MeGe, L2"], row["ReCo, L2"]) == (1.0, 0.0, 1.0, 0.0)
    assert not row["clearly"]


def test_maps_by_lot_are_as_far_as_independent_ranks_and_tell_no_more_apart_than_any_lot() -> None:
    row = consistency_of(*_split(planted(60))).row(map="random")
    # |rank correlation| of 36 independent pixels: mean of a half normal of standard deviation 1 / sqrt(35).
    expected = 1 - (2 / np.pi) ** 0.5 / 35**0.5
    assert row["agreeing"] == pytest.approx(expected, abs=0.02) and row["MeGe"] == pytest.approx(
        1 / (1 + expected), abs=0.01
    )
    assert row["low"] < row["MeGe"] < row["high"] and abs(row["ReCo"] - row["by lot"]) < 0.12 and not row["clearly"]


def test_pairs_are_counted_by_how_many_of_both_are_right() -> None:
    nets, pictures, labels = planted(30)
    found = consistency_of(nets, Planted(), pictures, labels)
    right = torch.stack([net(pictures).argmax(dim=1) == labels for net in nets])
    both = [int((right[i] & right[j]).sum()) for i in range(4) for j in range(i)]
    one = [int((right[i] ^ right[j]).sum()) for i in range(4) for j in range(i)]
    assert (found.facts["agreeing pairs"], found.facts["disagreeing pairs"]) == (sum(both), sum(one))
    assert [row["unseen"] for row in found.details] == pytest.approx(right.float().mean(dim=1).tolist())


def test_without_an_error_there_is_nothing_to_tell_apart_and_without_a_right_answer_nothing_to_compare() -> None:
    pictures, labels = numbered(6)
    sure = consistency_of([Told(labels), Told(labels)], Planted(), pictures, labels)
    assert np.isnan(sure.row(map="deaf")["ReCo"]) and sure.row(map="deaf")["MeGe"] == 1
    assert any("no disagreeing pairs" in note for note in sure.notes)
    wrong = (labels + 1) % CLASSES
    lost = consistency_of([Told(wrong), Told(wrong)], Planted(), pictures, labels)
    assert np.isnan(lost.row(map="deaf")["ReCo"]) and np.isnan(lost.row(map="deaf")["MeGe"])
    assert sum("has no value" in note for note in lost.notes) == 2


# -- distances and thresholds ---------------------------------------------------------------------------------------


def test_distances_are_those_of_their_definition() -> None:
    maps = torch.randn(3, 2, 4, 5, generator=Seed(0).generator())
    maps[2, 0] = -2 * maps[0, 0]
    found = distances_of(maps, ALL.expand(2, -1, -1))
    for picture in range(2):
        for place, (i, j) in enumerate(ALL[0].tolist()):
            one, other = maps[i, picture].flatten(), maps[j, picture].flatten()
            alike = abs(spearmanr(one.numpy(), other.numpy()).statistic)
            assert float(found["rank"][picture, place]) == pytest.approx(1 - alike, abs=1e-6)
            length = float((one / one.norm() - other / other.norm()).norm())
            assert float(found["length"][picture, place]) == pytest.approx(length, rel=1e-5)
    assert float(found["rank"][0, 1]) == pytest.approx(0, abs=1e-9) and float(found["length"][0, 1]) == pytest.approx(2)


@pytest.mark.parametrize(
    ("near", "far", "expected"),
    [
        ([0.1, 0.2], [0.3, 0.4], 1.0), ([0.3, 0.4], [0.1, 0.2], 0.0), ([0.5, 0.5], [0.5], 0.0),
        ([0.1, 0.3], [0.2, 0.4], 0.5), ([0.1, 0.2, 0.6, 0.7], [0.3, 0.5, 0.8, 0.9], 0.5),
    ],
)  # fmt: skip
def test_the_best_threshold_by_hand(near: list[float], far: list[float], expected: float) -> None:
    assert parted(torch.tensor(near), torch.tensor(far)) == pytest.approx(expected)
    assert np.isnan(parted(torch.tensor(near), torch.tensor([]))) and np.isnan(
        parted(torch.tensor([]), torch.tensor(far))
    )


def test_the_best_threshold_is_the_largest_gap_of_both_distributions() -> None:
    """Kolmogorov and Smirnov's statistic, one-sided."""
    from scipy.stats import ks_2samp

    generator = Seed(5).generator()
    near, far = torch.rand(70, generator=generator), torch.rand(50, generator=generator) + 0.2
    expected = ks_2samp(near.numpy(), far.numpy(), alternative="greater").statistic
    assert parted(near, far) == pytest.approx(expected, abs=1e-6)


def test_mege_is_of_the_pairs_and_its_interval_of_the_pictures() -> None:
    distances, right = torch.tensor([[0.2, 0.4], [0.6, 0.9]]), torch.tensor([[2, 2], [2, 1]])
    found = likeness(distances, right)
    assert found.mege == pytest.approx(1 / (1 + 0.4)) and found.disagreeing == pytest.approx(0.9)
    assert found.low == pytest.approx(1 / 1.6) and found.high == pytest.approx(1 / 1.3) and found.reco == 1.0


# -- trainings ------------------------------------------------------------------------------------------------------


def one_layer() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2))


def noisy(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The class is the sign of one pixel, which noise hides now and then."""
    generator, labels = Seed(seed).generator(), torch.arange(count) % 2
    pictures = torch.randn(count, 1, SIDE, SIDE, generator=generator)
    pictures[:, 0, 2, 3] += 2.0 * labels - 1
    return pictures, labels


def explain(net: nn.Module, shown: Tensor, classes: Tensor) -> dict[str, Tensor]:
    return {"gradient_x_input": gradient_times_input(net, shown, classes).detach(), "control edge": shown[:, 0].abs()}


RECIPE = FromScratch(one_layer, Recipe(60, 0.05, batch=32))


def trained(**options: int) -> Retraining:
    return consistency(explain, Split(*noisy(80, 1), *noisy(100, 2)), RECIPE, **{"explained": 40, **options})


def test_nets_of_three_folds_in_four_explain_alike_and_the_picture_itself_tells_nothing() -> None:
    found = trained()
    assert found.trainings == 4 and [row["net"] for row in found.details] == [
        f"without fold {fold}" for fold in range(4)
    ]
    assert all(row["known"] > 0.9 > row["unseen"] >= 0.5 for row in found.details)
    row, edge = found.row(map="gradient_x_input"), found.row(map="control edge")
    unrelated = 1 / (2 - (2 / np.pi) ** 0.5 / 35**0.5)  # as maps by lot, above
    assert unrelated < row["low"] < row["MeGe"] < row["high"] < 1
    assert (edge["MeGe"], edge["ReCo"]) == (1.0, 0.0)
    counts = found.facts["agreeing pairs"] + found.facts["disagreeing pairs"]
    assert 60 < counts <= 40 * 3 and found.facts["disagreeing pairs"] > 0
    assert found == trained() != trained(seed=1)


def test_every_picture_is_left_out_once_and_every_fold_shows_as_many() -> None:
    data = Split(*noisy(42, 1), *noisy(10, 2))
    job = Folding(explain, data, RECIPE, 4, 14, 0)
    assert job.fold_of.bincount().tolist() == [11, 11, 10, 10]
    assert job.fold_of[job.shown].bincount().tolist() == [3, 3, 3, 3] and len(job.shown.unique()) == 12
    seen: list[int] = []

    def watching(pictures: Tensor, labels: Tensor, *, seed: int) -> nn.Module:
        seen.append(len(pictures))
        return RECIPE(pictures, labels, seed=seed)

    consistency(explain, data, watching, folds=4, explained=14)
    assert seen == [31, 31, 32, 32]


def test_what_cannot_be_is_refused_before_anything_is_trained() -> None:
    for options, match in (
        ({"folds": 1}, "folds=1"),
        ({"explained": 3}, "explained=3"),
        ({"explained": 81}, "explained"),
    ):
        with pytest.raises(RequestError, match=match):
            trained(**options)
    nets, pictures, labels = planted(6)
    with pytest.raises(RequestError, match="1 nets"):
        consistency_of(nets[:1], Planted(), pictures, labels)
    with pytest.raises(RequestError, match="names"):
        consistency_of(nets, Planted(), pictures, labels, names=("one",))
    with pytest.raises(ShapeError, match="one picture for each"):
        consistency_of(nets, Planted(), pictures, labels[:2])


def _split(made: tuple[list[nn.Module], Tensor, Tensor]) -> tuple[list[nn.Module], Planted, Tensor, Tensor]:
    return made[0], Planted(), made[1], made[2]
