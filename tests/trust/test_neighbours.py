"""Known pictures that vote: patches that were planted, so that it is known which corresponds to which."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

import pellucid as pl
from pellucid.errors import RequestError, ShapeError
from pellucid.trust.people.neighbours import (
    Patches,
    carried,
    corresponding,
    majority,
    nearest,
    patches,
    ranking_trial,
    voted,
)
from tests.oracles.nets import pictures

GRID = (3, 4)


def cells(count: int, seed: int, channels: int = 6, patch: int = 12) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, patch, channels, generator=draw), dim=2)


def as_patches(held: Tensor) -> Patches:
    return Patches(held, torch.nn.functional.normalize(held.mean(dim=1), dim=1), GRID)


def test_the_assignment_is_the_cheapest_of_all() -> None:
    one, known = cells(1, 1, patch=5)[0], cells(4, 2, patch=5)
    distance, found = carried(one, known)
    for at, other in enumerate(known):
        cost = 1 - one @ other.T
        least = min(float(sum(cost[row, column] for row, column in enumerate(way))) for way in permutations(range(5)))
        assert float(distance[at]) == pytest.approx(least / 5, abs=1e-5)
        assert sorted(found.counterpart[at].tolist()) == list(range(5))


def test_a_picture_whose_patches_changed_places_is_as_near_as_itself() -> None:
    one, way = cells(1, 3)[0], torch.randperm(12, generator=torch.Generator().manual_seed(0))
    distance, found = carried(one, torch.stack([one, one[way], cells(1, 4)[0]]))
    assert distance[:2].tolist() == pytest.approx([0, 0], abs=1e-6) and float(distance[2]) > 0.1
    assert torch.equal(way[found.counterpart[1]], torch.arange(12))


def test_patches_that_moved_together_are_found_where_another_looks_as_much_like_one() -> None:
    """A picture moved to the right by one column, and beside it a patch that is the double of another one: alone it
    might be either; the votes of the others tell."""
    one = cells(1, 5, channels=20)[0]
    table = one.view(3, 4, 20)
    moved = torch.roll(table, 1, dims=1)
    moved[:, 0] = cells(1, 6, channels=20)[0].view(3, 4, 20)[:, 0]
    moved[2, 0] = 1.0 * table[0, 1] + 1e-3 * table[1, 1]  # the double, a little more like it than it is itself
    moved[0, 2] = table[0, 1] + 0.1 * cells(1, 7, channels=20)[0][0]
    known = torch.nn.functional.normalize(moved, dim=2).view(1, 12, 20)
    inside = [row * 4 + column for row in range(3) for column in range(3)]
    voting, alone = (corresponding(one, known, GRID, hough=hough).counterpart[0, inside] for hough in (True, False))
    truth = torch.tensor([place + 1 for place in inside])
    assert torch.equal(voting, truth)
    assert alone[1] == 8 and torch.equal(alone[[0, 2, *range(3, 9)]], truth[[0, 2, *range(3, 9)]])


def test_pooled_features_shortlist_and_patches_decide() -> None:
    """All known pictures are pooled to the same, which knows nothing; the patches of one class are the query's."""
    query = cells(1, 8)
    own = torch.stack([query[0][torch.randperm(12, generator=torch.Generator().manual_seed(at))] for at in range(6)])
    others = -own + 2 * query[0].mean(dim=0)
    known = Patches(
        torch.nn.functional.normalize(torch.cat([others, own]), dim=2),
        torch.nn.functional.normalize(query[0].mean(dim=0), dim=0).expand(12, -1).contiguous(), GRID,
    )  # fmt: skip
    labels = torch.tensor([0] * 6 + [1] * 6)
    for ranking in ("emd", "chm"):
        found = voted(as_patches(query), known, labels, ranking, shortlist=12, among=5)
        assert (
            found.predicted.tolist() == [1]
            and float(found.share) == 1
            and set(found.order[0, :6].tolist()) == {*range(6, 12)}
        )
    assert sorted(voted(as_patches(query), known, labels, "random", shortlist=12).order[0].tolist()) == [*range(12)]


def test_the_shortlist_is_that_of_pooled_features_and_knn_leaves_it() -> None:
    asked, known = as_patches(cells(3, 9)), as_patches(cells(30, 10))
    near = nearest(asked, known, 8)
    likeness = asked.pooled @ known.pooled.T
    assert torch.equal(near[:, 0], likeness.argmax(dim=1)) and near.shape == (3, 8)
    assert torch.equal(voted(asked, known, torch.zeros(30, dtype=torch.long), "knn", shortlist=8).order, near)


def test_of_equally_many_votes_the_nearest_counts() -> None:
    predicted, share = majority(torch.tensor([[2, 1, 1, 2, 0], [3, 3, 1, 0, 2]]))
    assert predicted.tolist() == [2, 3] and share.tolist() == pytest.approx([0.4, 0.4])


def test_a_trial_counts_the_right_and_pairs_them() -> None:
    asked, known = as_patches(cells(12, 11)), as_patches(cells(40, 12))
    labels = torch.arange(40) % 3
    truth = voted(asked, known, labels, "chm", shortlist=20, among=5).predicted
    found = ranking_trial(asked, truth, known, labels, shortlist=20, among=5)
    assert found.accuracy["chm"].mean == 1.0 and set(found.accuracy) == {"knn", "emd", "chm", "random"}
    assert found.over["chm"]["random"].mean == pytest.approx(1 - found.accuracy["random"].mean)
    assert found.helps("chm") == (found.over["chm"]["knn"].low > 0 < found.over["chm"]["random"].low)
    assert not found.helps("random") and "knn" not in found.over["knn"] and (found.pictures, found.known) == (12, 40)


def test_patches_are_what_the_layer_holds() -> None:
    model, shown = pl.load("testbed:cnn"), pictures(2, 64, 64, seed=3).sigmoid()
    found = patches(model, shown, layer="features.3", grid=(4, 4))
    with torch.no_grad():
        held = model.network.features[:4](model.network.normalise(shown))  # type: ignore[union-attr, index, operator]
    mean = held[1, :, 4:8, 12:16].mean(dim=(1, 2))
    torch.testing.assert_close(found.cells[1, 7], mean / mean.norm(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.pooled.norm(dim=1), torch.ones(2))
    assert patches(model, shown, layer="features.3", grid=(99, 8)).grid == (16, 8)


def test_what_cannot_vote_is_refused() -> None:
    asked = as_patches(cells(2, 1))
    with pytest.raises(RequestError, match="ranking='best'"):
        voted(asked, asked, torch.zeros(2, dtype=torch.long), "best")
    with pytest.raises(ShapeError, match="one per known"):
        voted(asked, asked, torch.zeros(3, dtype=torch.long))
