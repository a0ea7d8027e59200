"""Tokens taken out of the sequence: the same as a model that never had them, and refused where they are no set."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.engine import Evidence, look
from pellucid.engine.token_drop import droppable_grid, fewest_tokens, token_answers
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import find_metric
from pellucid.subject import wrap
from pellucid.trust.erasure import negative_perturbation, pixel_perturbation, positive_perturbation
from pellucid.trust.faithfulness import deletion, insertion, insertion_minus_deletion
from pellucid.trust.tokens import token_labels
from tests.guests import unchanged
from tests.nets import TinyViT, Twin

ROWS, COLUMNS = 3, 4


def evidence(net: nn.Module, count: int = 2, size: tuple[int, int] = (12, 16), target: Any = 1) -> Evidence:
    draw = torch.Generator().manual_seed(2)
    pictures = torch.rand(count, 3, *size, generator=draw)
    return look(wrap(net.eval(), input_size=size, activation="softmax"), pictures, target)


def by_hand(net: TinyViT, pictures: Tensor, kept: Tensor) -> Tensor:
    """The net with only these patch tokens, written out."""
    tokens = net.patch(pictures).flatten(2).transpose(1, 2) + net.pos[:, 1:]
    chosen = torch.stack([row[index] for row, index in zip(tokens, kept, strict=True)])
    x = torch.cat([(net.cls + net.pos[:, :1]).expand(len(pictures), -1, -1), chosen], dim=1)
    for block in net.blocks:
        x = block(x)
    return net.head(net.norm(x)[:, 0])


@pytest.fixture
def net() -> TinyViT:
    return TinyViT().eval()


def test_answers_are_those_of_a_net_that_never_had_the_tokens(net: TinyViT) -> None:
    seen = evidence(net)
    kept = [torch.tensor([[0, 5, 7], [11, 2, 3]]), torch.tensor([[4], [9]]), torch.zeros(2, 0, dtype=torch.long)]
    with torch.no_grad(), unchanged(net):
        found = token_answers(seen, kept)
        for answers, tokens in zip(found, kept, strict=True):
            logits = by_hand(net, seen.inputs, tokens)
            torch.testing.assert_close(answers.scores, logits[:, 1], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(answers.probabilities, logits.softmax(dim=1)[:, 1], atol=1e-5, rtol=1e-4)
            assert answers.predicted.tolist() == logits.argmax(dim=1).tolist()


def test_all_tokens_in_any_order_are_the_whole_picture(net: TinyViT) -> None:
    seen = evidence(net)
    count = ROWS * COLUMNS
    (found,) = token_answers(seen, [torch.randperm(count, generator=torch.Generator().manual_seed(0)).expand(2, -1)])
    torch.testing.assert_close(found.scores, seen.score().cpu(), atol=1e-5, rtol=1e-4)
    grid = droppable_grid(seen)
    assert (grid.rows, grid.columns, grid.prefix, fewest_tokens(seen)) == (ROWS, COLUMNS, 1, 0)


def test_the_deletion_curve_drops_the_tokens_of_the_map_one_after_the_other(net: TinyViT) -> None:
    seen = evidence(net)
    order = torch.randperm(ROWS * COLUMNS, generator=torch.Generator().manual_seed(1))
    worth = torch.empty(ROWS * COLUMNS)
    worth[order] = torch.arange(ROWS * COLUMNS, 0, -1).float()
    drawn = worth[token_labels((12, 16), (ROWS, COLUMNS))].expand(2, -1, -1)
    measured = deletion(seen, {"map": drawn}, step=1, mode="token_drop")
    with torch.no_grad():
        expected = torch.stack(
            [by_hand(net, seen.inputs, order[gone:].expand(2, -1)).softmax(dim=1)[:, 1] for gone in range(13)], dim=1
        )
    curve = torch.tensor(measured.curves["map"]["deletion"])[0]
    torch.testing.assert_close(curve, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(measured.values["map"], torch.trapezoid(expected, dx=1 / 12), atol=1e-5, rtol=1e-4)
    assert measured.fills == ("tokens dropped",) and "another question" in measured.notes[0]


def test_perturbation_drops_tokens_from_either_end_of_the_order(net: TinyViT) -> None:
    """Decisions kept and fractions of change, with the net written out on the tokens that stay."""
    seen, parts = evidence(net), (0.0, 0.25, 0.5, 0.75)
    order = torch.randperm(ROWS * COLUMNS, generator=torch.Generator().manual_seed(4))
    worth = torch.empty(ROWS * COLUMNS)
    worth[order] = torch.arange(ROWS * COLUMNS, 0, -1).float()
    maps = {"map": worth[token_labels((12, 16), (ROWS, COLUMNS))].expand(2, -1, -1)}
    with torch.no_grad():
        whole = by_hand(net, seen.inputs, order.expand(2, -1))
        after = {
            metric: torch.stack([by_hand(net, seen.inputs, kept.expand(2, -1)) for kept in stays])
            for metric, stays in {
                positive_perturbation: [order[gone:] for gone in (0, 3, 6, 9)],
                negative_perturbation: [order[: 12 - gone] for gone in (0, 3, 6, 9)],
            }.items()
        }
    for metric, logits in after.items():
        found = metric(seen, maps, parts=parts, mode="token_drop")
        kept = (logits.argmax(dim=-1) == whole.argmax(dim=-1)).float()
        torch.testing.assert_close(found.values["map"], torch.trapezoid(kept, torch.tensor(parts), dim=0) / 0.75)
        assert found.fills == ("tokens dropped",) and "another question" in found.notes[0]
    before, then = (logits.softmax(dim=-1)[..., 1] for logits in (whole, after[negative_perturbation]))
    found = pixel_perturbation(seen, maps, parts=parts[1:], mode="token_drop")
    expected = ((then[1:] - before).abs() / before).mean(dim=0)
    torch.testing.assert_close(found.values["map"], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("metric", ["pixel_perturbation", "positive_perturbation", "negative_perturbation"])
def test_perturbation_by_tokens_costs_at_most_what_it_declares(net: TinyViT, metric: str) -> None:
    seen = evidence(net)
    before, entry = seen.passes.cost, find_metric(metric)
    maps = {name: torch.rand(2, 12, 16, generator=torch.Generator().manual_seed(at)) for at, name in enumerate("ab")}
    entry.function(seen, maps, mode="token_drop")
    spent = seen.passes.cost - before
    assert 0 < spent <= 2 * entry.passes(mode="token_drop") + entry.shared_passes(mode="token_drop")
    assert entry.passes(mode="token_drop", fills=("black", "mean")) == entry.passes()
    with pytest.raises(RequestError, match="expected pixels or token_drop"):
        entry.function(seen, maps, mode="tokens")


def test_insertion_begins_with_the_class_token_alone_and_ends_with_the_picture(net: TinyViT) -> None:
    seen = evidence(net)
    maps = {"map": torch.rand(2, 12, 16, generator=torch.Generator().manual_seed(3))}
    curve = torch.tensor(insertion(seen, maps, steps=5, mode="token_drop").curves["map"]["insertion"])[0]
    with torch.no_grad():
        nothing = by_hand(net, seen.inputs, torch.zeros(2, 0, dtype=torch.long)).softmax(dim=1)[:, 1]
    torch.testing.assert_close(curve[:, 0], nothing, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(curve[:, -1], seen.probabilities()[:, 1].cpu(), atol=1e-5, rtol=1e-4)


def test_equal_questions_are_asked_once(net: TinyViT) -> None:
    seen = evidence(net)
    maps = {name: torch.rand(2, 12, 16, generator=torch.Generator().manual_seed(at)) for at, name in enumerate("ab")}
    gain = insertion_minus_deletion(seen, maps, steps=4, mode="token_drop").values["a"]
    spent = seen.passes.cost
    parts = [metric(seen, maps, steps=4, mode="token_drop").values["a"] for metric in (insertion, deletion)]
    torch.testing.assert_close(gain, parts[0] - parts[1])
    assert seen.passes.cost == spent


def test_a_net_that_averages_its_tokens_keeps_one_to_the_end() -> None:
    class Averaging(TinyViT):
        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2) + self.pos[:, 1:]
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x).mean(dim=1))

    seen = evidence(Averaging())
    assert fewest_tokens(seen) == 1
    measured = deletion(seen, {"map": torch.rand(2, 12, 16)}, steps=13, mode="token_drop")
    curve = torch.tensor(measured.curves["map"]["deletion"])[0]
    assert bool(curve.isfinite().all()) and torch.equal(curve[:, -1], curve[:, -2])


def test_a_map_that_is_not_finite_has_no_curve(net: TinyViT) -> None:
    broken = torch.full((2, 12, 16), float("nan"))
    measured = deletion(evidence(net), {"map": broken, "flat": torch.zeros(2, 12, 16)}, steps=3, mode="token_drop")
    assert bool(measured.values["map"].isnan().all()) and bool(measured.values["flat"].isfinite().all())


def test_models_whose_tokens_are_no_set_are_refused_with_the_reason() -> None:
    maps = {"map": torch.rand(2, 12, 16)}

    class Mixing(TinyViT):
        """A block that mixes neighbouring tokens by their place in the sequence."""

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos
            for block in self.blocks:
                x = block(x)
                x = x + 0.5 * x.roll(1, dims=1)
            return self.head(self.norm(x)[:, 0])

    with pytest.raises(MethodUnavailable, match="another order"):
        deletion(evidence(Mixing()), maps, mode="token_drop")

    class Flattening(TinyViT):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Linear(12 * 13, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos
            for block in self.blocks:
                x = block(x)
            return self.wide(x.flatten(1))

    with pytest.raises(MethodUnavailable, match="fewer tokens|another order"):
        deletion(evidence(Flattening()), maps, mode="token_drop")
    with pytest.raises(MethodUnavailable, match="no sequence of token blocks"):
        deletion(evidence(Twin(), size=(12, 12)), {"map": torch.rand(2, 12, 12)}, mode="token_drop")
    black_box = look(wrap(lambda x: x.mean(dim=(2, 3)), input_size=(12, 16)), torch.rand(2, 3, 12, 16), 1)
    with pytest.raises(MethodUnavailable, match="black box"):
        deletion(black_box, maps, mode="token_drop")
    with pytest.raises(RequestError, match="mode='dropped'"):
        deletion(evidence(TinyViT()), maps, mode="dropped")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "beit_base_patch16_224"])
def test_plain_timm_transformers_allow_it_and_others_say_why_not(name: str) -> None:
    import timm

    small: dict[str, Any] = {
        "vit_tiny_patch16_224": {"embed_dim": 24, "depth": 2, "num_heads": 2},
        "swin_tiny_patch4_window7_224": {"embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2)},
        "beit_base_patch16_224": {"embed_dim": 24, "depth": 2, "num_heads": 2},
    }[name]
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=5, img_size=56 if name.startswith("swin") else 64, **small)
    size = (56, 56) if name.startswith("swin") else (64, 64)
    seen, maps = evidence(net, size=size), {"map": torch.rand(2, *size)}
    if name.startswith("vit"):
        assert bool(deletion(seen, maps, steps=4, mode="token_drop").values["map"].isfinite().all())
    else:
        with pytest.raises(MethodUnavailable, match="Dropping tokens"):
            deletion(seen, maps, steps=4, mode="token_drop")


def test_on_the_testbeds_transformer_a_true_map_beats_the_random_one() -> None:
    model = pl.load("testbed:vit")
    scenes = pl.testbed.scenes(1000, 6)
    truth = torch.from_numpy(pl.testbed.truth.causal(scenes)).float()
    seen = look(model, scenes.tensor(), scenes.labels.tolist())
    found = insertion_minus_deletion(
        seen, {"true": truth, "random": torch.rand(6, 64, 64, generator=torch.Generator().manual_seed(0))},
        steps=9, mode="token_drop",
    )  # fmt: skip
    assert float(found.values["true"].mean()) > 0.3 + float(found.values["random"].mean())
