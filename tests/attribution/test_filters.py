"""Filters selected per class: solved in closed form, planted where they are known, and shown where they fire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import pellucid as pl
from pellucid.attribution.filters import FilterSelection, fit, lasso, responses, selected_filters, within
from pellucid.engine import look
from pellucid.errors import FileError, MethodUnavailable, RequestError
from pellucid.testbed import planted
from pellucid.testbed.planted import Planted
from pellucid.values import Activation, Contrast

SPECIES_PARTS = {"ripple": "barred", "pebble": "dotted", "willow": "edged", "swift": "forked", "wren": "fanned"}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_of_filters_that_do_not_overlap_each_is_shrunk_by_the_same_amount() -> None:
    """With x^T x = 1 the constrained fit is the nearest point of the ball to x^T l: soft thresholding, whose threshold
    spends the budget."""
    told = torch.tensor([[3.0, 0.2], [-2.0, 0.1], [0.5, 0.0]], dtype=torch.float64)
    found = lasso(torch.eye(3, dtype=torch.float64), told, budget=3.0)
    expected = torch.tensor([[2.0, 0.2], [-1.0, 0.1], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_a_solution_cannot_be_improved_within_its_budget() -> None:
    """Where the constraint binds, the gradient is as large at every weight used, points against it, and is nowhere
    larger."""
    x, wanted = draw(60, 9), draw(60, 2, seed=1)
    weights = lasso(x.T @ x, x.T @ wanted, budget=0.2)
    gradient = x.T @ (wanted - x @ weights)
    assert weights.abs().sum(dim=0).tolist() == pytest.approx([0.2, 0.2])
    for column in range(2):
        used = weights[:, column] != 0
        largest = gradient[:, column].abs().max()
        pushed = gradient[used, column] * weights[used, column].sign()
        torch.testing.assert_close(pushed, largest.expand(int(used.sum())), rtol=1e-4, atol=1e-4)


def test_the_nearest_weights_within_a_budget_lie_on_its_edge_or_stay() -> None:
    weights = draw(7, 5)
    near = within(weights, 1.0)
    assert near.abs().sum(dim=0).tolist() == pytest.approx([1.0] * 5)
    assert torch.equal(within(near * 0.5, 1.0), near * 0.5)
    for seed in range(20):
        other = draw(7, 5, seed=seed + 2)
        other = other / other.abs().sum(dim=0)
        assert ((near - weights).norm(dim=0) <= (other - weights).norm(dim=0) + 1e-12).all()


def parts() -> tuple[Planted, pl.VisionModel, Tensor]:
    net = planted.parts()
    return net, pl.load("testbed:planted_parts"), net.pictures(net.stimuli(11, 600))


def test_the_filters_of_a_species_are_the_planted_units_of_its_parts() -> None:
    """Six units see six parts and the answer adds them up, so what speaks for a species are the parts it has. The net
    has 29 other filters, which see half spaces of colour; with little to spend none of them is taken."""
    net, model, pictures = parts()
    units = {unit.index: unit.name for unit in net.units}
    selection = fit(model, pictures, budget=0.5)
    assert selection.layers == ("detect.rectify", "detect.units") and selection.channels == (29, 6)
    assert selection.agreement > 0.7 > 5 * selection.chance and selection.pictures == 480
    for at, label in enumerate(model.labels):
        own = {part for word, part in SPECIES_PARTS.items() if word in label}
        own |= {"plume"} if "crowned" in label else set()
        speaking = [one for one in selection.of(at) if one.weight > 0][: len(own)]
        assert len(speaking) >= 2 and {one.layer for one in speaking} == {"detect.units"}, (label, speaking)
        assert all(any(word in units[one.channel] for word in own) for one in speaking), (label, speaking)


class Colours(nn.Module):
    """Three units see red, green and blue, and are the answer; three more see black, and are not heard."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(3, 6, 1)
        self.units = nn.ReLU()
        with torch.no_grad():
            self.see.weight.copy_(torch.cat([torch.eye(3), -torch.eye(3)])[:, :, None, None])
            self.see.bias.copy_(torch.tensor([-0.5] * 3 + [0.1] * 3))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.units(self.see(pictures)).amax(dim=(2, 3))[:, :3]


