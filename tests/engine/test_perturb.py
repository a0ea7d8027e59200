"""Changed pictures are written once, asked once and shared by whoever asks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pellucid.engine.perturb import (
    Cut,
    Shade,
    answers_of,
    cells,
    digest,
    empty_answers,
    ordered,
    removal_answers,
    shaded_answers,
    shown,
    squares,
    sums_over,
    whole_answers,
)
from pellucid.errors import RequestError
from pellucid.images import baselines
from pellucid.values import Seed
from tests.trust.linear import CLASS, linear, looked, noise


def told(evidence: object, inputs: Tensor) -> Tensor:
    """What the linear model says to changed pictures."""
    with torch.no_grad():
        return evidence.model.module(inputs)[:, CLASS]  # type: ignore[attr-defined]


@pytest.mark.parametrize("fill", baselines.KINDS)
@pytest.mark.parametrize("side", ["removed", "kept"])
def test_a_cut_is_the_picture_with_its_first_pixels_gone_or_alone(fill: str, side: str) -> None:
    evidence = looked()
    values = noise(evidence)
    found = removal_answers(evidence, {"map": values}, [Cut(fill, 17, side)])["map"][Cut(fill, 17, side)]  # type: ignore[arg-type]
    top = torch.zeros(3, 48, dtype=torch.bool).scatter_(1, values.flatten(1).topk(17).indices, True).view(3, 6, 8)
    gone = top if side == "removed" else ~top
    filled = baselines.fill(evidence.inputs, fill, None, evidence.seed.child("fill", fill), mask=gone)
    expected = torch.where(gone[:, None], filled, evidence.inputs)
    assert_close(found.scores, told(evidence, expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fill", baselines.KINDS)
def test_cuts_of_nothing_and_of_everything_belong_to_no_map(fill: str) -> None:
    evidence = looked()
    cuts = [Cut(fill, 0, "removed"), Cut(fill, 48, "kept"), Cut(fill, 48, "removed"), Cut(fill, 0, "kept")]
    found = removal_answers(evidence, {"one": noise(evidence, 1), "other": noise(evidence, 2)}, cuts)
    assert evidence.passes.forwards == 2
    for row in found.values():
        assert torch.equal(row[cuts[0]].scores, row[cuts[1]].scores)
        assert torch.equal(row[cuts[2]].scores, row[cuts[3]].scores)
        assert_close(row[cuts[0]].scores, whole_answers(evidence).scores)
        assert_close(row[cuts[2]].scores, empty_answers(evidence, fill).scores)
    assert evidence.passes.forwards == 2, "the whole picture or the fill was asked again"


def test_equal_maps_share_their_answers_whatever_they_are_called() -> None:
    evidence = looked()
    values = noise(evidence)
    removal_answers(evidence, {"one": values, "other": values.clone()}, [Cut("mean", 5, "removed")])
    assert evidence.passes.forwards == 1
    removal_answers(evidence, {"third": values}, [Cut("mean", 5, "removed"), Cut("mean", 6, "removed")])
    assert evidence.passes.forwards == 2


def test_regions_go_as_a_whole_in_the_order_of_their_sums() -> None:
    evidence = looked(7, 9)
    values = noise(evidence)
    labels = squares(7, 9, 4)
    assert labels.unique().numel() == 6
    sums = torch.stack([values[:, labels == region].sum(dim=1) for region in range(6)], dim=1)
    order = sums.argsort(dim=1, descending=True)
    cut = Cut("mean", 2, "removed")
    found = removal_answers(evidence, {"map": values}, [cut], region=4)["map"][cut]
    gone = torch.stack([torch.isin(labels, row[:2]) for row in order])
    expected = torch.where(gone[:, None], evidence.fill("mean"), evidence.inputs)
    assert_close(found.scores, told(evidence, expected), rtol=1e-4, atol=1e-4)
    assert_close(sums_over(values, labels).float(), sums, rtol=1e-4, atol=1e-5)


def test_a_shade_mixes_picture_and_fill_by_the_map() -> None:
    evidence = looked()
    values = noise(evidence)
    scaled = (values - values.amin((1, 2), True)) / (values.amax((1, 2), True) - values.amin((1, 2), True))
    top = torch.zeros(3, 48, dtype=torch.bool).scatter_(1, values.flatten(1).topk(12).indices, True).view(3, 6, 8)
    shades = [Shade("blur"), Shade("blur", 0.25)]
    found = shaded_answers(evidence, {"map": values}, shades)["map"]
    for shade, mask in zip(shades, (scaled, scaled * top), strict=True):
        mixed = evidence.inputs * mask[:, None] + evidence.fill("blur") * (1 - mask[:, None])
        assert_close(found[shade].scores, told(evidence, mixed), rtol=1e-4, atol=1e-4)


def test_a_flat_map_shows_what_it_says_and_does_not_become_nothing() -> None:
    for level, expected in ((1.0, 1.0), (0.0, 0.0), (0.25, 0.25), (7.0, 1.0), (-3.0, 0.0)):
        assert_close(shown(torch.full((1, 3, 4), level), 1.0, Seed(0)), torch.full((1, 3, 4), expected))


def test_answers_come_in_the_order_asked_however_many_fit_at_once() -> None:
    def ask(memory: float | None) -> tuple[list[Tensor], float]:
        evidence = looked(batch=2, memory=memory)
        made = [torch.full_like(evidence.inputs, level) for level in range(9)]
        asked = {level: lambda out, level=level: out.copy_(made[level]) for level in range(9)}
        answers = answers_of(evidence, asked)
        return [answers[level].scores for level in range(9)], evidence.passes.forwards

    (many, passes), (one, passes_one) = ask(None), ask(1e-9)
    assert passes == passes_one == 9
    assert_close(torch.stack(many), torch.stack(one))
    module = linear().module
    assert module is not None
    with torch.no_grad():
        assert_close(many[4], module(torch.full((2, 3, 6, 8), 4.0))[:, CLASS], rtol=1e-4, atol=1e-4)


def test_a_block_that_does_not_fit_is_halved_and_no_picture_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence, reference = looked(batch=2), looked(batch=2)
    real = type(evidence)._answers_of

    def small(self: object, inputs: Tensor, targets: Sequence[object]) -> Tensor:
        if len(inputs) > 6:
            raise MemoryError("out of memory")
        return real(self, inputs, targets)  # type: ignore[arg-type]

    cuts = [Cut("mean", count, "removed") for count in range(1, 12)]
    expected = removal_answers(reference, {"map": noise(reference)}, cuts)["map"]
    monkeypatch.setattr(type(evidence), "_answers_of", small)
    found = removal_answers(evidence, {"map": noise(evidence)}, cuts)["map"]
    assert evidence.passes.forwards == 11
    for cut in cuts:
        assert_close(found[cut].scores, expected[cut].scores)


def test_ranks_are_dropped_when_they_take_too_much_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence, reference = looked(), looked()
    maps = {str(index): noise(evidence, index) for index in range(3)}
    monkeypatch.setattr("pellucid.engine.perturb._HELD", 1)
    cuts = [Cut("mean", 3, "removed"), Cut("mean", 9, "kept")]
    found = removal_answers(evidence, maps, cuts)
    monkeypatch.setattr("pellucid.engine.perturb._HELD", 2**28)
    expected = removal_answers(reference, maps, cuts)
    assert all(torch.equal(found[name][cut].scores, expected[name][cut].scores) for name in maps for cut in cuts)


def test_cells_are_as_equal_as_whole_pixels_allow() -> None:
    labels = cells(10, 7, 4)
    counts = labels.flatten().bincount()
    assert len(counts) == 16 and int(counts.min()) >= 2 and int(counts.max()) <= 6
    assert cells(2, 3, 9).unique().numel() == 6, "never more cells than pixels"
    for refused in (lambda: cells(4, 4, 0), lambda: squares(4, 4, 0)):
        with pytest.raises(RequestError):
            refused()


def test_a_ranking_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RequestError, match="signed or absolute"):
        ordered({"map": torch.zeros(1, 2, 2)}, "abs")
    assert torch.equal(ordered({"map": -torch.ones(1, 2, 2)}, "absolute")["map"], torch.ones(1, 2, 2))
    assert digest(torch.ones(2)) == digest(torch.ones(2).double()) != digest(torch.zeros(2))
