"""Explainers that are fitted to a model: what they learn, that the model stays as it is, and how they are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import pellucid as pl
from pellucid.attribution.fitted import Explainer, attach, fit, unfitted
from pellucid.engine.edits import Ablate
from pellucid.engine.through import through
from pellucid.errors import FileError, MethodUnavailable, RequestError
from pellucid.registry import Learning
from tests.guests import unchanged
from tests.testbed.breaking import broken_off_at_a_checkpoint

SIDE = 16
QUICK = Learning(updates=12, batch=8, every=4)


class Spots(nn.Module):
    """Names the colour of a spot, by what is brighter than its surroundings in each colour."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Conv2d(3, 3, 1)
        nn.init.dirac_(self.seen.weight)
        self.seen.bias = nn.Parameter(torch.full((3,), -0.5))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.seen(pictures).relu().mean(dim=(2, 3)) * 200


def spots(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Grey pictures with a coloured spot somewhere, and where it lies."""
    draw = torch.Generator().manual_seed(seed)
    pictures = torch.full((count, 3, SIDE, SIDE), 0.4) + 0.05 * torch.randn(count, 3, SIDE, SIDE, generator=draw)
    places = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for at in range(count):
        row, column, colour = (int(torch.randint(end, (), generator=draw)) for end in (SIDE - 4, SIDE - 4, 3))
        pictures[at, colour, row : row + 4, column : column + 4] = 1.0
        places[at, row : row + 4, column : column + 4] = True
    return pictures.clamp(0, 1), places


@pytest.fixture(scope="module")
def model() -> pl.VisionModel:
    return pl.wrap(Spots(), input_size=(SIDE, SIDE), default_layer="seen")


@pytest.fixture(scope="module")
def fitted(model: pl.VisionModel) -> Explainer:
    return fit(
        "t_tame", model, spots(256, 1)[0], layers=["seen"], learning=Learning(updates=250, batch=16, learning_rate=2e-2)
    )


def test_the_map_of_t_tame_is_the_spot_that_decides(model: pl.VisionModel, fitted: Explainer) -> None:
    pictures, places = spots(16, 2)
    shown = pl.attribute(model, pictures, "t_tame", explainer=fitted).values > 0.5
    overlap = (shown & places).sum(dim=(1, 2)) / (shown | places).sum(dim=(1, 2))
    assert overlap.mean() > 0.9 and overlap.min() > 0.8


def test_every_class_has_its_own_map(model: pl.VisionModel, fitted: Explainer) -> None:
    """What another class would need is not in the picture: the spot is nothing to it."""
    pictures, places = spots(8, 3)
    answer = model.predict(pictures).argmax(dim=1)
    own = pl.attribute(model, pictures, "t_tame", target=answer.tolist(), explainer=fitted).values
    other = pl.attribute(model, pictures, "t_tame", target=((answer + 1) % 3).tolist(), explainer=fitted).values
    assert own[places].mean() > 0.6
    assert other[places].mean() < 0.1


def test_fitting_brings_the_loss_of_held_out_pictures_down_and_keeps_the_best(fitted: Explainer) -> None:
    assert min(fitted.judged) < fitted.judged[0] < fitted.losses[0]
    assert len(fitted.judged) == len(fitted.losses) // Learning().every


@pytest.mark.parametrize("spec", ["testbed:cnn", "testbed:vit"])
def test_the_model_stays_as_it_is(spec: str) -> None:
    under_study = pl.load(spec)
    network = under_study.network
    assert network is not None
    network.train()
    before = under_study.fingerprint
    with unchanged(network):
        fit("t_tame", under_study, pl.testbed.scenes(4, 16).tensor(), learning=QUICK)
    assert under_study.fingerprint == before
    assert network.training
    assert all(weight.grad is None for weight in network.parameters())


def test_an_explainer_comes_back_from_disk(model: pl.VisionModel, fitted: Explainer, tmp_path: Path) -> None:
    pictures, _ = spots(4, 5)
    again = Explainer.load(fitted.save(tmp_path / "spots.safetensors"))
    assert vars(again) | {"net": None} == vars(fitted) | {"net": None}
    one, other = (pl.attribute(model, pictures, "t_tame", explainer=each).values for each in (fitted, again))
    assert torch.equal(one, other)
    by_file = pl.attribute(model, pictures, "t_tame", explainer=str(tmp_path / "spots.safetensors"))
    assert torch.equal(by_file.values, one)
    assert "fitted to Spots in 250 updates" in by_file.notes[-1]


def test_fitting_broken_off_goes_on_to_the_same_explainer(
    model: pl.VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, file = spots(40, 6)[0], tmp_path / "half.partial"
    plan = Learning(updates=70, batch=8, every=10)
    whole = fit("t_tame", model, pictures, layers=["seen"], learning=plan)
    with broken_off_at_a_checkpoint(monkeypatch):
        fit("t_tame", model, pictures, layers=["seen"], learning=plan, checkpoint=file)
    assert file.exists()
    resumed = fit("t_tame", model, pictures, layers=["seen"], learning=plan, checkpoint=file)
    assert resumed.losses == whole.losses and resumed.judged == whole.judged
    assert all(map(torch.equal, resumed.net.state_dict().values(), whole.net.state_dict().values()))
    assert not file.exists()


def test_fitting_stops_once_held_out_pictures_get_no_better(model: pl.VisionModel) -> None:
    plan = Learning(updates=400, batch=8, every=2, patience=2, learning_rate=1e-9)
    found = fit("t_tame", model, spots(40, 7)[0], layers=["seen"], learning=plan)
    assert len(found.losses) < 100


def test_pictures_and_files_are_prepared_when_their_turn_comes(tmp_path: Path) -> None:
    under_study = pl.load("testbed:cnn")
    drawn = pl.testbed.scenes(8, 6)
    files = []
    for frame in drawn.frames():
        file = tmp_path / f"{frame.name}.png"
        Image.fromarray(frame.pixels).save(file)
        files.append(file)
    plan = Learning(updates=3, batch=4, held_out=0)
    by_file, by_frame = (fit("t_tame", under_study, given, learning=plan) for given in (files, drawn.frames()))
    assert by_file.losses == by_frame.losses


def test_what_is_no_explainer_or_anothers_is_refused(
    model: pl.VisionModel, fitted: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, _ = spots(2, 9)
    (tmp_path / "words.safetensors").write_text("no weights")
    with pytest.raises(FileError, match="cannot be read"):
        pl.attribute(model, pictures, "t_tame", explainer=tmp_path / "words.safetensors")
    with pytest.raises(MethodUnavailable, match="pellucid fit t_tame"):
        pl.attribute(model, pictures, "t_tame")
    with pytest.raises(RequestError, match="needs nothing fitted"):
        fit("gradient", model, pictures)
    with pytest.raises(MethodUnavailable, match="black box"):
        unfitted("t_tame", pl.wrap(lambda inputs: inputs.mean((2, 3))), (SIDE, SIDE))
    with pytest.raises(RequestError, match="2 at least"):
        fit("t_tame", model, pictures[:1], layers=["seen"], learning=Learning(held_out=1.0))
    with pytest.raises(MethodUnavailable, match="speaks for classes"):
        pl.attribute(model, pictures, "t_tame", target=pl.values.Contrast(0, 1), explainer=fitted)
    monkeypatch.setattr(fitted, "method", "comet")
    with pytest.raises(RequestError, match="an explainer of comet"):
        pl.attribute(model, pictures, "t_tame", explainer=fitted)


def test_an_explainer_of_other_weights_says_so_and_is_not_attached(
    model: pl.VisionModel, fitted: Explainer, tmp_path: Path
) -> None:
    file = fitted.save(tmp_path / "spots.safetensors")
    attached = attach(pl.wrap(Spots(), input_size=(SIDE, SIDE)), [file])
    heat = pl.attribute(attached, spots(2, 9)[0], "t_tame")
    assert not any("other weights" in note for note in heat.notes)
    changed = Spots()
    changed.seen.bias = nn.Parameter(torch.full((3,), -0.6))
    other = pl.wrap(changed, input_size=(SIDE, SIDE))
    with pytest.raises(RequestError, match="its weights have changed"):
        attach(other, [file])
    assert any("other weights" in note for note in pl.attribute(other, spots(2, 9)[0], "t_tame", explainer=file).notes)


# -- the model's answer with a graph through it ---------------------------------------------------------------------


def test_a_graph_runs_through_the_model_and_leaves_its_weights_alone() -> None:
    under_study = pl.load("testbed:cnn")
    network = under_study.network
    assert network is not None
    inputs = pl.testbed.scenes(4, 2).tensor().requires_grad_()
    with unchanged(network):
        answer = through(under_study, inputs)
        answer[:, 3].sum().backward()
    expected = torch.autograd.grad(network(inputs)[:, 3].sum(), inputs)[0]
    assert inputs.grad is not None
    torch.testing.assert_close(inputs.grad, expected)
    assert all(weight.grad is None for weight in network.parameters())


def test_what_an_edit_puts_in_has_its_gradient() -> None:
    under_study = pl.load("testbed:cnn")
    inputs = pl.testbed.scenes(4, 2).tensor()
    layer = under_study.layers["features.2"]
    plain, ablated = through(under_study, inputs), through(under_study, inputs, [Ablate(layer, [0, 1])])
    assert not torch.equal(plain, ablated)
    torch.testing.assert_close(plain.detach(), under_study.predict(inputs))


def test_where_the_caller_wants_no_graph_there_is_none() -> None:
    under_study, inputs = pl.load("testbed:cnn"), pl.testbed.scenes(4, 1).tensor().requires_grad_()
    with torch.no_grad():
        assert not through(under_study, inputs).requires_grad
