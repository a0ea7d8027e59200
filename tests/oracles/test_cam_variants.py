"""Class activation maps of the second generation where their result can be written down."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from pellucid.attribution import components, sess
from pellucid.engine.flow import curvature
from pellucid.errors import TargetError
from pellucid.values import Contrast
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import PooledConv, Twin, pictures, tiny_vit

CLASS = 2
NETWORK, INPUTS = PooledConv(), pictures(3, 37, 53)
FEATURES = NETWORK.features(INPUTS).detach()


def cam(name: str, **parameters: object) -> Tensor:
    return ask(name, NETWORK, INPUTS, CLASS, "relu", **parameters)


def scaled(values: Tensor) -> Tensor:
    larger = functional.interpolate(values[:, None], (37, 53), mode="bilinear")[:, 0]
    low, high = larger.amin(dim=(1, 2), keepdim=True), larger.amax(dim=(1, 2), keepdim=True)
    return (larger - low) / (high - low)


class Squares(nn.Module):
    """The score is a weighted sum of squares of the layer, so its Hessian there is known."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.weight = nn.Parameter(torch.linspace(-1, 2, 5))

    def forward(self, inputs: Tensor) -> Tensor:
        squares = (self.weight[:, None, None] * self.conv(inputs) ** 2).sum(dim=(1, 2, 3))
        return torch.stack([squares, -squares], dim=1)


def test_shapley_cam_takes_off_half_of_what_the_gradient_itself_loses() -> None:
    """Of w a^2 the gradient is 2 w a and H a the same: what remains is w a."""
    network = Squares()
    activation = network.conv(INPUTS).detach()
    shares = network.weight.detach()[:, None, None] * activation
    expected = (shares.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1).clamp(min=0)
    assert_close(ask("shapley_cam", network, INPUTS, 0, "conv"), expected, rtol=1e-4, atol=1e-6)


def test_shapley_cam_is_grad_cam_where_the_rest_is_linear_piece_by_piece() -> None:
    assert_close(cam("shapley_cam"), cam("grad_cam"))


