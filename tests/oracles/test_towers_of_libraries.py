"""Attention and tokens of picture towers as open_clip, timm and transformers build them, beside texts."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import pellucid as pl
from pellucid.attribution.attention import by_class_token
from pellucid.attribution.eclip import handed_on
from pellucid.errors import MethodUnavailable
from tests.attribution.asked import ATTENTION
from tests.language.test_textspan_oracles import TOWERS, noise
from tests.oracles.asking import evidence_of, explainer_for, relative


@pytest.mark.parametrize("kind", TOWERS)
def test_what_tokens_hand_on_adds_up_in_every_block(kind: str) -> None:
    """sum_i P_i (w . v_i) = w . o, whatever the library, pooling, norms and registers."""
    evidence = evidence_of(TOWERS[kind](), noise(), 1)
    for place, (mixture, slope) in enumerate(zip(evidence.attended(), evidence.attended_gradient(), strict=True)):
        assert mixture.query is not None and mixture.key is not None
        reads = slice(0, 1) if by_class_token(evidence) else slice(None)
        expected = (slope * mixture.output)[:, :, reads].sum(dim=(1, 2, 3))
        assert relative(handed_on(evidence, place, "attention", "grad_eclip").sum(dim=1), expected) < 1e-4


@pytest.mark.parametrize("kind", TOWERS)
def test_the_comparison_that_is_seen_gives_the_probabilities(kind: str) -> None:
    """softmax of query times key, up to the factor that the model has put on one of them, or on neither."""
    for mixture in evidence_of(TOWERS[kind](), noise(), 1).attended():
        assert mixture.query is not None and mixture.key is not None
        likeness, width = mixture.query @ mixture.key.transpose(2, 3), mixture.query.shape[-1]
        errors = [
            ((likeness * scale).softmax(dim=-1) - mixture.probabilities).abs().max() for scale in (1, width**-0.5)
        ]
        assert min(errors) < 1e-5
        assert_close(mixture.output, mixture.probabilities @ mixture.value, rtol=1e-4, atol=1e-5)


@pytest.mark.untyped  # of a token per picture the head is asked of many: more come out than went in
@pytest.mark.parametrize("kind", [name for name in TOWERS if "mean" not in name and "registers" not in name])
def test_the_class_token_of_the_last_block_gives_the_logits(kind: str) -> None:
    evidence = evidence_of(TOWERS[kind](), noise(), 1)
    assert by_class_token(evidence)
    assert_close(evidence.token_outputs(evidence.layers.blocks[-1])[:, 0], evidence.output(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.untyped if name == "class_embedding" else ()) for name in ATTENTION],
)
@pytest.mark.parametrize("kind", TOWERS)
def test_every_map_of_a_tower_lies_on_its_grid(kind: str, name: str) -> None:
    """For one text or another; where all of attention speaks against a text, its map is zero."""
    model = TOWERS[kind]()
    if name == "ia_red" and ("mean" in kind or "registers" in kind):
        with pytest.raises(MethodUnavailable, match="no class token"):
            explainer_for(name, model, (32, 32))
        return
    fitted = explainer_for(name, model, (32, 32))
    found = [pl.attribute(model, noise().float(), name, target=text, **fitted).values for text in range(4)]
    assert all(values.shape == (3, 32, 32) and values.isfinite().all() for values in found)
    assert max(float(values.flatten(1).std(dim=1).max()) for values in found) > 0


@pytest.mark.untyped
def test_a_picture_can_be_what_another_is_compared_with() -> None:
    model = pl.load("testbed:dual")
    frames = pl.testbed.scenes(3, 2).frames()
    for name in ("grad_eclip", "mmel", "class_embedding"):
        found = pl.attribute(model, frames[0], name, target=pl.Similar(frames[1]))
        other = pl.attribute(model, frames[0], name, target=0)
        assert not torch.allclose(found.values, other.values)
