"""Bounds that no input may break, and what they say where the worst case can be worked out."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from pellucid.attribution.verified import tightness
from pellucid.engine.bounds import Verifier, verifier_of
from pellucid.engine.intervals import Interval
from pellucid.engine.perturb import cells, sums_over
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.subject import wrap
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import LinearPicture, Twin, pictures, relu_mlp, seeded, tiny_vit


class Pooling(nn.Module):
    """Every kind of operation that is bounded: pools of both kinds, a shortcut, clipping, a leak, a smooth dip."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(24, 4)
        seeded(self, 7)

    def forward(self, inputs: Tensor) -> Tensor:
        one = functional.max_pool2d(functional.relu6(4 * self.norm(self.first(inputs))), 2)
        two = functional.leaky_relu(self.second(one) + one, 0.1)
        three = functional.gelu(functional.max_pool2d(two, 3, stride=2, padding=1))
        return self.head(functional.adaptive_avg_pool2d(three - 0.3, 2).flatten(1))


NETS = {"mlp": relu_mlp(8, 8).double(), "pooling": Pooling().double(),
        **{spelling: Twin(spelling).double() for spelling in ("module", "function", "in place")}}  # fmt: skip


def box(reach: float, seed: int = 0) -> Interval:
    middle = pictures(2, 8, 8, seed).double()
    return Interval(middle - reach, middle + reach)


def verified(net: nn.Module, boxes: Interval) -> Verifier:
    return verifier_of(wrap(net, input_size=(boxes.lower.shape[-2], boxes.lower.shape[-1])), boxes.centre.float())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("reach", [0.01, 0.1, 1.0])
def test_no_input_breaks_a_bound_and_lines_are_no_looser_than_intervals(name: str, reach: float) -> None:
    boxes, forms = box(reach), torch.cat([torch.eye(4), -torch.eye(4)]).double()
    verifier = verified(NETS[name], boxes)
    assert verifier.first == 0
    loose, tight = (verifier.bounds(verifier.enter(boxes), forms, count) for count in (0, 8))
    assert (tight <= loose).all() and tight.isfinite().all()
    generator = torch.Generator().manual_seed(1)
    points = 2 * torch.rand(5000, *boxes.lower.shape[1:], generator=generator, dtype=torch.float64) - 1
    for row in range(2):
        both = torch.cat([points, points.sign()])
        with torch.no_grad():
            reached = NETS[name](boxes.centre[row] + reach * both) @ forms.T
        assert (reached <= tight[row]).all(), float((reached - tight[row]).max())
    assert (attacked(NETS[name], boxes, forms) <= tight).all()


def attacked(net: nn.Module, boxes: Interval, forms: Tensor) -> Tensor:
    """What projected gradient ascent reaches, [box form]."""
    found: list[Tensor] = []
    for form in forms:
        point = boxes.centre.clone()
        for _ in range(40):
            point.requires_grad_()
            (slope,) = torch.autograd.grad((net(point) @ form).sum(), point)
            moved = point.detach() + 0.1 * boxes.radius * slope.sign()
            point = torch.minimum(torch.maximum(moved, boxes.lower), boxes.upper)
        found.append(net(point).detach() @ form)
    return torch.stack(found, dim=1)


def test_lines_tighten_intervals_where_rectifiers_bend() -> None:
    boxes = box(0.1)
    verifier = verified(NETS["mlp"], boxes)
    loose, tight = (verifier.bounds(verifier.enter(boxes), torch.eye(4), count) for count in (0, 4))
    assert (tight < loose).any()


def test_over_a_square_the_bound_lies_above_every_corner_and_is_exact_where_nothing_bends() -> None:
    """Two numbers in: of a net that is affine over the whole square, the highest corner is the bound."""
    net = seeded(nn.Sequential(nn.Conv2d(1, 5, 1), nn.ReLU(), nn.Flatten(), nn.Linear(10, 3)), 3).double()
    middle = torch.tensor([[[[0.7, -0.4]]]], dtype=torch.float64)
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=2)), dtype=torch.float64).view(4, 1, 1, 2)
    for reach, exact in ((1e-4, True), (0.5, False)):
        boxes = Interval(middle - reach, middle + reach)
        verifier = verified(net, boxes)
        found = verifier.bounds(verifier.enter(boxes), torch.eye(3), 3)[0]
        with torch.no_grad():
            highest = net(middle + reach * corners).amax(dim=0)
        assert (found >= highest - 1e-12).all()
        if exact:
            assert_close(found, highest)