def test_curvature_through_attention_is_that_of_finite_differences() -> None:
    """A transformer's fused attention has no second derivative; here it is written out."""
    network, inputs = tiny_vit().double(), pictures(1, 32, 32)
    evidence = evidence_of(network, inputs, 1)
    layer = evidence.layers["blocks.0"]
    found = curvature(evidence, layer).double()
    step, slopes, kept = 1e-4, [], {}

    def scaled_output(factor: float) -> Tensor:
        def change(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            kept["output"] = (output.detach() * factor).requires_grad_()
            return kept["output"]

        handle = network.blocks[0].register_forward_hook(change)
        try:
            score = network(inputs.double())[:, 1].sum()
        finally:
            handle.remove()
        return torch.autograd.grad(score, kept["output"])[0]

    slopes = [scaled_output(1 + sign * step) for sign in (1, -1)]
    expected = ((slopes[0] - slopes[1]) / (2 * step))[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_finer_cam_against_one_rival_is_the_map_of_the_contrast() -> None:
    outputs = NETWORK(INPUTS).detach()
    for at, row in enumerate(outputs):
        distance = (row - row[CLASS]).abs()
        distance[CLASS] = torch.inf
        expected = ask("grad_cam", NETWORK, INPUTS[at : at + 1], Contrast(CLASS, int(distance.argmin())), "relu")
        assert_close(cam("finer_cam", rivals=1)[at : at + 1], expected, rtol=1e-3, atol=1e-6)


def test_finer_cam_of_no_strength_is_the_class_alone() -> None:
    assert_close(cam("finer_cam", strength=0.0), cam("grad_cam"), rtol=1e-4, atol=1e-7)
    assert_close(cam("finer_cam", strength=0.0, base="layer_cam"), cam("layer_cam"), rtol=1e-4, atol=1e-7)


def test_finer_cam_weighs_its_rivals_by_their_probability() -> None:
    """Where the rivals' weights are held fast the gradient is a weighted mean of class weights: a bound on the rest.

    The gradient through the softmax weights adds the leads' differences; with a strength of 0 these are all equal and
    nothing is added, with many rivals the whole formula is differentiated here by autograd on the outputs.
    """
    outputs = NETWORK(INPUTS).detach().requires_grad_()
    order = (outputs - outputs[:, CLASS : CLASS + 1]).abs().argsort(dim=1)[:, 1:]
    rivals = torch.take_along_dim(outputs, order, dim=1)
    chances = torch.take_along_dim(outputs.softmax(dim=1), order, dim=1)
    score = (chances * (outputs[:, CLASS : CLASS + 1] - 0.6 * rivals)).sum(dim=1) / chances.sum(dim=1)
    (slope,) = torch.autograd.grad(score.sum(), outputs)
    weights = slope @ NETWORK.head.weight.detach() / FEATURES[0, 0].numel()
    expected = (weights[:, :, None, None] * FEATURES).sum(dim=1).clamp(min=0)
    assert_close(cam("finer_cam", strength=0.6), expected, rtol=1e-3, atol=1e-6)


def test_finer_cam_refuses_what_is_no_class() -> None:
    with pytest.raises(TargetError, match="class"):
        ask("finer_cam", NETWORK, INPUTS, Contrast(0, 1), "relu")


@pytest.mark.parametrize("small", [1024, 4])
def test_kernel_pca_with_a_linear_kernel_is_eigen_cam_centred(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the component is found without the whole spectrum, and without ever holding the kernel."""
    monkeypatch.setattr(components, "_SMALL", small)
    monkeypatch.setattr(components, "_HELD", 10_000 if small < 1024 else 2**27)
    assert_close(cam("kpca_cam", kernel="linear"), cam("eigen_cam", center=True), rtol=1e-3, atol=1e-4)


def test_a_wide_radial_kernel_becomes_linear() -> None:
    """exp(-g d^2) is 1 - g d^2 for small g, whose centred part is 2 g times the inner product."""
    gamma = 1e-6
    found = cam("kpca_cam", kernel="rbf", gamma=gamma) / (2 * gamma) ** 0.5
    assert_close(found, cam("kpca_cam", kernel="linear"), rtol=1e-2, atol=1e-2)


def test_seg_eigen_cam_finds_the_one_pattern_there_is() -> None:
    """One channel alone reaches the class: the map is that channel, centred over the grid and rectified."""
    network = PooledConv()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.weight[CLASS, 1] = -2.0
    channel = network.features(INPUTS).detach()[:, 1]
    expected = (channel - channel.mean(dim=(1, 2), keepdim=True)) * 2 / channel[0].numel()
    assert_close(ask("seg_eigen_cam", network, INPUTS, CLASS, "relu"), expected.clamp(min=0), rtol=1e-4, atol=1e-7)


def test_fem_weighs_a_channel_by_the_part_of_the_grid_where_it_is_rare() -> None:
    """A channel with three spikes of 10 on 0 in 10 x 10 cells has mean 0.3 and deviation 1.71: the spikes are rare."""

    class Spikes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Conv2d(3, 3, 1, bias=False)
            self.same.weight.data = torch.eye(3)[:, :, None, None]

        def forward(self, inputs: Tensor) -> Tensor:
            return self.same(inputs).mean(dim=(2, 3))

    picture = torch.zeros(1, 3, 10, 10)
    picture[0, 0, 2, 3] = picture[0, 0, 2, 4] = picture[0, 0, 7, 7] = 10
    picture[0, 1] = torch.tensor([1.0, -1.0]).repeat(50).view(10, 10)  # nothing is above two deviations
    expected = 0.03 * picture[:, 0]
    assert_close(ask("fem", Spikes(), picture, 0, "same"), expected)
    assert_close(
        ask("fem", Spikes(), picture, 0, "same", deviations=0.5), (expected + 0.5 * picture[:, 1]).clamp(min=0)
    )


def test_refine_cam_multiplies_maps_of_layers() -> None:
    network = Twin("module")
    parts = [scaled(ask("layer_cam", network, INPUTS, CLASS, name)) for name in ("relu1", "relu2")]
    found = ask("refine_cam", network, INPUTS, CLASS, "relu2", base="layer_cam", layers=["relu1", "relu2"])
    assert_close(found, parts[0] * parts[1], rtol=1e-4, atol=1e-6)
    alone = ask("refine_cam", network, INPUTS, CLASS, "relu2", layers=["relu2"])
    assert_close(alone, scaled(ask("grad_cam_pp", network, INPUTS, CLASS, "relu2")), rtol=1e-4, atol=1e-6)


def test_layers_of_one_map_share_one_forward_and_one_backward() -> None:
    evidence = evidence_of(Twin("module"), INPUTS, CLASS)
    values_of("refine_cam", evidence, "relu2")
    assert (evidence.passes.forwards, evidence.passes.backwards) == (1, 1)


def test_sess_at_one_scale_is_the_map_itself() -> None:
    for fuse in ("mean", "max"):
        assert_close(cam("sess", scales=1, smoothing=0.0, fuse=fuse), scaled(cam("grad_cam")), rtol=1e-4, atol=1e-5)


def test_sess_lays_crops_back_where_they_came_from() -> None:
    """A picture enlarged and laid back, window by window, is the picture again but for interpolation."""
    smooth = functional.interpolate(pictures(1, 5, 6), (40, 48), mode="bicubic")
    crops = sess._crops((40, 48), 3, 0.5)
    assert [crop.larger for crop in crops] == [(40, 48)] + 4 * [(60, 72)] + 4 * [(80, 96)]
    larger = functional.interpolate(smooth, (60, 72), mode="bilinear")[0]
    assert_close(crops[4].of(smooth[0]), larger[:, 20:, 24:], rtol=1e-4, atol=1e-5)
    back = torch.stack([crop.back(crop.of(smooth[0])[0]) for crop in crops[5:]]).sum(dim=0)
    assert_close(back, smooth[0, 0], rtol=0.05, atol=0.05)


def test_sess_leaves_out_the_crops_of_least_probability() -> None:
    """With all but one crop left out, the map is that crop's own, wherever it lies."""
    evidence = evidence_of(NETWORK, INPUTS[:1], CLASS)
    crops = sess._crops(evidence.size, 2, 0.5)
    chances = torch.stack([NETWORK(crop.of(INPUTS[0])[None]).softmax(dim=1)[0, CLASS] for crop in crops]).detach()
    best = crops[int(chances.argmax())]
    inside = scaled(ask("grad_cam", NETWORK, best.of(INPUTS[0])[None], CLASS, "relu"))[0]
    found = values_of("sess", evidence, "relu", scales=2, growth=0.5, discard=0.8, smoothing=0.0)
    assert_close(found[0], best.back(inside), rtol=1e-3, atol=1e-4)
    assert (evidence.passes.forwards, evidence.passes.backwards) == (5 + 1, 1)
