"""A map that ignores the model outlives its weights; a map of the model does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.results import Score
from pellucid.subject import VisionModel, wrap
from pellucid.trust.sanity import model_randomisation, randomise, rank_correlation
from pellucid.values import Seed
from tests.guests import unchanged
from tests.nets import Twin
from tests.oracles.nets import pictures

INPUTS = pictures(2, 12, 14)


def twin() -> VisionModel:
    return wrap(Twin(), input_size=(12, 14))


def randomised(model: VisionModel, images: object, method: str, target: int | None = 1, **parameters: object) -> Score:
    heat = pl.attribute(model, images, method, target=target)
    return pl.evaluate(model, images, heat, "model_randomisation", **parameters)[0]


@pytest.mark.parametrize("method", ["edge", "centre", "random"])
def test_a_map_that_ignores_the_model_stays_as_it_was_at_every_stop(method: str) -> None:
    score = randomised(twin(), INPUTS, method)
    assert score.values == pytest.approx((1.0, 1.0))
    assert score.curves is not None
    assert np.asarray(score.curves["similarity"]) == pytest.approx(1.0)
    assert score.spread == pytest.approx((0.0, 0.0))


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients"])
def test_a_map_of_a_trained_model_goes_with_its_weights(method: str) -> None:
    model, frames = pl.load("testbed:cnn"), pl.testbed.scenes(7, 2).frames()
    score = randomised(model, frames, method, target=None, depths=2)
    assert max(abs(value) for value in score.values) < 0.3
    assert all(score.margin(name, index) > 0.7 for name in ("centre", "edge") for index in (0, 1))


def test_the_gradient_of_a_linear_model_becomes_that_of_the_random_weights() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 14, 4))
    score = randomised(wrap(network, input_size=(12, 14)), INPUTS, "gradient", depths=1)
    # Two unrelated maps of 168 pixels: the correlation has standard deviation 1 / sqrt(167).
    assert max(abs(value) for value in score.values) < 4 / 167**0.5


def test_the_stops_go_from_the_last_layer_to_the_first() -> None:
    seen: list[dict[str, Tensor]] = []
    model, heat = twin(), pl.attribute(twin(), INPUTS, "gradient", target=1)

    def remake(other: VisionModel) -> Tensor:
        assert other.module is not None
        seen.append({name: value.clone() for name, value in other.module.named_parameters()})
        return heat.one_channel

    score = model_randomisation(model, heat, remake=remake, depths=4)
    assert score.curves is not None and score.curves["layers"] == [1.0, 2.0, 3.0, 4.0]
    assert score.values == pytest.approx((1.0, 1.0))
    assert model.module is not None
    learned = dict(model.module.named_parameters())
    order = ["head", "norm", "second", "first"]
    for stop, weights in enumerate(seen, start=1):
        changed = {name.split(".")[0] for name in weights if not torch.equal(weights[name], learned[name])}
        assert changed == set(order[:stop])


@pytest.mark.parametrize(("depths", "layers"), [(1, [4.0]), (2, [2.0, 4.0]), (9, [1.0, 2.0, 3.0, 4.0])])
def test_the_last_stop_has_every_layer_made_random(depths: int, layers: list[float]) -> None:
    score = randomised(twin(), INPUTS, "gradient", depths=depths)
    assert score.curves is not None and score.curves["layers"] == layers
    similarity = score.curves["similarity"]
    assert len(similarity) == len(layers) and tuple(similarity[-1]) == score.values


@pytest.mark.parametrize("kind", ["module", "in-place functional"])
def test_the_callers_model_is_not_changed(kind: str) -> None:
    network = Twin(kind).train()
    with unchanged(network):
        model = wrap(network, input_size=(12, 14))
        before = model.fingerprint
        randomised(model, INPUTS, "gradient")
        assert model.fingerprint == before


def test_the_same_seed_draws_the_same_weights() -> None:
    one, again, other = (randomised(twin(), INPUTS, "gradient", seed=seed).values for seed in (3, 3, 4))
    assert one == again != other


def test_fresh_weights_have_the_spread_of_the_old_ones_and_the_rest_starts_anew() -> None:
    layer, norm = nn.Linear(200, 300), nn.BatchNorm2d(16)
    with torch.no_grad():
        layer.weight.mul_(7).add_(2)
        for learned in norm.parameters():
            learned.copy_(torch.linspace(-2, 2, 16))
        norm.running_mean += 3  # type: ignore[operator]
        norm.running_var += 3  # type: ignore[operator]
    old, state = layer.weight.detach().clone(), torch.get_rng_state()
    randomise(layer, Seed(0))
    randomise(norm, Seed(0))
    assert torch.equal(state, torch.get_rng_state())
    assert float(layer.weight.detach().std()) == pytest.approx(float(old.std()), rel=0.02)
    assert abs(float(layer.weight.detach().mean())) < 0.1
    assert abs(float(torch.corrcoef(torch.stack([old.flatten(), layer.weight.detach().flatten()]))[0, 1])) < 0.02
    assert norm.running_mean is not None and not norm.running_mean.any()
    assert norm.running_var is not None and (norm.running_var == 1).all()
    assert bool((norm.weight == 1).all()) and not norm.bias.any() and not layer.bias.any()


def test_rank_correlation_is_spearmans_with_shared_ranks_at_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randint(0, 9, (4, 6, 7), generator=generator).float()
    other = (one + 3 * torch.randn(4, 6, 7, generator=generator)).round()
    expected = [spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic for a, b in zip(one, other, strict=True)]
    assert_close(rank_correlation(one, other), torch.tensor(expected), check_dtype=False, rtol=1e-6, atol=1e-9)


def test_rank_correlation_at_its_ends() -> None:
    values = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(1))
    assert_close(rank_correlation(values, values.exp()), torch.ones(2), check_dtype=False)
    assert_close(rank_correlation(values, -values), -torch.ones(2), check_dtype=False)
    assert not rank_correlation(values, torch.zeros(2, 5, 6)).any()


def test_a_black_box_has_no_weights_to_lose() -> None:
    box = wrap(lambda inputs: inputs.mean(dim=(2, 3)), input_size=(12, 14))
    heat = replace(pl.attribute(twin(), INPUTS, "edge", target=1))
    with pytest.raises(MethodUnavailable, match="black box"):
        pl.evaluate(box, INPUTS, heat, "model_randomisation")
    with pytest.raises(RequestError, match="depths=0"):
        pl.evaluate(twin(), INPUTS, heat, "model_randomisation", depths=0)
