"""What cannot be done is refused by name, with what to do instead; what nothing is known of comes as zeros, not NaN."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pellucid.errors import MethodUnavailable, RequestError
from tests.attribution.asked import ALL, ATTENTION, CONVOLUTIONAL, NEEDS_RECTIFIERS, QUICK
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import PooledConv, Twin, pictures

INPUTS = pictures(1, 24, 24)


def test_a_stride_wider_than_the_window_is_refused() -> None:
    with pytest.raises(RequestError, match="never be covered"):
        ask("occlusion", Twin("module"), INPUTS, window=4, stride=5)


def test_one_single_segment_has_the_whole_share() -> None:
    """There is no coalition to try: the one player gets all there is."""
    whole = torch.zeros(24, 24, dtype=torch.long)
    evidence = evidence_of(Twin("module"), INPUTS)
    values = values_of("kernel_shap", evidence, segments=whole)
    assert float(values.sum()) == pytest.approx(float(evidence.score() - evidence.score_of_fill("blur")), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in CONVOLUTIONAL if "cam" in name])
def test_a_layer_that_says_nothing_gives_zeros(name: str) -> None:
    """All activations and gradients zero: no division by zero shows through."""
    network = PooledConv()
    with torch.no_grad():
        network.conv.weight.zero_()
    values = ask(name, network, INPUTS, layer="relu", **QUICK.get(name, {}))
    assert torch.equal(values, torch.zeros_like(values))


@pytest.mark.parametrize("name", ["gradient", "fullgrad", "integrated_gradients", "lime", "kernel_shap", "occlusion"])
def test_a_model_that_ignores_the_picture_gives_finite_maps(name: str) -> None:
    network = Twin("module")
    with torch.no_grad():
        network.head.weight.zero_()
    values = ask(name, network, INPUTS, **QUICK.get(name, {}))
    assert values.isfinite().all() and float(values.abs().max()) < 1e-5


@pytest.mark.parametrize("name", ALL)
def test_one_flat_picture_gives_finite_maps(name: str) -> None:
    from tests.oracles.nets import tiny_vit

    network = tiny_vit() if name in ATTENTION else Twin("module")
    values = ask(name, network, torch.full((1, 3, 32, 32), 0.5), **QUICK.get(name, {}))
    assert values.isfinite().all()


@pytest.mark.parametrize("name", NEEDS_RECTIFIERS)
def test_rules_for_rectifiers_are_refused_or_labelled_where_there_is_none(name: str) -> None:
    linear = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    with pytest.raises(MethodUnavailable) as caught:
        ask(name, linear, INPUTS)
    assert caught.value.instead


def test_a_grid_of_one_cell_works() -> None:
    """Eigen-CAM of a single cell is that cell; nothing is divided by a spread that is not there."""
    network = Twin("module")
    for name in ("grad_cam", "eigen_cam", "xgrad_cam", "score_cam"):
        evidence = evidence_of(network, pictures(1, 4, 4))
        assert values_of(name, evidence, "norm2").isfinite().all()
