"""What holds for every method, whatever it computes."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pellucid.registry import find_method, methods
from tests.attribution.asked import ALL, ATTENTION, CONVOLUTIONAL, DIFFERENCES, QUICK, RANDOM
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import Twin, pictures, tiny_vit

SIZES = {"cnn": (37, 53), "vit": (32, 48)}
NETWORKS: dict[str, nn.Module] = {"cnn": Twin("module"), "vit": tiny_vit(32, 48, registers=1)}
CASES = [("cnn", name) for name in CONVOLUTIONAL] + [("vit", name) for name in ALL]
CARDS = Path(__file__).parents[2] / "docs" / "methods"


def batch_of(kind: str, count: int = 3) -> Tensor:
    return pictures(count, *SIZES[kind], seed=30) * torch.linspace(0.5, 2, count)[:, None, None, None]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_bfloat16_model_gives_almost_the_same_map(kind: str, name: str) -> None:
    """Two to three digits remain of every number inside; the maps have to agree as pictures do.

    Differences of scores may drown in that rounding, and patterns of equal strength may change places: there only
    finite values are asked for.
    """
    parameters = QUICK.get(name, {})
    full, half = NETWORKS[kind], copy.deepcopy(NETWORKS[kind]).bfloat16()
    inputs = batch_of(kind).bfloat16().float()
    target = {"cnn": 2, "vit": 1}[kind]  # classes for which something speaks in every picture
    expected, found = ask(name, full, inputs, target, **parameters), ask(name, half, inputs, target, **parameters)
    assert found.dtype == torch.float32 and found.isfinite().all()
    if name in DIFFERENCES or (kind == "vit" and name.startswith("eigen")):
        return
    alike = torch.nn.functional.cosine_similarity(found.flatten(1), expected.flatten(1))
    alike[~(found.flatten(1).any(dim=1) | expected.flatten(1).any(dim=1))] = 1  # both are zero everywhere
    assert alike.min() > 0.95, f"cosine {alike.tolist()}"


@pytest.mark.parametrize("name", RANDOM)
def test_chance_follows_the_seed_alone(name: str) -> None:
    network, inputs, parameters = NETWORKS["cnn"], batch_of("cnn", 2), dict(QUICK.get(name, {}))
    if name == "smooth_grad_cam_pp":
        parameters["layer"] = "norm1"  # at the last layer of this net the gradient is the same for every input
    before = torch.random.get_rng_state()
    first, again = (ask(name, network, inputs, seed=4, **parameters) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, ask(name, network, inputs, seed=5, **parameters))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", [name for name in CONVOLUTIONAL if name not in RANDOM])
def test_what_is_not_random_ignores_the_seed(name: str) -> None:
    parameters = QUICK.get(name, {})
    first, other = (ask(name, NETWORKS["cnn"], batch_of("cnn", 1), seed=seed, **parameters) for seed in (0, 1))
    assert torch.equal(first, other)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_method_costs_no_more_than_it_declares(kind: str, name: str) -> None:
    """Beyond one forward and one backward; a backward counts two, and a changed rule has its own."""
    method, evidence = find_method(name), evidence_of(NETWORKS[kind], batch_of(kind, 1))
    layer = evidence.layers.default
    values_of(name, evidence, **QUICK.get(name, {}))
    declared = method.passes(**QUICK.get(name, {}), layer=layer, size=evidence.size)
    rules = 2 * sum(type(need).__name__ == "Rule" for need in method.needs)
    allowed = declared + rules + 3 + 3 * (len(method.needs) > 1)  # asked one by one here, so the pair may run twice
    assert evidence.passes.cost <= allowed, f"{evidence.passes} for {declared} declared"
    # What these run depends on the model: what lies behind the layer, what of it has bounds.
    if name not in ("ablation_cam", "eva"):
        assert evidence.passes.cost >= declared, f"{evidence.passes} for {declared} declared"


@pytest.mark.parametrize("name", ALL)
def test_every_method_says_what_it_is(name: str) -> None:
    method = methods()[name]
    assert method.paper and re.search(r"\d{4}|control", method.paper)
    assert method.summary[0].isupper() and method.summary[-1] in ".:" and not method.summary.startswith("This")
    assert set(method.sees) <= {"map", "tokens", "pixels"}
    takes_layer = "layer" in inspect.signature(method.function).parameters
    assert takes_layer == method.layered


@pytest.mark.parametrize("name", ALL)
def test_every_method_has_a_card_with_all_its_parameters(name: str) -> None:
    card = (CARDS / f"{name}.md").read_text()
    assert card.startswith(f"# {name}\n")
    for parameter in list(inspect.signature(methods()[name].function).parameters.values())[1:]:
        if parameter.name != "layer":
            assert f"`{parameter.name}`" in card, f"{parameter.name} is missing"
            assert str(parameter.default).strip("'") in card, f"the default of {parameter.name} is missing"


def test_every_card_belongs_to_a_method() -> None:
    assert {card.stem for card in CARDS.glob("*.md")} <= set(methods())


def test_the_methods_asked_for_exist() -> None:
    asked = set(
        """gradient gradient_x_input guided_backprop deconvnet smoothgrad smoothgrad_squared vargrad
        integrated_gradients grad_cam guided_grad_cam grad_cam_pp smooth_grad_cam_pp eigen_cam eigen_grad_cam layer_cam
        hires_cam xgrad_cam score_cam ablation_cam fullgrad occlusion rise lime kernel_shap attention_rollout chefer
        legrad random centre edge""".split()  # noqa: SIM905
    )
    assert asked <= set(ALL)
    assert {name for name in ALL if methods()[name].control} == {"random", "centre", "edge"}
    assert find_method("saliency") is methods()["gradient"]


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_maps_are_never_negative(name: str) -> None:
    assert ask(name, NETWORKS["vit"], batch_of("vit")).min() >= 0


def test_the_gradient_is_the_slope_by_finite_differences() -> None:
    """In double precision on a smooth net: a GELU transformer."""
    network = tiny_vit(32, 48).double()
    inputs = pictures(1, 32, 48, seed=31)
    slope = ask("gradient", network, inputs, 2)
    for position in ((0, 0, 3, 5), (0, 1, 17, 40), (0, 2, 31, 47)):
        step = torch.zeros_like(inputs, dtype=torch.float64)
        step[position] = 1e-3
        with torch.no_grad():
            higher, lower = (network(inputs.double() + sign * step)[0, 2] for sign in (1, -1))
        expected = float(higher - lower) / 2e-3
        assert float(slope[position]) == pytest.approx(expected, rel=1e-5), position
