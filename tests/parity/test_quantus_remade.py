"""The same numbers as Quantus 0.6 where maps are made anew: for changed pictures, networks and classes.

Both are handed the same changes and the same networks; what is left is the definition. Pictures are grey, as in
`test_quantus`, and the explained network is small enough that gradient x input is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pellucid.engine import Evidence, look
from pellucid.engine.maps import compute
from pellucid.registry import find_method
from pellucid.subject import VisionModel, wrap
from pellucid.trust import sanity
from pellucid.trust.axioms import input_invariance
from pellucid.trust.complexity import effective_size
from pellucid.trust.measured import Measured
from pellucid.trust.robustness import local_lipschitz, max_sensitivity, output_stability, representation_stability
from pellucid.trust.sanity import class_sensitivity, efficient_randomisation, model_randomisation
from pellucid.trust.subsets import Sets, lost_without, pearson
from pellucid.values import Class, Seed
from tests.oracles.nets import seeded
from tests.parity.test_quantus import CLASS, HEIGHT, INPUTS, NETWORK, VALUES, WIDTH, Grey, _their_warnings, quantus

assert _their_warnings is not None  # a fixture that every test here uses

SAMPLES, RADIUS = 6, 0.05
METHOD = "gradient_x_input"
PLAIN: dict[str, Any] = {"normalise": False, "abs": False, "return_aggregate": False, "disable_warnings": True}
Relative = Callable[..., Measured]


def model_of(network: nn.Module) -> VisionModel:
    return wrap(network, input_size=(HEIGHT, WIDTH), activation="none")


def seen(network: nn.Module = NETWORK, inputs: Tensor = INPUTS, target: Any = CLASS) -> Evidence:
    return look(model_of(network), inputs, [Class(target)] * len(inputs) if isinstance(target, int) else target)


def made(evidence: Evidence) -> Tensor:
    return compute(evidence, find_method(METHOD))


def explained(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
    """The map as Quantus asks for it."""
    classes = [Class(int(one)) for one in targets]
    return made(seen(model, torch.as_tensor(inputs).float(), classes))[:, None].numpy()


def remake(
    *, model: VisionModel | None = None, inputs: Tensor | None = None, targets: Any = None, **_: Any
) -> dict[str, Tensor]:
    network = NETWORK if model is None else model.module
    assert network is not None
    return {"map": made(seen(network, INPUTS if inputs is None else inputs, CLASS if targets is None else targets))}


def theirs(metric: Any, *, softmax: bool = False) -> Tensor:
    found = metric(
        model=NETWORK, x_batch=INPUTS.numpy(), y_batch=np.full(3, CLASS), a_batch=None, explain_func=explained,
        device="cpu", softmax=softmax, channel_first=True,
    )  # fmt: skip
    return torch.tensor(np.array(found)).double()


def same_changes() -> Callable[..., np.ndarray]:
    """Draws, one call after the other, what ours draws; pictures come flat."""
    calls: Iterator[int] = iter(range(10**6))

    def change(arr: np.ndarray, **_: Any) -> np.ndarray:
        generator = Seed(0).child("change", next(calls)).generator()
        moved = (2 * torch.rand(INPUTS.shape, generator=generator) - 1) * RADIUS
        return arr + moved.flatten(1).numpy()

    return change


def ours(metric: Relative, **asked: Any) -> Tensor:
    evidence = seen()
    found = metric(evidence, {"map": made(evidence)}, remake, samples=SAMPLES, radius=RADIUS, **asked)
    return found.values["map"].double()


@pytest.mark.parametrize(("summary", "peer"), [("largest", "MaxSensitivity"), ("mean", "AvgSensitivity")])
def test_sensitivity(summary: str, peer: str) -> None:
    metric = getattr(quantus, peer)(nr_samples=SAMPLES, perturb_func=same_changes(), **PLAIN)
    assert_close(ours(max_sensitivity, summary=summary), theirs(metric), rtol=1e-4, atol=1e-6)


def test_local_lipschitz_estimate() -> None:
    metric = quantus.LocalLipschitzEstimate(nr_samples=SAMPLES, perturb_func=same_changes(), **PLAIN)
    assert_close(ours(local_lipschitz, relative="none"), theirs(metric), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("measure", "asked", "peer", "settings"),
    [
        (local_lipschitz, {"same_class": True}, "RelativeInputStability", {}),
        (output_stability, {}, "RelativeOutputStability", {}),
        (representation_stability, {"representation": "conv"}, "RelativeRepresentationStability",
         {"layer_names": ["conv"]}),
    ],
)  # fmt: skip
def test_relative_stability(measure: Relative, asked: dict[str, Any], peer: str, settings: dict[str, Any]) -> None:
    """Every picture keeps its class here: theirs has no value once one sample loses it."""
    metric = getattr(quantus, peer)(nr_samples=SAMPLES, perturb_func=same_changes(), **settings, **PLAIN)
    assert_close(ours(measure, relative="elements", **asked), theirs(metric), rtol=1e-3, atol=1e-4)


def test_sensitivity_n_on_the_map_s_own_order() -> None:
    """Quantus takes the sets in the map's order and correlates over pictures; sums and falls of a set are the same."""
    step, steps = 8, int(0.8 * HEIGHT * WIDTH // 8)
    raw: dict[str, np.ndarray] = {}

    def keep(a: np.ndarray, b: np.ndarray, **_: Any) -> np.ndarray:
        raw.update(falls=a, sums=b)  # [step picture]
        return np.array(
            [quantus.functions.similarity_func.correlation_pearson(x, y) for x, y in zip(a, b, strict=True)]
        )

    metric = quantus.SensitivityN(features_in_step=step, perturb_baseline=0.0, similarity_func=keep, **PLAIN)
    found = metric(
        model=NETWORK, x_batch=INPUTS.numpy(), y_batch=np.full(3, CLASS), a_batch=VALUES[:, None].numpy(),
        device="cpu", softmax=False, channel_first=True,
    )  # fmt: skip
    labels = torch.arange(HEIGHT * WIDTH).view(HEIGHT, WIDTH)
    sums, falls = [], []
    for index in range(3):
        order = VALUES[index].flatten().argsort(descending=True)
        ranks = order.argsort()
        # Theirs are the step's own pixels for the sum, and all pixels so far for the fall.
        own = torch.stack([ranks // step == done for done in range(steps)])
        so_far = torch.stack([ranks < step * (done + 1) for done in range(steps)])
        alone = seen(inputs=INPUTS[index : index + 1])
        sums.append(Sets(labels, own, ("own", index)).sums(VALUES[index : index + 1])[0])
        falls.append(lost_without(alone, {"so far": Sets(labels, so_far, ("so far", index))}, "zero")["so far"][:, 0])
    assert_close(torch.stack(sums, dim=1).float(), torch.tensor(raw["sums"]).float(), rtol=1e-4, atol=1e-4)
    assert_close(torch.stack(falls, dim=1).float(), torch.tensor(raw["falls"]).float(), rtol=1e-4, atol=1e-4)
    assert_close(
        pearson(torch.stack(sums, dim=1), torch.stack(falls, dim=1)).double(), torch.tensor(np.array(found)).double(),
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip


def test_input_invariance_gives_the_same_verdict() -> None:
    """Theirs changes a bias, so the first layer must not pad; it says yes or no, ours by how much.

    As it ships, Quantus leaves the first pixel as it was, and no map passes; here it shifts all of them.
    """

    def shift(arr: np.ndarray, *, input_shift: float, **_: Any) -> np.ndarray:
        return arr + np.float32(input_shift)

    network = seeded(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 10, 4)), 9)
    for method, invariant in (("gradient", True), (METHOD, False)):

        def map_of(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, *, name: str = method, **_: Any) -> Any:
            classes = [Class(int(one)) for one in targets]
            evidence = seen(model, torch.as_tensor(inputs).float(), classes)
            return compute(evidence, find_method(name))[:, None].numpy()

        def again(*, model: VisionModel, inputs: Tensor, name: str = method, **_: Any) -> dict[str, Tensor]:
            assert model.module is not None
            return {"map": compute(seen(model.module, inputs), find_method(name))}

        verdict = quantus.InputInvariance(input_shift=-1, perturb_func=shift, **PLAIN)(
            model=network, x_batch=INPUTS.numpy(), y_batch=np.full(3, CLASS), a_batch=None, explain_func=map_of,
            device="cpu", softmax=False, channel_first=True,
        )  # fmt: skip
        evidence = seen(network)
        maps = {"map": compute(evidence, find_method(method))}
        found = input_invariance(evidence, model_of(network), maps, again).values["map"]
        assert [bool(one) for one in verdict] == [invariant] * 3 == (found < 0.05).tolist()


def test_effective_complexity_where_all_that_is_there_is_equal() -> None:
    """Theirs counts what is above a threshold, ours the fewest pixels that hold a share: k equal ones are k."""
    for k in (1, 17, 50):
        values = torch.zeros(3, HEIGHT * WIDTH).scatter_(1, VALUES.flatten(1).topk(k).indices, 1.0)
        values = values.view(3, HEIGHT, WIDTH)
        counted = quantus.EffectiveComplexity(**{**PLAIN, "abs": True})(
            model=NETWORK, x_batch=INPUTS.numpy(), y_batch=np.full(3, CLASS), a_batch=values[:, None].numpy(),
            device="cpu", softmax=False, channel_first=True,
        )  # fmt: skip
        share = effective_size({"map": values}, mass=1.0).values["map"]
        assert (share * HEIGHT * WIDTH).round().tolist() == list(counted) == [k] * 3


@pytest.fixture
def their_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are drawn as Quantus draws them, one more at every stop."""

    def randomised(module: nn.Module, depths: int, *_: Any, **__: Any) -> Iterator[tuple[int, nn.Module]]:
        wrapped = quantus.helpers.model.pytorch_model.PyTorchModel(module, channel_first=True)
        networks = list(enumerate(wrapped.get_random_layer_generator("top_down", seed=42), start=1))
        yield from ((stop, network) for stop, (_, network) in networks[-depths:])

    monkeypatch.setattr(sanity, "randomised", randomised)
    torch.manual_seed(0)


@pytest.mark.usefixtures("their_networks")
def test_model_parameter_randomisation() -> None:
    """With what the network looks like at the end of the cascade."""
    metric = quantus.MPRT(layer_order="top_down", seed=42, skip_layers=True, return_last_correlation=True, **PLAIN)
    evidence = seen()
    found = model_randomisation(evidence, model_of(NETWORK), {"map": made(evidence)}, remake, depths=1)
    assert_close(found.values["map"].double(), theirs(metric), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("their_networks")
def test_efficient_randomisation() -> None:
    metric = quantus.EfficientMPRT(layer_order="top_down", seed=42, skip_layers=True, **PLAIN)
    evidence = seen()
    found = efficient_randomisation(model_of(NETWORK), {"map": made(evidence)}, remake)
    # It also takes the entropy of the outputs, which have to be probabilities.
    assert_close(found.values["map"].double(), theirs(metric, softmax=True), rtol=1e-4, atol=1e-5)


def test_random_logit_where_there_is_one_other_class() -> None:
    """Theirs draws another class and ours takes the least likely one: of two classes they are the same."""

    class Two(Grey):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs)[:, 1:3]

    network = Two()
    pearsons = quantus.functions.similarity_func.correlation_pearson
    metric = quantus.RandomLogit(num_classes=2, similarity_func=pearsons, **PLAIN)
    found = metric(
        model=network, x_batch=INPUTS.numpy(), y_batch=np.full(3, 1), a_batch=None, explain_func=explained,
        device="cpu", softmax=False, channel_first=True,
    )  # fmt: skip
    evidence = seen(network, target=1)

    def again(*, targets: Any, **_: Any) -> dict[str, Tensor]:
        return {"map": made(seen(network, target=targets))}

    alike = class_sensitivity(evidence, {"map": made(evidence)}, again).values["map"]
    assert_close(alike.double(), torch.tensor(np.array(found)).double(), rtol=1e-4, atol=1e-5)
