"""A map that ignores the model outlives its weights; a map of the model does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.testing import assert_close

import pellucid as pl
from pellucid.engine import look
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.results import Score
from pellucid.subject import VisionModel, wrap
from pellucid.trust import sanity
from pellucid.trust.likeness import LIKENESSES, histogram_entropy, rank_correlation, structure
from pellucid.trust.sanity import model_randomisation, randomise
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
    assert score.curves is not None
    assert np.abs(np.asarray(score.curves["similarity"])[-1]).max() < 0.3
    assert all(score.margin(name, index) > 0.7 for name in ("centre", "edge") for index in (0, 1))


def test_the_gradient_of_a_linear_model_becomes_that_of_the_random_weights() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 14, 4))
    score = randomised(wrap(network, input_size=(12, 14)), INPUTS, "gradient", depths=1)
    # Two unrelated maps of 168 pixels: the correlation has standard deviation 1 / sqrt(167).
    assert max(abs(value) for value in score.values) < 4 / 167**0.5


def test_measures_that_walk_through_the_same_weights_share_the_maps_made_there() -> None:
    model, heat = twin(), pl.attribute(twin(), INPUTS, "gradient", target=1)
    both = ("model_randomisation", "structure_randomisation")
    alone = [pl.evaluate(model, INPUTS, heat, name)[0] for name in both]
    with counted() as passes:
        pl.evaluate(model, INPUTS, heat, both[0])
    of_one = len(passes)
    with counted() as passes:
        together = pl.evaluate(model, INPUTS, heat, both)
    assert len(passes) == of_one
    assert [score.values for score in together] == [score.values for score in alone]


@contextmanager
def counted() -> Iterator[list[nn.Module]]:
    """Every forward of a `Twin` while this is open."""
    passes: list[nn.Module] = []
    handle = register_module_forward_pre_hook(
        lambda module, _: passes.append(module) if isinstance(module, Twin) else None
    )
    try:
        yield passes
    finally:
        handle.remove()


@pytest.mark.parametrize("mode", ["cascading", "independent"])
def test_the_stops_go_from_the_last_layer_to_the_first(mode: str) -> None:
    seen: list[dict[str, Tensor]] = []
    model = twin()
    maps = {"gradient": pl.attribute(model, INPUTS, "gradient", target=1).one_channel}

    def remake(*, model: VisionModel | None = None, **_: object) -> dict[str, Tensor]:
        assert model is not None and model.module is not None
        seen.append({name: value.clone() for name, value in model.module.named_parameters()})
        return maps

    found = model_randomisation(look(model, INPUTS, 1), model, maps, remake, depths=4, mode=mode)
    assert found.curves["gradient"]["layers"] == [1.0, 2.0, 3.0, 4.0]
    assert found.values["gradient"].tolist() == pytest.approx((1.0, 1.0))
    assert model.module is not None
    learned = dict(model.module.named_parameters())
    order = ["head", "norm", "second", "first"]
    for stop, weights in enumerate(seen, start=1):
        changed = {name.split(".")[0] for name in weights if not torch.equal(weights[name], learned[name])}
        assert changed == set(order[:stop] if mode == "cascading" else order[stop - 1 : stop])


@pytest.mark.parametrize("alike", LIKENESSES)
def test_the_likeness_is_the_one_that_was_asked_for(alike: str) -> None:
    model, heat = twin(), pl.attribute(twin(), INPUTS, "gradient_x_input", target=1)
    (score,) = pl.evaluate(model, INPUTS, heat, "model_randomisation", depths=1, alike=alike)
    *_, (_, network) = sanity.randomised(Twin(), 1, Seed(0))
    after = pl.attribute(wrap(network, input_size=(12, 14)), INPUTS, "gradient_x_input", target=1)
    expected = LIKENESSES[alike].measure(heat.one_channel, after.one_channel)
    assert score.values == pytest.approx(expected.tolist(), abs=1e-5) and score.unit == LIKENESSES[alike].words
    assert score.edge == pytest.approx((1.0, 1.0))
    if alike == "ssim":
        (same,) = pl.evaluate(model, INPUTS, heat, "structure_randomisation", depths=1)
        assert same.values == score.values


def test_several_draws_of_weights_are_averaged_and_their_means_spread() -> None:
    score = randomised(twin(), INPUTS, "gradient", depths=2, draws=3)
    assert score.curves is not None
    draws = np.asarray(score.curves["draws"])
    assert draws.shape == (3, 2) and len(set(draws[:, 0])) == 3
    assert draws[0] == pytest.approx(randomised(twin(), INPUTS, "gradient", depths=2).values)
    assert score.values == pytest.approx(draws.mean(axis=0)) and score.spread == pytest.approx(draws.std(axis=0))


def test_smooth_maps_are_averages_over_noisy_pictures() -> None:
    """Both maps are, the trained one's and the random one's, under the same noise; a linear model does not mind."""
    model, heat = twin(), pl.attribute(twin(), INPUTS, "gradient_x_input", target=1)
    (score,) = pl.evaluate(model, INPUTS, heat, "model_randomisation", depths=1, smooth=3, noise=0.2)
    *_, (_, network) = sanity.randomised(Twin(), 1, Seed(0))
    span = (INPUTS.amax(dim=(1, 2, 3)) - INPUTS.amin(dim=(1, 2, 3)))[:, None, None, None]
    noisy = [
        INPUTS + 0.2 * span * torch.randn(INPUTS.shape, generator=Seed(0).child("smooth", at).generator())
        for at in range(3)
    ]
    before, after = (
        torch.stack([pl.attribute(one, at, "gradient_x_input", target=1).one_channel for at in noisy]).mean(dim=0)
        for one in (model, wrap(network, input_size=(12, 14)))
    )
    assert score.values == pytest.approx(rank_correlation(before, after).tolist(), abs=1e-5)
    assert score.edge == pytest.approx((1.0, 1.0)) and max(abs(one) for one in score.random) < 4 / 167**0.5
    flat = wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 14, 4)), input_size=(12, 14))
    plain, smooth = (randomised(flat, INPUTS, "gradient", depths=1, smooth=count).values for count in (1, 2))
    assert plain == pytest.approx(smooth, abs=1e-5)


def test_walks_that_lead_nowhere_are_refused() -> None:
    for wrong in ({"mode": "sideways"}, {"draws": 0}, {"smooth": 0}, {"noise": 0.0}, {"alike": "taste"}):
        with pytest.raises(RequestError, match="expected"):
            randomised(twin(), INPUTS, "gradient", **wrong)


def test_the_controls_that_see_the_picture_stay_and_the_random_one_goes() -> None:
    score = randomised(twin(), INPUTS, "gradient")
    assert score.centre == pytest.approx((1.0, 1.0)) and score.edge == pytest.approx((1.0, 1.0))
    assert max(abs(value) for value in score.random) < 4 / 167**0.5


@pytest.mark.parametrize(("depths", "layers"), [(1, [4.0]), (2, [2.0, 4.0]), (9, [1.0, 2.0, 3.0, 4.0])])
def test_the_last_stop_has_every_layer_made_random(depths: int, layers: list[float]) -> None:
    score = randomised(twin(), INPUTS, "gradient", depths=depths)
    assert score.curves is not None and score.curves["layers"] == layers
    similarity = np.asarray(score.curves["similarity"])
    assert len(similarity) == len(layers)
    assert similarity.mean(axis=0) == pytest.approx(score.values)
    assert similarity.std(axis=0) == pytest.approx(score.spread or (0.0, 0.0), abs=1e-9)
    assert bool(score.spread) is (depths > 1)


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


def test_structural_similarity_is_that_of_scikit_image() -> None:
    generator = torch.Generator().manual_seed(5)
    one, other = (torch.randn(3, 20, 26, generator=generator) for _ in range(2))
    other = one + 0.4 * other

    def scaled(values: Tensor) -> np.ndarray:
        size = values.abs().double()
        return ((size - size.min()) / (size.max() - size.min())).numpy()

    expected = [
        structural_similarity(scaled(a), scaled(b), data_range=1.0, win_size=7) for a, b in zip(one, other, strict=True)
    ]
    assert_close(structure(one, other), torch.tensor(expected), check_dtype=False, rtol=1e-3, atol=2e-3)
    assert_close(structure(one, -3 * one), torch.ones(3), check_dtype=False)
    assert structure(one[:, :4, :5], other[:, :4, :5]).shape == (3,)


def test_the_entropy_of_a_histogram_has_a_closed_form() -> None:
    steps = torch.arange(200).float().view(1, 10, 20)
    assert float(histogram_entropy(steps)) == pytest.approx(np.log(100), rel=1e-3)
    assert float(histogram_entropy(torch.ones(1, 10, 20))) == 0.0


@pytest.mark.parametrize(
    ("method", "fails"),
    [
        ("guided_backprop", True), ("deconvnet", True), ("guided_grad_cam", True), ("centre", True), ("edge", True),
        ("gradient", False), ("grad_cam", False), ("occlusion", False),
    ],
)  # fmt: skip
def test_the_checks_fail_what_is_known_to_fail_and_pass_what_is_known_to_depend_on_the_model(
    method: str, fails: bool
) -> None:
    """On the shipped convolutional net, as in Adebayo et al. 2018; deconvnet does not even look at the picture."""
    model, scenes = pl.load("testbed:cnn"), pl.testbed.scenes(902, 4)
    own: dict[str, Any] = {"window": 16, "stride": 8} if method == "occlusion" else {}
    heat = pl.attribute(model, scenes.frames(), method, target=scenes.labels.tolist(), **own)
    checks = [
        pl.metrics()[name] for name in ("model_randomisation", "structure_randomisation", "picture_randomisation")
    ]
    scores = pl.evaluate(model, scenes.frames(), heat, [check.name for check in checks])
    failed = [
        score.metric for score, check in zip(scores, checks, strict=True)
        if check.limit is not None and np.mean(score.values) > check.limit
    ]  # fmt: skip
    assert bool(failed) == fails, [(score.metric, np.mean(score.values)) for score in scores]
