"""Prompts of the classes in one block that can be written down, in a planted net, and blurred head by head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.attribution.fitted import Explainer, fit, unfitted
from pellucid.attribution.prompt_cam import PromptNet, asked_prompts, prompted, ranked_heads
from pellucid.engine.blocks import token_blocks
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import Learning
from pellucid.stories.traits import traits
from tests.guests import unchanged
from tests.oracles.asking import ask, evidence_of
from tests.oracles.library_vits import of_torchvision, of_transformers
from tests.oracles.nets import TinyAttention, Twin, pictures, tiny_vit
from tests.oracles.patches import SIZE, RedSeeker, coloured


def by_hand(network: TinyAttention, net: PromptNet, inputs: Tensor, *, even: bool) -> tuple[Tensor, Tensor]:
    """What one block makes of [prompts, tokens]: scores, and the rows of the prompts among the patches."""
    attention = network.blocks[0].attention
    together = torch.cat([net.own.expand(len(inputs), -1, -1), network.tokens(inputs)], dim=1)
    rows = attention.probabilities(together)
    rows = torch.full_like(rows, 1 / rows.shape[-1]) if even else rows
    made = together + attention.out(rows @ attention.value(together))
    classes = len(net.own)
    return net.scores(made[:, :classes]).detach(), rows[:, :classes, classes + 1 :].detach()


@pytest.mark.parametrize("variant", ["deep", "shallow"])
def test_one_block_has_a_closed_form(variant: str) -> None:
    network, inputs = TinyAttention(), pictures(3, *SIZE)
    explainer = unfitted("prompt_cam", pl.wrap(network, input_size=SIZE), SIZE, variant=variant)
    net: Any = explainer.net
    scores, rows = by_hand(network, net, inputs, even=False)
    evidence = evidence_of(network, inputs, 2)
    found, _ = asked_prompts(evidence, explainer)
    assert_close(found.scores, scores)
    assert_close(found.rows[:, 0], rows)
    assert_close(ask("prompt_cam", network, inputs, 2, explainer=explainer), rows[:, 2].unflatten(1, (3, 4)))


def test_a_prompt_with_all_heads_blurred_reads_the_mean_of_the_values() -> None:
    network, inputs = TinyAttention(), pictures(2, *SIZE)
    model = pl.wrap(network, input_size=SIZE)
    net: Any = unfitted("prompt_cam", model, SIZE).net
    plain, _ = by_hand(network, net, inputs, even=False)
    even, _ = by_hand(network, net, inputs, even=True)
    with torch.no_grad():
        found = prompted(model, inputs, token_blocks(model, SIZE, "prompt_cam"), net,
                         blurred=([1, 3], torch.ones(2, 1, dtype=torch.bool)))  # fmt: skip
    for picture, label in enumerate((1, 3)):
        assert_close(found.scores[picture, label], even[picture, label])
        others = [other for other in range(4) if other != label]
        assert_close(found.scores[picture, others], plain[picture, others])


def test_shallow_prompts_go_through_all_blocks_and_deep_ones_begin_anew_in_each() -> None:
    network, inputs = TinyAttention(depth=2), pictures(2, *SIZE)
    for variant in ("shallow", "deep"):
        explainer = unfitted("prompt_cam", pl.wrap(network, input_size=SIZE), SIZE, variant=variant, general=3)
        net: Any = explainer.net
        tokens, prompts = network.tokens(inputs), net.own if variant == "shallow" else net.general[0]
        together = network.blocks[0](torch.cat([prompts.expand(2, -1, -1), tokens], dim=1))
        carried, tokens = together[:, : len(prompts)], together[:, len(prompts) :]
        last = carried if variant == "shallow" else net.own.expand(2, -1, -1)
        expected = net.scores(network.blocks[1](torch.cat([last, tokens], dim=1))[:, :4])
        assert_close(asked_prompts(evidence_of(network, inputs), explainer)[0].scores, expected.detach())


@pytest.fixture(scope="module")
def fitted() -> Explainer:
    model = pl.wrap(RedSeeker(), input_size=SIZE)
    plan = Learning(updates=200, learning_rate=3e-2, batch=32, every=50)
    before = model.fingerprint
    found = fit("prompt_cam", model, coloured(64, 0)[0], learning=plan)
    assert model.fingerprint == before
    return found


def test_prompts_learn_to_attend_to_the_patch_that_decides(fitted: Explainer) -> None:
    network = RedSeeker()
    fresh, red = coloured(40, 1)
    evidence = evidence_of(network, fresh, 1)
    found = ask("prompt_cam", network, fresh, 1, explainer=fitted)
    with unchanged(network):
        prompts, _ = asked_prompts(evidence, fitted)
    assert torch.equal(prompts.scores.argmax(dim=1), evidence.output().argmax(dim=1))
    assert any("in 40 of 40 pictures" in note for note in evidence.notes)
    places = found[::2].flatten(1).argmax(dim=1)
    assert torch.equal(places, red[::2].flatten(1).float().argmax(dim=1))


def test_a_head_that_attends_evenly_is_the_first_that_can_be_spared() -> None:
    network = tiny_vit(32, 48)
    with torch.no_grad():
        network.blocks[-1].attn.qkv.weight[8:16] = 0  # queries of its second head
        network.blocks[-1].attn.qkv.bias[8:16] = 0
    model, inputs = pl.wrap(network, input_size=(32, 48)), pictures(1, 32, 48)
    explainer = unfitted("prompt_cam", model, (32, 48))
    evidence = evidence_of(model, inputs)
    found = ranked_heads(evidence, 3, explainer)
    blocks, net = token_blocks(model, (32, 48), "prompt_cam"), explainer.net
    alone = [
        prompted(model, inputs, blocks, net, blurred=([3], torch.tensor([heads]))).probabilities[0, 3].item()
        for heads in ([True, False], [False, True], [True, True])
    ]
    assert found.left[0] == pytest.approx(max(alone[:2]), rel=1e-4) and found.left[1] == pytest.approx(alone[2])
    assert alone[1] == pytest.approx(found.whole, rel=1e-4)
    assert found.blurred[0] == (0 if alone[0] > alone[1] else 1)
    assert_close(found.maps[1], torch.full((4, 6), 1 / (5 + 1 + 24)))
    assert len(found.needed(0.999999)) >= len(found.needed(0.01))


def test_traits_are_drawn_saved_and_opened(fitted: Explainer, tmp_path: Path) -> None:
    fresh, _ = coloured(2, 1)
    model = pl.wrap(RedSeeker(), input_size=SIZE, labels=["none", "red"])
    found = traits(model, fresh[:1], explainer=fitted)
    assert (found.asked.label, found.rival.label) == ("red", "none") and found.agrees
    assert found.asked.order == (0,) and found.asked.needed == 1
    assert found.asked.left[0] < 0.5 * found.asked.probability
    assert "is told by 1 of 1 heads: 0." in found.sentence
    for suffix in ("png", "html", "txt", "json"):
        assert found.save(tmp_path / f"traits.{suffix}").stat().st_size > 100
    assert pl.open(tmp_path / "traits.json") == found
    with pytest.raises(RequestError, match="one picture; got 2"):
        traits(model, fresh, explainer=fitted)
    with pytest.raises(RequestError, match="is the class itself"):
        traits(model, fresh[:1], rival="red", explainer=fitted)


def _relative() -> Any:
    from timm.models.beit import Beit

    return Beit(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=5, use_rel_pos_bias=True)


@pytest.mark.parametrize("make", [of_torchvision, of_transformers])
def testof_transformers_of_other_libraries_take_prompts(make: Any) -> None:
    torch.manual_seed(0)
    found = ask("prompt_cam", make().eval(), pictures(2, 32, 32), 1)
    assert found.shape == (2, 4, 4) and found.min() > 0 and found.flatten(1).sum(dim=1).max() < 1


@pytest.mark.parametrize(("make", "reason"), [(_relative, "take no further tokens|changes its answer"),
                                              (lambda: Twin("module"), "no sequence of token blocks")])  # fmt: skip
def test_models_without_a_place_for_prompts_are_refused(make: Any, reason: str) -> None:
    with pytest.raises(MethodUnavailable, match=reason):
        unfitted("prompt_cam", pl.wrap(make().eval(), input_size=(32, 32)), (32, 32))
    with pytest.raises(RequestError, match="one of deep, shallow"):
        unfitted("prompt_cam", pl.wrap(TinyAttention(), input_size=SIZE), SIZE, variant="wide")