def test_of_a_linear_model_a_cell_takes_its_own_share_of_the_weights() -> None:
    """Of two classes: radius times the magnitudes of the difference of their weights in the cell."""
    net, inputs = LinearPicture(12, 14, classes=2), pictures(2, 12, 14)
    evidence = evidence_of(net, inputs, target=1)
    found = values_of("eva", evidence, radius=0.02, grid=4)
    reach = 0.02 * (evidence.fill("white") - evidence.fill("black")).abs()
    weights = (net.weight[0] - net.weight[1]).detach().abs()
    expected = sums_over((reach * weights).sum(dim=1), cells(12, 14, 4)).float().view(2, 4, 4)
    assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert found.min() > 0


def test_a_cell_that_the_model_does_not_read_takes_nothing() -> None:
    net = LinearPicture(12, 12)
    with torch.no_grad():
        net.weight[:, :, :6] = 0
    found = ask("eva", nn.Sequential(net, nn.ReLU()), pictures(1, 12, 12), grid=2)
    assert_close(found[:, 0], torch.zeros(1, 2), atol=1e-12, rtol=0)
    assert found[:, 1].min() > 0


def test_a_model_with_attention_is_refused_where_proof_is_asked_and_labelled_where_it_is_not() -> None:
    evidence = evidence_of(tiny_vit(), pictures(1, 32, 32), target=1)
    with pytest.raises(MethodUnavailable, match="native_layer_norm.*has no bound here"):
        values_of("eva", evidence, mode="certified")
    assert values_of("eva", evidence, grid=2).isfinite().all()
    assert any(note.startswith("Not certified") for note in evidence.notes)


def test_of_a_linear_model_the_attack_reaches_the_bound() -> None:
    """The slope is the same everywhere, so ten strides along its sign end in the corner where the bound is taken."""
    net, inputs = LinearPicture(12, 14, classes=2), pictures(2, 12, 14)
    found = tightness(evidence_of(net, inputs, target=1), radius=0.02, steps=10)
    with torch.no_grad():
        outputs = net(inputs)
    start = outputs[:, 0] - outputs[:, 1]
    rise = 0.02 * (net.weight[0] - net.weight[1]).detach().abs().sum()
    for one, begun in zip(found, start.tolist(), strict=True):
        assert one.certified and one.broken == 0
        assert one.start == pytest.approx(begun, abs=1e-4) and one.bound == pytest.approx(begun + float(rise), rel=1e-4)
        assert one.ratio == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("radius", [0.001, 0.1])
def test_no_point_of_an_attack_breaks_a_certified_bound(name: str, radius: float) -> None:
    evidence = evidence_of(copy.deepcopy(NETS[name]).float(), pictures(2, 8, 8, 3), target=1)
    for one in tightness(evidence, radius=radius):
        assert one.certified and one.broken == 0
        assert one.start <= one.reached <= one.bound + 1e-5 and one.ratio >= 0.999  # the model works in float32


def test_a_sampled_bound_says_so_and_can_be_broken() -> None:
    (found,) = tightness(evidence_of(tiny_vit(), pictures(1, 32, 32), target=1), radius=0.05)
    assert not found.certified and 0 < found.broken <= 1 and found.ratio < 1
    with pytest.raises(RequestError, match="at least 1"):
        tightness(evidence_of(tiny_vit(), pictures(1, 32, 32), target=1), steps=0)


def test_memory_that_other_parts_read_is_not_written_over_in_a_bound() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            values = 2 * inputs
            functional.relu(values.flatten(2), inplace=True)
            return self.head(torch.cat([values.mean(dim=(2, 3)), inputs.mean(dim=(2, 3))], dim=1))

    assert "writes over" in verified(seeded(Shared(), 1), box(0.1)).obstacle