def patches(count: int) -> tuple[Tensor, Tensor]:
    """Grey pictures, each with one square of one colour, and where it is; half of them have a black row as well."""
    generator = torch.Generator().manual_seed(5)
    pictures = 0.2 + 0.3 * torch.rand(count, 3, 24, 24, generator=generator)
    pictures[torch.rand(count, generator=generator) < 0.5, :, 23] = 0.0
    where = torch.zeros(count, 24, 24).bool()
    for at in range(count):
        top, left, side = torch.randint(0, 16, (3,), generator=generator).tolist()
        where[at, top : top + 2 + side // 3, left : left + 2 + side // 3] = True
        pictures[at, at % 3][where[at]] = 1.0
    return pictures, where


def test_what_is_shown_lies_where_the_selected_unit_fires() -> None:
    """A unit that sees single pixels: the map of its class is its patch, and nothing else."""
    model, (pictures, where) = pl.wrap(Colours()), patches(90)
    selection = fit(model, pictures, budget=1.0)
    assert selection.agreement == 1.0
    assert [selection.of(at)[0].channel for at in range(3)] == [0, 1, 2]
    shown = selected_filters(look(model, pictures), selection, count=1)
    assert torch.equal(shown > 0, where)
    other = selected_filters(look(model, pictures[:3], 1), selection, count=6)
    assert float(other[0].max()) == 0 and torch.equal(other[1] > 0, where[1])  # no green: nothing speaks for it


def test_responses_are_lengths_of_maps_in_units_of_their_layer() -> None:
    _, model, pictures = parts()
    evidence = look(model, pictures[:3], needs=[Activation], layers=["detect.rectify", "detect.units"])
    found, counts = responses(evidence, ["detect.rectify", "detect.units"])
    raw = evidence.activation("detect.units").double().square().sum(dim=(2, 3)).sqrt()
    torch.testing.assert_close(found[:, counts[0] :], raw / raw.square().sum(dim=1, keepdim=True).sqrt())
    assert counts[1] == 6 and found.shape == (3, sum(counts))


def test_a_selection_survives_its_file_and_tells_its_places(tmp_path: Path) -> None:
    _, model, pictures = parts()
    selection = fit(model, pictures[:60])
    read = FilterSelection.load(selection.save(tmp_path / "filters.safetensors"))
    assert torch.equal(read.weights, selection.weights)
    assert {key: value for key, value in vars(read).items() if key != "weights"} == {
        key: value for key, value in vars(selection).items() if key != "weights"
    }
    assert selection.layers == ("detect.rectify", "detect.units") and selection.place(30) == ("detect.units", 1)
    assert selection.weights.abs().sum(dim=1).max() <= selection.budget + 1e-4
    (tmp_path / "other").write_bytes(b"no safetensors")
    with pytest.raises(FileError, match="no selection"):
        FilterSelection.load(tmp_path / "other")


class Skipping(nn.Module):
    """One 3 x 3 window that sums, at every second place, behind a rectifier; its answer is the sum."""

    def __init__(self, sides: tuple[int, int] = (3, 3), **how: Any) -> None:
        super().__init__()
        self.window = nn.Conv2d(3, 12, sides, bias=False, **how)
        self.units = nn.ReLU()
        with torch.no_grad():
            self.window.weight.fill_(1.0)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.units(self.window(pictures)).sum(dim=(2, 3))


def test_strides_leave_a_lattice_and_resampling_leaves_none() -> None:
    """Every third row and column lies under two windows of a stride of two; spread evenly, all lie under one."""
    model, pictures = pl.wrap(Skipping(stride=2, padding=1)), torch.ones(1, 3, 16, 16)
    evidence = look(model, pictures, 0)
    guided, resampled = (
        evidence.channel_gradient([("units", 0)], rule)[0, 0, 3:-3, 3:-3] for rule in ("guided", "resampled")
    )
    assert guided.unique().tolist() == [1.0, 2.0, 4.0]
    torch.testing.assert_close(resampled, torch.full_like(resampled, 9 * 8 * 8 / (16 * 16)))


@pytest.mark.parametrize(
    "how", [{"stride": 2, "padding": 1}, {"stride": 2, "padding": (1, 2), "dilation": (1, 2)}, {"stride": 2}]
)
def test_resampling_is_the_backward_of_the_same_window_without_a_stride(how: dict[str, Any]) -> None:
    net, pictures = Skipping((3, 2), **how), torch.rand(2, 3, 15, 17, generator=torch.Generator().manual_seed(1))
    evidence = look(pl.wrap(net), pictures, 0)
    found = evidence.channel_gradient([("units", 1), ("window", 0)], "resampled")
    dense = dict(how, stride=1)
    every = functional.conv2d(pictures, net.window.weight, **dense)
    few = net(pictures).shape, net.window(pictures)[0, 0].numel()
    upstream = torch.full_like(every[:, :1], few[1] / every[0, 0].numel())
    back = {key: dense[key] for key in ("padding", "dilation") if key in dense}
    expected = functional.conv_transpose2d(upstream, net.window.weight[:1], **back)
    torch.testing.assert_close(found, expected.detach())


def test_other_rules_see_strided_convolutions_as_they_are() -> None:
    net, pictures = Skipping(stride=2, padding=1), torch.rand(2, 3, 15, 17) - 0.5
    with torch.no_grad():
        net.window.weight.copy_(draw(12, 3, 3, 3).float())
    evidence = look(pl.wrap(net), pictures, 0)
    leaf = pictures.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)
    torch.testing.assert_close(evidence.channel_gradient([("units", 0)] * 2, "guided"), expected)
    torch.testing.assert_close(evidence.input_gradient(), expected)


def test_what_cannot_be_explained_so_is_refused() -> None:
    _, model, pictures = parts()
    selection = fit(model, pictures[:60], layers=["detect.units"])
    with pytest.raises(MethodUnavailable, match="speaks for classes"):
        selected_filters(look(model, pictures[:2], Contrast(0, 1)), selection)
    with pytest.raises(RequestError, match="another model"):
        selected_filters(look(pl.load("testbed:cnn"), torch.rand(1, 3, 64, 64)), selection)
    with pytest.raises(RequestError, match="two predicted classes"):
        fit(model, pictures[:1].repeat(4, 1, 1, 1))
    with pytest.raises(RequestError, match="budget=0"):
        fit(model, pictures, budget=0)
    with pytest.raises(RequestError, match="number 99"):
        selection.place(99)
